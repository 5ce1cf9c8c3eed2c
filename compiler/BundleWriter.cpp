// Writes a bundle. Sizes are known before any byte, so that every segment has
// its place first; the program, which holds the hashes, is written last.
#include "compiler/BundleWriter.h"

#include "runtime/core/Bundle.h"

#include <cstring>
#include <mutex>
#include <xxhash.h>

using namespace mlir;
using namespace mlir::lap;
using lapidary::BundleFile;
using lapidary::Status;
namespace schema = lapidary::schema;

static std::span<const uint8_t> asBytes(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

/// What comes before the program.
static std::vector<uint8_t> makeHeader(std::span<const uint8_t> program) {
  std::vector<uint8_t> header(lapidary::bundleHeaderBytes);
  std::memcpy(header.data(), lapidary::bundleMagic,
              sizeof(lapidary::bundleMagic));
  auto put = [&](size_t at, auto value) {
    std::memcpy(header.data() + at, &value, sizeof value);
  };
  XXH128_hash_t hash = XXH3_128bits(program.data(), program.size());
  put(8, lapidary::bundleVersion);
  put(16, static_cast<uint64_t>(program.size()));
  put(24, static_cast<uint64_t>(hash.low64));
  put(32, static_cast<uint64_t>(hash.high64));
  return header;
}

/// Whether the runtime takes the program, which is the runtime's own to say.
static Status checkProgram(std::span<const uint8_t> program, uint64_t total) {
  auto read = lapidary::readProgram(program, total);
  if (read.ok())
    return {};
  return {read.status().getCode(),
          "the checkpoint makes a bundle that no runtime would run: " +
              read.status().message()};
}

Status mlir::lap::writeBundle(const std::string &path,
                              const BundleInputs &inputs,
                              const BundleProgress &progress) {
  Status reported = lapidary::internalError("the program cannot be written");
  FailureOr<std::vector<StoredWeight>> weights = collectWeights(inputs.program);
  if (failed(weights))
    return reported;
  std::vector<Segment> segments;
  std::vector<std::span<const uint8_t>> contents;
  auto addSegment = [&](schema::SegmentKind kind,
                        std::span<const uint8_t> bytes) {
    XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    segments.push_back({kind, 0, bytes.size(), hash.low64, hash.high64});
    contents.push_back(bytes);
  };
  addSegment(schema::SegmentKind::Tokenizer, inputs.tokenizer);
  if (!inputs.chatTemplate.empty())
    addSegment(schema::SegmentKind::ChatTemplate, inputs.chatTemplate);
  for (const TargetCode &target : inputs.targets) {
    if (!target.modules.empty()) {
      addSegment(schema::SegmentKind::Code, asBytes(target.modules));
      continue;
    }
    for (const TargetCode::Variant &variant : target.variants)
      addSegment(schema::SegmentKind::Code, asBytes(variant.bytes));
  }

  std::vector<SelfTestData> tests = draftSelfTests(inputs.selfTest);
  ProgramParts parts = {inputs.program, inputs.config, inputs.targets,
                        segments,       *weights,      tests};
  FailureOr<std::vector<uint8_t>> draft = buildProgram(parts);
  if (failed(draft))
    return reported;
  uint64_t at = lapidary::bundleHeaderBytes + draft->size();
  auto place = [&](uint64_t &offset, uint64_t bytes) {
    offset = llvm::alignTo(at, lapidary::bundleSegmentAlignment);
    at = offset + bytes;
  };
  for (Segment &segment : segments)
    place(segment.offset, segment.bytes);
  for (StoredWeight &weight : *weights)
    place(weight.offset, weight.bytes);
  uint64_t total = at;

  // What the runtime would refuse is refused before anything is written; only
  // hashes and the self-tests' numbers are missing by now.
  FailureOr<std::vector<uint8_t>> placed = buildProgram(parts);
  if (failed(placed))
    return reported;
  LAPIDARY_TRY(checkProgram(*placed, total));

  BundleFile file = LAPIDARY_TRY(BundleFile::create(path, total));
  for (size_t i = 0; i < segments.size(); ++i)
    LAPIDARY_TRY(file.write(segments[i].offset, contents[i]));
  uint64_t before = weights->empty() ? total : weights->front().offset;
  LAPIDARY_TRY(writeWeights(*weights, inputs.checkpoint, inputs.importance,
                            file, [&](uint64_t written) {
                              return progress(
                                  "writing weights",
                                  static_cast<double>(before + written) /
                                      static_cast<double>(total));
                            }));
  if (!progress("computing the self-test", 0))
    return lapidary::cancelled("compiling was interrupted");
  std::mutex mutex;
  bool stopped = false;
  StoredValues stored(*weights, file);
  WatchedValues watched(stored, [&](int64_t) {
    std::lock_guard lock(mutex);
    stopped = stopped || !progress("computing the self-test", 0);
    return !stopped;
  });
  FailureOr<std::vector<SelfTestData>> computed =
      computeSelfTests(inputs.selfTest, watched);
  if (stopped)
    return lapidary::cancelled("compiling was interrupted");
  if (failed(computed))
    return reported;
  tests = *std::move(computed);

  FailureOr<std::vector<uint8_t>> program = buildProgram(parts);
  if (failed(program) || program->size() != draft->size())
    return reported;
  LAPIDARY_TRY(checkProgram(*program, total));
  LAPIDARY_TRY(file.write(0, makeHeader(*program)));
  LAPIDARY_TRY(file.write(lapidary::bundleHeaderBytes, *program));
  return file.commit();
}
