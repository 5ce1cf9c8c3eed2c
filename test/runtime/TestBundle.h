// Small synthetic bundles for tests: a description in plain structs, which a
// test may bend in any way, and the file that follows from it. The model's
// kernels are in TestKernels.c; `expectedHidden` says what they should find.
#pragma once

#include "frontends/formats/TokenizerTable.h"
#include "runtime/core/Bundle.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

namespace lapidary::synthetic {

using Bytes = std::vector<uint8_t>;

inline constexpr int32_t vocabulary = 48, hidden = 8, window = 20,
                         prefillMax = 64, contextMax = 256;
inline constexpr int32_t stopToken = 40, imageToken = 41, videoToken = 42,
                         audioToken = 43, bosToken = 44;
inline constexpr int32_t suppressedToken = 45;

struct TestSegment {
  schema::SegmentKind kind;
  Bytes bytes;
  // Filled by `layOut`; a test may bend them in TestProgram::bend.
  uint64_t offset = 0, size = 0, hashLow = 0, hashHigh = 0;
};

struct TestWeight {
  std::string name, scheme, layout;
  std::vector<int64_t> shape;
  uint32_t segment;
};

struct TestCache {
  std::string name;
  schema::CacheKind kind;
  uint64_t rowBytes;
  int64_t window;
};

struct TestKernel {
  std::string symbol;
  schema::Extent tiles, tileWork, scratch;
  /// None: written as absent.
  std::vector<uint64_t> tokenBytes = {};
  int64_t tokenTile = 0;
  std::vector<uint64_t> windowBytes = {};
  bool windowsRepeat = false;
};

struct TestDispatch {
  uint32_t kernel;
  std::vector<schema::BufferRef> operands;
};

struct TestBinding {
  std::string name;
  schema::ElementType element;
  schema::Extent elements;
};

struct TestEntry {
  std::string name;
  int64_t maxTokens;
  std::vector<TestBinding> inputs, outputs;
  std::vector<TestDispatch> dispatches;
  uint64_t arenaBytes;
  uint32_t candidateDispatches = 0;
};

struct TestVariant {
  std::string name;
  std::vector<std::string> features;
  uint32_t segment;
  std::vector<schema::Module> modules = {};
};

struct TestTarget {
  std::string device = "cpu", architecture = "x86_64";
  std::vector<TestVariant> variants;
  std::vector<TestKernel> kernels;
  std::vector<TestEntry> entries;
  int32_t candidates = 0;
};

struct TestSelfTest {
  std::string name;
  std::vector<int32_t> tokens, positions, decoded, logitIds;
  std::vector<float> patches, frames, embeddings, logits;
  int32_t stride = 1;
  float bound = 1e-3f, embeddingBound = 1e-3f;
};

struct TestProgram {
  std::string producer = "lapidary test", name = "synthetic",
              architecture = "gemma4_unified";
  int32_t vocabulary = synthetic::vocabulary, hidden = synthetic::hidden,
          layers = 2;
  int64_t context = contextMax;
  int32_t bos = bosToken, pad = 0, image = imageToken, video = videoToken,
          audio = audioToken;
  std::vector<int32_t> stop = {stopToken}, suppress = {suppressedToken};
  bool bidirectional = true, hasVision = true, hasAudio = true;
  int32_t patchSize = 1, maxSoftTokens = 70, positions = 100, rate = 16000,
          samplesPerToken = 4, audioMax = 750;
  float temperature = 1, topP = 0.95f;
  int32_t topK = 64;
  std::vector<TestSegment> segments;
  std::vector<TestWeight> weights;
  std::vector<std::string> schemes = {"q8_0"};
  std::vector<TestCache> caches;
  std::vector<TestTarget> targets;
  std::vector<TestSelfTest> selfTests;
  uint32_t tokenizer = 0;
  int32_t chatTemplate = -1;
};

inline Bytes readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

/// The tokens t0 to t47 of which some are special; "t9" and so on are their
/// texts. `specials` are others that are special, by id.
inline Bytes
makeTokenizer(const std::map<int32_t, std::string> &specials = {}) {
  TokenizerModel model;
  for (int32_t id = 0; id < vocabulary; ++id) {
    TokenizerModel::Token token;
    token.content =
        id < 10 ? "t0" + std::to_string(id) : "t" + std::to_string(id);
    token.added = token.special = id >= stopToken;
    if (const auto found = specials.find(id); found != specials.end()) {
      token.content = found->second;
      token.added = token.special = true;
    }
    token.inVocabulary = !token.added;
    if (id == 46) // half of a character, and its other half
      token = {"<0xC3>", true, false, false};
    if (id == 47)
      token = {"<0xA9>", true, false, false};
    model.tokens.push_back(token);
  }
  model.byteFallback = true;
  auto table = writeTokenizerTable(model);
  EXPECT_TRUE(table.ok()) << table.status().message();
  return *std::move(table);
}

template <typename T> Bytes toBytes(const std::vector<T> &values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// The whole synthetic model; `code` is the ELF shared object, by default the
/// test kernels.
inline TestProgram makeProgram(Bytes code = readFile(LAPIDARY_TEST_KERNELS),
                               Bytes tokenizer = makeTokenizer()) {
  using enum schema::ElementType;
  using Kind = schema::BufferKind;
  TestProgram program;
  std::vector<float> embedding(vocabulary * hidden);
  for (int32_t id = 0; id < vocabulary; ++id)
    embedding[id * hidden] = float(id);
  program.segments = {{schema::SegmentKind::Tokenizer, std::move(tokenizer)},
                      {schema::SegmentKind::Code, std::move(code)},
                      {schema::SegmentKind::Weight, toBytes(embedding)},
                      {schema::SegmentKind::Weight, Bytes(5000, 7)}};
  program.weights = {{"embedding", "f32", "plain", {vocabulary, hidden}, 2},
                     {"other", "q8_0", "rows16", {8, 32}, 3}};
  program.caches = {{"layers.0.k", schema::CacheKind::Ring, 4, window},
                    {"layers.1.k", schema::CacheKind::Growing, 4, 0}};

  auto ref = [](Kind kind, uint32_t index, uint64_t offset = 0) {
    return schema::BufferRef(kind, index, offset);
  };
  schema::Extent perToken(0, 1), one(1, 0), none(0, 0);
  TestTarget target;
  target.variants = {{"impossible", {"no-such-feature"}, 1},
                     {"plain", {"64bit"}, 1}};
  target.kernels = {
      {"lap_test_store",
       perToken,
       {8, 0},
       none,
       {4, 4, 0, 0, 0, 0, hidden * 4}},
      {"lap_test_attend",
       perToken,
       {100000, 0},
       {64, 0},
       {hidden * 4, 4, 0, 0, hidden * 4}},
      {"lap_test_decode", one, {100, 0}, {64, 0}, {0, 0, 0, 0, 0}},
      {"lap_test_logits", perToken, {5000, 0}, none},
      {"lap_test_image", perToken, {30000, 0}, none},
      {"lap_test_audio", perToken, {10, 0}, none},
      {"lap_test_tiles", {0, 100}, {1000, 0}, {64, 3}}};
  target.entries = {
      {"prefill",
       prefillMax,
       {{"tokens", I32, {0, 1}},
        {"media_rows", I32, {0, 1}},
        {"media", F32, {hidden, 0}},
        {"visible_end", I32, {0, 1}}},
       {{"hidden", F32, {0, hidden}}},
       {{0,
         {ref(Kind::Input, 0), ref(Kind::Input, 1), ref(Kind::Input, 2),
          ref(Kind::Weight, 0), ref(Kind::Cache, 1), ref(Kind::Cache, 0),
          ref(Kind::Arena, 0, 256)}},
        {1,
         {ref(Kind::Arena, 0, 256), ref(Kind::Input, 3), ref(Kind::Cache, 1),
          ref(Kind::Cache, 0), ref(Kind::Output, 0)}}},
       256 + prefillMax * hidden * 4},
      {"decode",
       1,
       {{"tokens", I32, {1, 0}}},
       {{"logits", F32, {vocabulary, 0}}},
       {{2,
         {ref(Kind::Input, 0), ref(Kind::Weight, 0), ref(Kind::Cache, 1),
          ref(Kind::Cache, 0), ref(Kind::Arena, 0, 0)}},
        {3, {ref(Kind::Arena, 0, 0), ref(Kind::Output, 0)}}},
       64},
      {"logits",
       5,
       {{"hidden", F32, {0, hidden}}},
       {{"logits", F32, {0, vocabulary}}},
       {{3, {ref(Kind::Input, 0), ref(Kind::Output, 0)}}},
       0},
      {"embed_image",
       4,
       {{"patches", F32, {0, 3}}, {"positions", I32, {0, 2}}},
       {{"embeddings", F32, {0, hidden}}},
       {{4, {ref(Kind::Input, 0), ref(Kind::Input, 1), ref(Kind::Output, 0)}}},
       0},
      {"embed_audio",
       3,
       {{"frames", F32, {0, 4}}},
       {{"embeddings", F32, {0, hidden}}},
       {{5, {ref(Kind::Input, 0), ref(Kind::Output, 0)}}},
       0},
      {"tiles",
       200,
       {},
       {{"counts", I32, {0, 100}}, {"sizes", I32, {3, 0}}},
       {{6, {ref(Kind::Output, 0), ref(Kind::Output, 1)}}},
       0},
  };
  program.targets = {target};
  return program;
}

/// What `lap_test_candidates` gives of a row.
inline constexpr int32_t candidateCount = 8;

/// Adds candidates to what gives logits, by a kernel that the target gets.
inline void addCandidates(TestTarget &target, const std::string &symbol) {
  using enum schema::ElementType;
  using Kind = schema::BufferKind;
  const auto kernel = static_cast<uint32_t>(target.kernels.size());
  target.kernels.push_back({symbol, {0, 1}, {100, 0}, {0, 0}});
  target.candidates = candidateCount;
  for (TestEntry &entry : target.entries) {
    if (entry.name != "decode" && entry.name != "logits")
      continue;
    const schema::Extent elements(entry.name == "decode" ? candidateCount : 0,
                                  entry.name == "decode" ? 0 : candidateCount);
    entry.outputs.push_back({"top_logits", F32, elements});
    entry.outputs.push_back({"top_tokens", I32, elements});
    entry.dispatches.push_back({kernel,
                                {schema::BufferRef(Kind::Output, 0, 0),
                                 schema::BufferRef(Kind::Output, 1, 0),
                                 schema::BufferRef(Kind::Output, 2, 0)}});
    entry.candidateDispatches = 1;
  }
}

inline void layOut(std::vector<TestSegment> &segments, uint64_t programEnd) {
  uint64_t offset = programEnd;
  for (TestSegment &segment : segments) {
    offset = (offset + 4095) / 4096 * 4096;
    XXH128_hash_t hash =
        XXH3_128bits(segment.bytes.data(), segment.bytes.size());
    segment.offset = offset;
    segment.size = segment.bytes.size();
    segment.hashLow = hash.low64;
    segment.hashHigh = hash.high64;
    offset += segment.size;
  }
}

/// The FlatBuffer alone. Its size does not depend on any value, since defaults
/// are written too.
inline Bytes writeProgram(const TestProgram &p) {
  flatbuffers::FlatBufferBuilder b;
  b.ForceDefaults(true);
  std::vector<flatbuffers::Offset<schema::Segment>> segments;
  for (const TestSegment &s : p.segments)
    segments.push_back(schema::CreateSegment(b, s.kind, s.offset, s.size,
                                             s.hashLow, s.hashHigh));
  std::vector<flatbuffers::Offset<schema::Weight>> weights;
  for (const TestWeight &w : p.weights)
    weights.push_back(
        schema::CreateWeightDirect(b, w.name.c_str(), w.scheme.c_str(),
                                   w.layout.c_str(), &w.shape, w.segment));
  std::vector<flatbuffers::Offset<schema::Cache>> caches;
  for (const TestCache &c : p.caches)
    caches.push_back(schema::CreateCacheDirect(b, c.name.c_str(), c.kind,
                                               c.rowBytes, c.window));
  auto bindings = [&](const std::vector<TestBinding> &list) {
    std::vector<flatbuffers::Offset<schema::Binding>> result;
    for (const TestBinding &x : list)
      result.push_back(schema::CreateBindingDirect(b, x.name.c_str(), x.element,
                                                   &x.elements));
    return b.CreateVector(result);
  };
  std::vector<flatbuffers::Offset<schema::Target>> targets;
  for (const TestTarget &t : p.targets) {
    std::vector<flatbuffers::Offset<schema::Variant>> variants;
    for (const TestVariant &v : t.variants)
      variants.push_back(schema::CreateVariant(
          b, b.CreateString(v.name), b.CreateVectorOfStrings(v.features),
          v.segment,
          v.modules.empty() ? 0 : b.CreateVectorOfStructs(v.modules)));
    std::vector<flatbuffers::Offset<schema::Kernel>> kernels;
    for (const TestKernel &k : t.kernels)
      kernels.push_back(schema::CreateKernelDirect(
          b, k.symbol.c_str(), &k.tiles, &k.tileWork, &k.scratch,
          k.tokenBytes.empty() ? nullptr : &k.tokenBytes, k.tokenTile,
          k.windowBytes.empty() ? nullptr : &k.windowBytes, k.windowsRepeat));
    std::vector<flatbuffers::Offset<schema::EntryPoint>> entries;
    for (const TestEntry &e : t.entries) {
      std::vector<flatbuffers::Offset<schema::Dispatch>> dispatches;
      for (const TestDispatch &d : e.dispatches)
        dispatches.push_back(schema::CreateDispatch(
            b, d.kernel, b.CreateVectorOfStructs(d.operands)));
      auto name = b.CreateString(e.name);
      auto inputs = bindings(e.inputs), outputs = bindings(e.outputs);
      entries.push_back(schema::CreateEntryPoint(
          b, name, e.maxTokens, inputs, outputs, b.CreateVector(dispatches),
          e.arenaBytes, e.candidateDispatches));
    }
    targets.push_back(schema::CreateTargetDirect(
        b, t.device.c_str(), t.architecture.c_str(), &variants, &kernels,
        &entries, t.candidates));
  }
  std::vector<flatbuffers::Offset<schema::SelfTest>> selfTests;
  for (const TestSelfTest &t : p.selfTests)
    selfTests.push_back(schema::CreateSelfTestDirect(
        b, t.name.c_str(), &t.tokens, &t.patches, &t.positions, &t.frames,
        &t.embeddings, t.stride, &t.decoded, &t.logitIds, &t.logits, t.bound,
        t.embeddingBound));
  flatbuffers::Offset<schema::Vision> vision;
  if (p.hasVision)
    vision = schema::CreateVision(b, p.patchSize, p.maxSoftTokens, 8, 32,
                                  p.positions);
  flatbuffers::Offset<schema::Audio> audio;
  if (p.hasAudio)
    audio = schema::CreateAudio(b, p.rate, p.samplesPerToken, p.audioMax);
  auto sampling =
      schema::CreateSampling(b, true, p.temperature, p.topK, p.topP);
  auto model = schema::CreateModelDirect(
      b, p.name.c_str(), p.architecture.c_str(), p.vocabulary, p.hidden,
      p.layers, p.context, p.bos, p.pad, &p.stop, &p.suppress, p.image, p.video,
      p.audio, p.bidirectional, vision, audio, sampling);
  std::vector<flatbuffers::Offset<schema::Scheme>> schemes;
  for (const std::string &name : p.schemes)
    schemes.push_back(
        schema::CreateSchemeDirect(b, name.c_str(), "lap.scheme"));
  auto root = schema::CreateProgramDirect(
      b, p.producer.c_str(), model, &segments, &weights, &caches, &targets,
      p.tokenizer, &selfTests, &schemes, p.chatTemplate);
  schema::FinishProgramBuffer(b, root);
  return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
}

/// Writes the header's size and hash for the program that follows it.
inline void sealHeader(Bytes &file, uint64_t programBytes) {
  std::memcpy(file.data(), bundleMagic, 8);
  std::memcpy(file.data() + 8, &bundleVersion, 4);
  std::memset(file.data() + 12, 0, 4);
  std::memcpy(file.data() + 16, &programBytes, 8);
  XXH128_hash_t hash =
      XXH3_128bits(file.data() + bundleHeaderBytes, programBytes);
  std::memcpy(file.data() + 24, &hash.low64, 8);
  std::memcpy(file.data() + 32, &hash.high64, 8);
}

/// The file. `program.segments` get their places, which `bend` may then change
/// as an attacker would.
template <typename Bend>
Bytes writeBundle(TestProgram &program, const Bend &bend) {
  Bytes root = writeProgram(program);
  // With room for what `bend` adds to the program.
  layOut(program.segments, bundleHeaderBytes + root.size() + 4096);
  Bytes file(program.segments.empty() ? bundleHeaderBytes + root.size()
                                      : program.segments.back().offset +
                                            program.segments.back().size);
  for (const TestSegment &segment : program.segments)
    std::copy(segment.bytes.begin(), segment.bytes.end(),
              file.begin() + segment.offset);
  bend(program);
  root = writeProgram(program);
  std::copy(root.begin(), root.end(), file.begin() + bundleHeaderBytes);
  sealHeader(file, root.size());
  return file;
}
inline Bytes writeBundle(TestProgram &program) {
  return writeBundle(program, [](TestProgram &) {});
}

/// A file that is gone at the end of the test.
class TemporaryFile {
public:
  explicit TemporaryFile(const Bytes &bytes) {
    std::string pattern = testing::TempDir() + "lapidary-test-XXXXXX";
    int descriptor = mkstemp(pattern.data());
    EXPECT_GE(descriptor, 0);
    close(descriptor);
    path = pattern;
    write(bytes);
  }
  ~TemporaryFile() { std::remove(path.c_str()); }
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;
  void write(const Bytes &bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char *>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  std::string path;
};

/// Opens `program` as a bundle; the file is removed at once, the mapping stays.
inline std::shared_ptr<const Bundle>
openBundle(TestProgram program = makeProgram()) {
  TemporaryFile file(writeBundle(program));
  auto bundle = Bundle::open(file.path);
  EXPECT_TRUE(bundle.ok()) << bundle.status().message();
  return bundle.ok() ? *bundle : nullptr;
}

inline bool isVision(int32_t token) {
  return token == imageToken || token == videoToken;
}
inline bool isSoft(int32_t token) {
  return isVision(token) || token == audioToken;
}

/// The hidden rows of a whole conversation, computed at once without caches or
/// chunks. `media` has `hidden` values a soft token; `firstOfStep[i]` is not
/// modelled: entry 7 (tokens in the step) is left 0.
inline std::vector<std::vector<float>>
expectedHidden(const std::vector<int32_t> &tokens,
               const std::vector<float> &media, bool bidirectional = true) {
  std::vector<std::vector<float>> rows;
  std::vector<float> values;
  size_t soft = 0;
  for (int32_t token : tokens) {
    std::vector<float> row(hidden);
    row[0] = isSoft(token) ? media[soft * hidden] : float(token);
    row[5] = isSoft(token);
    row[6] = isSoft(token) ? media[soft * hidden + hidden - 1] : 0;
    soft += isSoft(token);
    values.push_back(row[0]);
    rows.push_back(row);
  }
  for (int64_t position = 0; position < int64_t(tokens.size()); ++position) {
    int64_t end = position + 1;
    while (bidirectional && isVision(tokens[position]) &&
           end < int64_t(tokens.size()) && isVision(tokens[end]))
      ++end;
    for (int64_t q = 0; q <= position; ++q)
      rows[position][1] += values[q];
    for (int64_t q = std::max<int64_t>(0, position - window + 1); q < end; ++q)
      rows[position][2] += values[q];
    rows[position][3] = float(position);
    rows[position][4] = float(end);
  }
  return rows;
}

} // namespace lapidary::synthetic
