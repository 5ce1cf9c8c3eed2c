// Opening a bundle: map, then trust step by step. Each check may use only what
// the ones before it established.
#include "runtime/core/Bundle.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Memory.h"
#include "runtime/core/Text.h"
#include "runtime/core/Workers.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace lapidary {
namespace {

static_assert(std::endian::native == std::endian::little,
              "bundles are read in place");

template <typename T> T load(const uint8_t *from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

/// FlatBuffers' own offsets are signed 32-bit numbers.
constexpr uint64_t maxProgramBytes = FLATBUFFERS_MAX_BUFFER_SIZE - 1;
/// The program nests 5 deep; dispatches are by far the most tables (tens a
/// layer and entry point).
constexpr uint32_t maxProgramDepth = 16, maxProgramTables = 4'000'000;
/// Hashing goes in pieces, so that progress moves within a segment of
/// gigabytes.
constexpr uint64_t hashPieceBytes = 32 << 20;

struct FileDescriptor {
  int number;
  ~FileDescriptor() {
    if (number >= 0)
      close(number);
  }
};

/// XXH3-128 of `bytes`; calls `onPiece` with the size of each piece done and
/// stops, with a hash of no meaning, when that returns false.
template <typename Callback>
XXH128_hash_t hash(std::span<const uint8_t> bytes, const Callback &onPiece) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  while (!bytes.empty()) {
    uint64_t piece = std::min<uint64_t>(bytes.size(), hashPieceBytes);
    XXH3_128bits_update(&state, bytes.data(), piece);
    bytes = bytes.subspan(piece);
    if (!onPiece(piece))
      break;
  }
  return XXH3_128bits_digest(&state);
}

const char *name(schema::SegmentKind kind) {
  switch (kind) {
  case schema::SegmentKind::Weight:
    return "weight";
  case schema::SegmentKind::Code:
    return "code";
  case schema::SegmentKind::Tokenizer:
    return "tokenizer";
  case schema::SegmentKind::SelfTest:
    return "self-test";
  case schema::SegmentKind::ChatTemplate:
    return "chat template";
  }
  return "unknown";
}

} // namespace

Result<const schema::Program *> readProgram(std::span<const uint8_t> program,
                                            uint64_t fileBytes) {
  flatbuffers::Verifier verifier(program.data(), program.size(),
                                 maxProgramDepth, maxProgramTables);
  if (!schema::VerifyProgramBuffer(verifier))
    return invalidData("the program is malformed: it is not a valid FlatBuffer "
                       "of a Lapidary program");
  const schema::Program *root = schema::GetProgram(program.data());
  LAPIDARY_TRY(
      validateProgram(*root, bundleHeaderBytes + program.size(), fileBytes));
  return root;
}

Result<std::shared_ptr<const Bundle>> Bundle::open(const std::string &path) {
  std::shared_ptr<Bundle> bundle(new (std::nothrow) Bundle());
  if (!bundle)
    return outOfMemory(concat("no memory to open ", path));
  bundle->file = path;

  // Non-blocking, so that a pipe in a file's place cannot make us wait.
  FileDescriptor descriptor{
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (descriptor.number < 0) {
    int error = errno;
    std::string message =
        concat("cannot open ", path, ": ", std::strerror(error));
    return error == ENOENT ? notFound(message) : ioError(message);
  }
  struct stat information;
  if (fstat(descriptor.number, &information) != 0)
    return ioError(
        concat("cannot read the size of ", path, ": ", std::strerror(errno)));
  if (!S_ISREG(information.st_mode))
    return invalidData(
        concat(path, " is not a regular file, so it is no bundle"));
  uint64_t size = static_cast<uint64_t>(information.st_size);
  if (size < bundleHeaderBytes)
    return invalidData(concat(path, " is no whole bundle: it has ", size,
                              " bytes, but the header alone has ",
                              bundleHeaderBytes));

  void *mapped = mapMemory(size, PROT_READ, MAP_SHARED, descriptor.number);
  if (mapped == MAP_FAILED)
    return ioError(concat("cannot map the ", size, " bytes of ", path, ": ",
                          std::strerror(errno)));
  bundle->data = static_cast<const uint8_t *>(mapped);
  bundle->bytes = size;

  if (Status status = bundle->checkHeader(); !status.ok())
    return Status(status.getCode(), concat(path, ": ", status.message()));
  return std::shared_ptr<const Bundle>(std::move(bundle));
}

Bundle::~Bundle() {
  if (data)
    munmap(const_cast<uint8_t *>(data), bytes);
}

Status Bundle::checkHeader() {
  if (std::memcmp(data, bundleMagic, sizeof(bundleMagic)) != 0)
    return invalidData(
        "not a Lapidary bundle: the file does not begin with \"LAPIDARY\"");
  if (uint32_t version = load<uint32_t>(data + 8); version != bundleVersion)
    return unsupported(concat("bundle format version ", version,
                              ", but this runtime reads version ",
                              bundleVersion));
  if (uint32_t reserved = load<uint32_t>(data + 12); reserved != 0)
    return invalidData(
        concat("the header's reserved bytes are ", reserved, ", expected 0"));
  uint64_t programBytes = load<uint64_t>(data + 16);
  // A FlatBuffer cannot be smaller than its root offset and identifier.
  if (programBytes < 8 || programBytes > maxProgramBytes)
    return invalidData(concat("the header says that the program has ",
                              programBytes, " bytes, expected 8 to ",
                              maxProgramBytes));
  if (programBytes > bytes - bundleHeaderBytes)
    return invalidData(concat("the file is truncated in its program: it has ",
                              bytes, " bytes, expected at least ",
                              bundleHeaderBytes + programBytes));

  const uint8_t *program = data + bundleHeaderBytes;
  XXH128_hash_t found = XXH3_128bits(program, programBytes);
  if (found.low64 != load<uint64_t>(data + 24) ||
      found.high64 != load<uint64_t>(data + 32))
    return invalidData(
        "the program was altered or damaged: its hash is not the header's");
  root = LAPIDARY_TRY(readProgram({program, programBytes}, bytes));
  for (uint32_t index = 0; index < root->segments()->size(); ++index)
    if (root->segments()->Get(index)->kind() != schema::SegmentKind::Weight)
      LAPIDARY_TRY(checkSegmentHash(index));
  return {};
}

std::array<uint64_t, 2> Bundle::programHash() const {
  return {load<uint64_t>(data + 24), load<uint64_t>(data + 32)};
}

Status Bundle::lock() const {
  if (mlock(data, bytes) == 0)
    return {};
  int error = errno;
  struct rlimit limit;
  bool limited = getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
                 limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes;
  return outOfMemory(
      concat("cannot lock the ", formatBytes(bytes), " of ", file,
             " in memory: ", std::strerror(error),
             limited ? concat(" (the limit for this user is ",
                              formatBytes(limit.rlim_cur), ": ulimit -l)")
                     : std::string()));
}

std::span<const uint8_t> Bundle::segment(uint32_t index) const {
  if (index >= root->segments()->size())
    return {};
  const schema::Segment *segment = root->segments()->Get(index);
  return {data + segment->offset(), segment->size()};
}

Status Bundle::checkSegmentHash(uint32_t index) const {
  const schema::Segment *expected = root->segments()->Get(index);
  XXH128_hash_t found = hash(segment(index), [](uint64_t) { return true; });
  if (found.low64 == expected->hash_low() &&
      found.high64 == expected->hash_high())
    return {};
  return invalidData(
      concat("segment ", index, " (", name(expected->kind()),
             ") was altered or damaged: its hash is not the program's"));
}

Status Bundle::verifyWeights(const ProgressCallback &progress) const {
  std::lock_guard lock(verifyMutex);
  if (!verified) {
    try {
      Status status = hashWeights(progress);
      if (!status.ok() && status.getCode() != StatusCode::InvalidData)
        return status; // nothing is known, so nothing is remembered
      verified = std::move(status);
    } catch (const std::exception &error) { // memory, or the caller's callback
      return internalError(concat("the weights of ", file,
                                  " could not be verified: ", error.what()));
    }
  }
  return *verified;
}

Status Bundle::hashWeights(const ProgressCallback &progress) const {
  const auto &segments = *root->segments();
  std::vector<uint32_t> order;
  uint64_t total = 0;
  for (uint32_t index = 0; index < segments.size(); ++index)
    if (segments.Get(index)->kind() == schema::SegmentKind::Weight) {
      order.push_back(index);
      total += segments.Get(index)->size();
    }
  // The largest first, so that no thread is left alone with it at the end.
  std::sort(order.begin(), order.end(), [&](uint32_t left, uint32_t right) {
    return segments.Get(left)->size() > segments.Get(right)->size();
  });

  std::mutex progressMutex;
  uint64_t done = 0;
  std::atomic<uint32_t> firstBad = UINT32_MAX;
  std::atomic<bool> stopped = false;
  std::atomic<size_t> next = 0;
  auto hashSome = [&](int32_t, int64_t, int64_t) {
    for (size_t position; (position = next++) < order.size();) {
      uint32_t index = order[position];
      XXH128_hash_t found = hash(segment(index), [&](uint64_t piece) {
        std::lock_guard lock(progressMutex);
        done += piece;
        if (progress && !stopped && !progress(done, total))
          stopped = true;
        return !stopped.load();
      });
      if (stopped)
        return;
      const schema::Segment *expected = segments.Get(index);
      if (found.low64 == expected->hash_low() &&
          found.high64 == expected->hash_high())
        continue;
      uint32_t known = firstBad.load();
      while (index < known && !firstBad.compare_exchange_weak(known, index)) {
      }
    }
  };
  auto threads = static_cast<int32_t>(
      std::clamp<size_t>(order.size(), 1, usableProcessors()));
  LAPIDARY_TRY(Workers::create(threads))->run(threads, 1, hashSome);

  if (stopped)
    return cancelled(concat("verifying ", file, " was cancelled"));
  uint32_t bad = firstBad.load();
  if (bad == UINT32_MAX)
    return {};
  std::string names;
  for (const schema::Weight *weight : *root->weights())
    if (weight->segment() == bad)
      names += concat(names.empty() ? "\"" : ", \"",
                      weight->name()->string_view(), "\"");
  return invalidData(
      concat(file, ": the weight ", names.empty() ? "without a name" : names,
             " (segment ", bad,
             ") was altered or damaged: its hash is not the program's"));
}

} // namespace lapidary
