// Each rule of validation broken once, in a bundle that is right otherwise; the
// message must name what is wrong.
#include "test/runtime/TestBundle.h"

#include "runtime/core/BundleValidation.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>

namespace lapidary::synthetic {
namespace {

using schema::ElementType;
using testing::HasSubstr;

constexpr int64_t huge = std::numeric_limits<int64_t>::max();

struct Broken {
  const char *message;
  std::function<void(TestProgram &)> bend;
};

TestProgram validProgram() {
  TestProgram program = makeProgram(Bytes(300, 1), Bytes(100, 2));
  program.selfTests = {
      {"text", {8, 9}, {}, {10}, {1, 2}, {}, {}, {}, {0.5f, 0.25f}},
      {"image",
       {8, imageToken},
       {3, 4},
       {},
       {1},
       {.1f, .2f, .3f},
       {},
       std::vector<float>(8, 1),
       {0.5f}},
      {"audio",
       {audioToken, audioToken},
       {},
       {},
       {1},
       {},
       std::vector<float>(8, 1),
       std::vector<float>(4, 1),
       {1},
       4},
  };
  return program;
}

Status validate(const std::function<void(TestProgram &)> &bend) {
  TestProgram program = validProgram();
  Bytes file = writeBundle(program, bend);
  uint64_t size;
  std::memcpy(&size, file.data() + 16, 8);
  flatbuffers::Verifier verifier(file.data() + bundleHeaderBytes, size);
  EXPECT_TRUE(schema::VerifyProgramBuffer(verifier));
  return validateProgram(*schema::GetProgram(file.data() + bundleHeaderBytes),
                         bundleHeaderBytes + size, file.size());
}

TestEntry &entry(TestProgram &program, size_t index) {
  return program.targets[0].entries[index];
}
schema::BufferRef &operand(TestProgram &program, size_t dispatch,
                           size_t index) {
  return entry(program, 0).dispatches[dispatch].operands[index];
}
using Kind = schema::BufferKind;

const Broken cases[] = {
    // Segments.
    {"unknown kind 5", [](TestProgram &p) { p.segments[3].kind = schema::SegmentKind(5); }},
    {"expected a multiple of 4096", [](TestProgram &p) { p.segments[3].offset += 64; }},
    {"segment 3 is empty", [](TestProgram &p) { p.segments[3].size = 0; }},
    {"more than 64 bits", [](TestProgram &p) { p.segments[3].size = UINT64_MAX; }},
    {"inside the program", [](TestProgram &p) { p.segments[3].offset = 0; }},
    {"overlap at byte", [](TestProgram &p) { p.segments[2].size = 4097; }},
    {"overlap at byte", [](TestProgram &p) { p.segments[3].offset = p.segments[1].offset; }},
    {"the file is truncated", [](TestProgram &p) { p.segments[3].size += 1; }},
    {"the file is truncated", [](TestProgram &p) { p.segments[3].offset = uint64_t(1) << 60; }},
    {"its last segment ends at", [](TestProgram &p) { p.segments[3].size = 1; }},
    {"the tokenizer is in segment 4", [](TestProgram &p) { p.tokenizer = 4; }},
    {"the tokenizer is in segment 1 of kind Code", [](TestProgram &p) { p.tokenizer = 1; }},
    {"the chat template is in segment 4", [](TestProgram &p) { p.chatTemplate = 4; }},
    {"the chat template is in segment 1 of kind Code", [](TestProgram &p) { p.chatTemplate = 1; }},
    // Model.
    {"the producer has a name of 0 bytes", [](TestProgram &p) { p.producer = ""; }},
    {"control character 27", [](TestProgram &p) { p.name = "a\x1b[2J"; }},
    {"a name of 513 bytes", [](TestProgram &p) { p.architecture = std::string(513, 'x'); }},
    {"vocabulary is 0", [](TestProgram &p) { p.vocabulary = 0; }},
    {"vocabulary is -48", [](TestProgram &p) { p.vocabulary = -48; }},
    {"hidden size is 0", [](TestProgram &p) { p.hidden = 0; }},
    {"layer count is 0", [](TestProgram &p) { p.layers = 0; }},
    {"context is 0", [](TestProgram &p) { p.context = 0; }},
    {"context is 9223372036854775807", [](TestProgram &p) { p.context = huge; }},
    {"bos_token is 48", [](TestProgram &p) { p.bos = 48; }},
    {"pad_token is -2", [](TestProgram &p) { p.pad = -2; }},
    {"image_token is 48", [](TestProgram &p) { p.image = 48; }},
    {"video_token is 48", [](TestProgram &p) { p.video = 48; }},
    {"audio_token is 48", [](TestProgram &p) { p.audio = 48; }},
    {"stop_tokens have the token -1", [](TestProgram &p) { p.stop = {1, -1}; }},
    {"suppress_tokens have the token 48", [](TestProgram &p) { p.suppress = {48}; }},
    {"patch_size is 0", [](TestProgram &p) { p.patchSize = 0; }},
    {"patch_size is 257", [](TestProgram &p) { p.patchSize = 257; }},
    {"max_soft_tokens is -1", [](TestProgram &p) { p.maxSoftTokens = -1; }},
    {"vision positions is 0", [](TestProgram &p) { p.positions = 0; }},
    {"audio rate is 0", [](TestProgram &p) { p.rate = 0; }},
    {"samples_per_token is 0", [](TestProgram &p) { p.samplesPerToken = 0; }},
    {"audio max_tokens is 0", [](TestProgram &p) { p.audioMax = 0; }},
    {"temperature", [](TestProgram &p) { p.temperature = NAN; }},
    {"top_p", [](TestProgram &p) { p.topP = 1.5f; }},
    {"top_k is -1", [](TestProgram &p) { p.topK = -1; }},
    // Weights.
    {"two weights have the name \"embedding\"", [](TestProgram &p) { p.weights[1].name = "embedding"; }},
    {"is in segment 9", [](TestProgram &p) { p.weights[1].segment = 9; }},
    {"of kind Tokenizer, expected Weight", [](TestProgram &p) { p.weights[1].segment = 0; }},
    {"a dimension of 0", [](TestProgram &p) { p.weights[1].shape = {3, 0}; }},
    {"a dimension of 4294967296", [](TestProgram &p) { p.weights[1].shape = {1, int64_t(1) << 32, int64_t(1) << 32}; }},
    {"needs at least 1568 bytes as f32", [](TestProgram &p) { p.weights[0].shape = {49, 8}; }},
    {"needs at least 16384 bytes as q8_0", [](TestProgram &p) { p.weights[1].shape = {4096, 32}; }},
    {"weight \"other\" is stored in the scheme \"q9\", which the program does not have", [](TestProgram &p) { p.weights[1].scheme = "q9"; }},
    {"two schemes have the name \"q8_0\"", [](TestProgram &p) { p.schemes = {"q8_0", "q8_0"}; }},
    {"the scheme of weight \"other\"", [](TestProgram &p) { p.weights[1].scheme = ""; }},
    {"the layout of weight \"other\"", [](TestProgram &p) { p.weights[1].layout = "\n"; }},
    // Caches.
    {"unknown kind 2", [](TestProgram &p) { p.caches[0].kind = schema::CacheKind(2); }},
    {"rows of 0 bytes", [](TestProgram &p) { p.caches[0].rowBytes = 0; }},
    {"rows of 18446744073709551615 bytes", [](TestProgram &p) { p.caches[0].rowBytes = UINT64_MAX; }},
    {"the window of cache \"layers.0.k\" is 0", [](TestProgram &p) { p.caches[0].window = 0; }},
    {"the window of cache \"layers.1.k\" is 5", [](TestProgram &p) { p.caches[1].window = 5; }},
    {"two caches have the name", [](TestProgram &p) { p.caches[1].name = "layers.0.k"; }},
    // Targets.
    {"no target", [](TestProgram &p) { p.targets.clear(); }},
    {"two targets are for cpu/x86_64", [](TestProgram &p) { p.targets.push_back(p.targets[0]); }},
    {"has no variant", [](TestProgram &p) { p.targets[0].variants.clear(); }},
    {"two variants", [](TestProgram &p) { p.targets[0].variants[1].name = "impossible"; }},
    {"of kind Weight, expected Code", [](TestProgram &p) { p.targets[0].variants[1].segment = 2; }},
    {"a feature of variant", [](TestProgram &p) { p.targets[0].variants[1].features = {""}; }},
    {"the device of target 0", [](TestProgram &p) { p.targets[0].device = ""; }},
    {"has 0 modules, expected 7",
     [](TestProgram &p) { p.targets[0].device = "vulkan"; }},
    {"has 1 modules, expected 0",
     [](TestProgram &p) { p.targets[0].variants[0].modules = {{0, 4}}; }},
    {"module 6 of variant \"plain\" of target vulkan/x86_64 has 8 bytes at byte "
     "296 of 300",
     [](TestProgram &p) {
       p.targets[0].device = "vulkan";
       for (TestVariant &variant : p.targets[0].variants)
         variant.modules.assign(7, {0, 300});
       p.targets[0].variants[1].modules[6] = {296, 8};
     }},
    {"expected whole words inside of it",
     [](TestProgram &p) {
       p.targets[0].device = "vulkan";
       for (TestVariant &variant : p.targets[0].variants)
         variant.modules.assign(7, {2, 16});
     }},
    {"the token tile of kernel \"lap_test_store\"",
     [](TestProgram &p) { p.targets[0].kernels[0].tokenTile = -1; }},
    {"has 2 window_bytes, expected 7",
     [](TestProgram &p) { p.targets[0].kernels[0].windowBytes = {4, 4}; }},
    {"operand 3 of kernel \"lap_test_store\" in dispatch 0 of entry point "
     "\"prefill\" of target cpu/x86_64 has row tiles of 6 bytes",
     [](TestProgram &p) {
       p.targets[0].kernels[0].windowBytes = {0, 0, 0, 6, 0, 0, 0};
     }},
    {"expected a multiple of 4 up to 4398046511104, and 0 in the arena",
     [](TestProgram &p) {
       p.targets[0].kernels[0].windowBytes = {0, 0, 0, 0, 0, 0, 4};
     }},
    {"the architecture of target 0", [](TestProgram &p) { p.targets[0].architecture = ""; }},
    {"kernel 2 of target cpu/x86_64", [](TestProgram &p) { p.targets[0].kernels[2].symbol = ""; }},
    {"no entry point \"decode\"", [](TestProgram &p) { entry(p, 1).name = "other"; }},
    {"two entry points", [](TestProgram &p) { entry(p, 5).name = "logits"; entry(p, 5).outputs.clear(); entry(p, 5) = entry(p, 2); }},
    // Entry points.
    {"max_tokens of entry point \"prefill\" of target cpu/x86_64 is 0", [](TestProgram &p) { entry(p, 0).maxTokens = 0; }},
    {"expected a multiple of 16", [](TestProgram &p) { entry(p, 0).maxTokens = 65; }},
    {"is 2, expected 1 to 1", [](TestProgram &p) { entry(p, 1).maxTokens = 2; }},
    {"max_tokens of entry point \"prefill\"", [](TestProgram &p) { entry(p, 0).maxTokens = huge; }},
    {"an arena of", [](TestProgram &p) { entry(p, 0).arenaBytes = UINT64_MAX; }},
    {"has 0 dispatches", [](TestProgram &p) { entry(p, 0).dispatches.clear(); }},
    {"the model has no vision", [](TestProgram &p) { p.hasVision = false; }},
    {"the model has no vision or no image_token", [](TestProgram &p) { p.image = -1; }},
    {"the model has no audio", [](TestProgram &p) { p.hasAudio = false; }},
    // Bindings.
    {"is not known to this runtime", [](TestProgram &p) { entry(p, 0).inputs[2].name = "mystery"; }},
    {"lacks an input", [](TestProgram &p) { entry(p, 0).inputs.erase(entry(p, 0).inputs.begin()); }},
    {"lacks an input", [](TestProgram &p) { entry(p, 0).inputs.erase(entry(p, 0).inputs.begin() + 1); }},
    {"lacks an input", [](TestProgram &p) { entry(p, 0).inputs.pop_back(); }},
    {"lacks an output", [](TestProgram &p) { entry(p, 1).outputs.clear(); }},
    {"two bindings", [](TestProgram &p) { entry(p, 0).inputs.push_back(entry(p, 0).inputs[0]); }},
    {"elements of type I32, expected F32", [](TestProgram &p) { entry(p, 0).outputs[0].element = ElementType::I32; }},
    {"unknown element type 2", [](TestProgram &p) { entry(p, 0).outputs[0].element = ElementType(2); }},
    {"has 9 elements at 1 tokens, expected 8", [](TestProgram &p) { entry(p, 0).outputs[0].elements = {0, 9}; }},
    {"has 47 elements at 1 tokens, expected 48", [](TestProgram &p) { entry(p, 1).outputs[0].elements = {47, 0}; }},
    {"the size of binding \"counts\"", [](TestProgram &p) { entry(p, 5).outputs[0].elements = {1, -1}; }},
    {"the size of binding \"counts\"", [](TestProgram &p) { entry(p, 5).outputs[0].elements = {0, huge}; }},
    {"the size of binding \"counts\"", [](TestProgram &p) { entry(p, 5).outputs[0].elements = {huge, 1}; }},
    {"has 3 elements at 1 tokens, expected 12", [](TestProgram &p) { p.patchSize = 2; }},
    // Dispatches, kernels, operands.
    {"is of kernel 7, but the target has 7 kernels", [](TestProgram &p) { entry(p, 0).dispatches[1].kernel = 7; }},
    {"the tile count of kernel \"lap_test_store\"", [](TestProgram &p) { p.targets[0].kernels[0].tiles = {-1, 0}; }},
    {"the tile count of kernel \"lap_test_store\"", [](TestProgram &p) { p.targets[0].kernels[0].tiles = {64, -2}; }},
    {"the tile work of kernel", [](TestProgram &p) { p.targets[0].kernels[0].tileWork = {huge, 0}; }},
    {"the scratch size of kernel", [](TestProgram &p) { p.targets[0].kernels[0].scratch = {0, huge / 4}; }},
    {"has 0 token_bytes, expected 7; compile the checkpoint again", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes.clear(); }},
    {"has 6 token_bytes, expected 7", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes.pop_back(); }},
    {"has 2 token_bytes, expected 0", [](TestProgram &p) { p.targets[0].kernels[3].tokenBytes = {4, 4}; }},
    {"operand 0 of kernel \"lap_test_store\" in dispatch 0 of entry point \"prefill\" of target cpu/x86_64 has 8 bytes a token, expected 4 to 4", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[0] = 8; }},
    {"has 0 bytes a token, expected 4 to 4", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[0] = 0; }},
    {"has 4 bytes a token, expected 0 to 0", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[2] = 4; }},
    {"has 4 bytes a token, expected 0 to 0", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[3] = 4; }},
    {"has 4 bytes a token, expected 0 to 0", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[4] = 4; }},
    {"has 33 bytes a token, expected 0 to 32", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[6] = 33; }},
    {"has 18446744073709551615 bytes a token", [](TestProgram &p) { p.targets[0].kernels[0].tokenBytes[6] = UINT64_MAX; }},
    {"has 65 operands", [](TestProgram &p) { entry(p, 0).dispatches[0].operands.resize(65); }},
    {"is Input 4, but there are 4", [](TestProgram &p) { operand(p, 0, 0) = {Kind::Input, 4, 0}; }},
    {"is Output 1, but there are 1", [](TestProgram &p) { operand(p, 0, 0) = {Kind::Output, 1, 0}; }},
    {"is Weight 2, but there are 2", [](TestProgram &p) { operand(p, 0, 0) = {Kind::Weight, 2, 0}; }},
    {"is Cache 2, but there are 2", [](TestProgram &p) { operand(p, 0, 0) = {Kind::Cache, 2, 0}; }},
    {"operand 0 of dispatch 1", [](TestProgram &p) { operand(p, 1, 0) = {Kind::Arena, 0, 256 + 64 * 8 * 4}; }},
    {"expected a multiple of 64", [](TestProgram &p) { operand(p, 1, 0) = {Kind::Arena, 0, 32}; }},
    {"the offset 64, which only the arena has", [](TestProgram &p) { operand(p, 0, 0) = {Kind::Input, 0, 64}; }},
    {"unknown kind 5", [](TestProgram &p) { operand(p, 0, 0) = {Kind(5), 0, 0}; }},
    // Candidates.
    {"the candidates of target cpu/x86_64 is 49", [](TestProgram &p) { p.targets[0].candidates = 49; }},
    {"lacks an output", [](TestProgram &p) { p.targets[0].candidates = 8; }},
    {"binding \"top_logits\" of entry point \"decode\" of target cpu/x86_64 is not known", [](TestProgram &p) { addCandidates(p.targets[0], "x"); p.targets[0].candidates = 0; }},
    {"has 8 elements at 1 tokens, expected 9", [](TestProgram &p) { addCandidates(p.targets[0], "x"); p.targets[0].candidates = 9; }},
    {"has 0 of 3 dispatches for candidates, which it gives", [](TestProgram &p) { addCandidates(p.targets[0], "x"); entry(p, 1).candidateDispatches = 0; }},
    {"has 3 of 3 dispatches for candidates", [](TestProgram &p) { addCandidates(p.targets[0], "x"); entry(p, 1).candidateDispatches = 3; }},
    {"has 1 of 2 dispatches for candidates, which it does not give", [](TestProgram &p) { entry(p, 0).candidateDispatches = 1; }},
    {"dispatch 1 of entry point \"decode\" of target cpu/x86_64 has candidates, but is not among the last", [](TestProgram &p) { addCandidates(p.targets[0], "x"); entry(p, 1).dispatches[1].operands[1] = {Kind::Output, 2, 0}; }},
    {"dispatch 2 of entry point \"decode\" of target cpu/x86_64 is for candidates and has a cache",
     [](TestProgram &p) {
       addCandidates(p.targets[0], "x");
       p.targets[0].kernels.back().tokenBytes = {0, 0, 0, 0};
       entry(p, 1).dispatches[2].operands.push_back({Kind::Cache, 0, 0});
     }},
    // Self-tests.
    {"two self-tests", [](TestProgram &p) { p.selfTests[1].name = "text"; }},
    {"has no tokens", [](TestProgram &p) { p.selfTests[0].tokens.clear(); }},
    {"have the token 48", [](TestProgram &p) { p.selfTests[0].tokens[1] = 48; }},
    {"the decoded tokens", [](TestProgram &p) { p.selfTests[0].decoded[0] = -1; }},
    {"the logit_ids", [](TestProgram &p) { p.selfTests[0].logitIds[0] = 99; }},
    {"1 logits for 2", [](TestProgram &p) { p.selfTests[0].logits.pop_back(); }},
    {"0 logits for 0", [](TestProgram &p) { p.selfTests[0].logits = {}; p.selfTests[0].logitIds = {}; }},
    {"not finite", [](TestProgram &p) { p.selfTests[0].logits[0] = INFINITY; }},
    {"more tokens than the model's context", [](TestProgram &p) { p.selfTests[0].tokens.assign(256, 8); }},
    {"no bound above 0", [](TestProgram &p) { p.selfTests[0].bound = NAN; }},
    {"embedding_stride", [](TestProgram &p) { p.selfTests[0].stride = 0; }},
    {"1 soft tokens for 2 rows", [](TestProgram &p) { p.selfTests[1].frames = {1, 2, 3, 4}; }},
    {"no embedding_bound above 0", [](TestProgram &p) { p.selfTests[1].embeddingBound = 0; }},
    {"4 patch values", [](TestProgram &p) { p.selfTests[1].patches.push_back(1); }},
    {"patch position 100", [](TestProgram &p) { p.selfTests[1].positions[1] = 100; }},
    {"1 position values, expected 2", [](TestProgram &p) { p.selfTests[1].positions.pop_back(); }},
    {"2 position values, expected 0", [](TestProgram &p) { p.selfTests[0].positions = {1, 2}; }},
    {"9 samples", [](TestProgram &p) { p.selfTests[2].frames.push_back(0); }},
    {"3 soft tokens for 2 rows", [](TestProgram &p) { p.selfTests[2].tokens.push_back(videoToken); }},
    {"5 embedding values, expected 4", [](TestProgram &p) { p.selfTests[2].embeddings.push_back(0); }},
};

TEST(BundleValidation, AcceptsTheWholeModel) {
  Status status = validate([](TestProgram &) {});
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(BundleValidation, AcceptsCandidates) {
  Status status = validate([](TestProgram &p) {
    addCandidates(p.targets[0], "lap_test_candidates");
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(BundleValidation, AcceptsATextModel) {
  Status status = validate([](TestProgram &p) {
    p.hasVision = p.hasAudio = p.bidirectional = false;
    p.image = p.video = p.audio = p.bos = p.pad = -1;
    p.selfTests.clear();
    auto &entries = p.targets[0].entries;
    entries.erase(entries.begin() + 3, entries.begin() + 5);
    entries[0].inputs.resize(1);
    entries[0].dispatches = {{3, {{Kind::Input, 0, 0}, {Kind::Output, 0, 0}}}};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(BundleValidation, RefusesEachBrokenRule) {
  for (const Broken &broken : cases) {
    Status status = validate(broken.bend);
    EXPECT_EQ(status.getCode(), StatusCode::InvalidData) << broken.message;
    EXPECT_THAT(status.message(), HasSubstr(broken.message));
  }
}

TEST(BundleValidation, EvaluatesExtents) {
  EXPECT_EQ(evaluate(schema::Extent(3, 4), 5), 23);
  EXPECT_EQ(evaluate(schema::Extent(huge, 1), 1), std::nullopt);
  EXPECT_EQ(evaluate(schema::Extent(0, huge), 2), std::nullopt);
}

} // namespace
} // namespace lapidary::synthetic
