// The synthetic model of TestBundle.h for Vulkan devices, with kernels in GLSL,
// and entry points that show how dispatches are cut and ordered.
#pragma once

#include "test/runtime/TestBundle.h"

#include "runtime/devices/vulkan/VulkanLibrary.h"

#include <cstdlib>
#include <filesystem>
#include <numeric>

namespace lapidary::synthetic {

/// Sets an environment variable for a scope.
class ScopedVariable {
public:
  ScopedVariable(const char *name, const std::string &value) : name(name) {
    if (const char *old = std::getenv(name))
      before = old;
    setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() {
    if (before.empty())
      unsetenv(name);
    else
      setenv(name, before.c_str(), 1);
  }

private:
  const char *name;
  std::string before;
};

/// Watched by the validation layer where it is installed, with a cache folder
/// of its own; skips where there is no device or no compiler for shaders.
class VulkanTest : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "lapidary-cache-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    folder = pattern;
    cache.emplace("XDG_CACHE_HOME", folder);
    if (std::string_view(LAPIDARY_TEST_SHADERS).empty())
      GTEST_SKIP() << "glslangValidator was not there when this was built";
    validation.emplace("LAPIDARY_VULKAN_VALIDATION", "1");
    auto instance = VulkanInstance::create();
    if (!instance.ok() &&
        instance.status().message().find("VK_LAYER") != std::string::npos) {
      validation.reset();
      unsetenv("LAPIDARY_VULKAN_VALIDATION");
      instance = VulkanInstance::create();
    }
    if (!instance.ok())
      GTEST_SKIP() << instance.status().message();
    if (auto device = (*instance)->find("vulkan"); !device.ok())
      GTEST_SKIP() << device.status().message();
    // Drivers stay loaded, so that what they leak has their name: see
    // __lsan_default_suppressions.
    static auto *kept = new std::shared_ptr<VulkanInstance>(*instance);
    (void)kept;
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  std::string folder;
  std::optional<ScopedVariable> cache, validation;
};

/// Row tiles of the entry points "rows" and "lookup": more than one binding of
/// a small device holds.
inline constexpr int32_t rowTiles = 1000, rowTileBytes = 96;
inline std::vector<int32_t> rowTileValues() {
  std::vector<int32_t> values(rowTiles * rowTileBytes / 4);
  std::iota(values.begin(), values.end(), 5);
  return values;
}

/// Entry points beside the model's, by index.
inline constexpr uint32_t gridEntry = 5, rowsEntry = 6, lookupEntry = 7,
                          chainEntry = 8;
/// Dispatches of "chain".
inline constexpr int32_t chainLength = 60;

inline TestTarget makeVulkanTarget(TestProgram &program, bool extraEntries) {
  using enum schema::ElementType;
  using Kind = schema::BufferKind;
  auto ref = [](Kind kind, uint32_t index, uint64_t offset = 0) {
    return schema::BufferRef(kind, index, offset);
  };
  TestTarget target = program.targets[0];
  target.device = "vulkan";
  target.architecture = "spirv";
  target.entries.pop_back(); // "tiles"
  target.kernels.pop_back();
  std::vector<std::string> files = {"Store",  "Attend", "Decode",
                                    "Logits", "Image",  "Audio"};
  for (TestKernel &kernel : target.kernels) {
    kernel.scratch = {0, 0};
    kernel.tokenBytes.clear();
  }
  if (extraEntries) {
    files.insert(files.end(), {"Grid", "Rows", "Lookup", "Chain"});
    const auto weight = static_cast<uint32_t>(program.weights.size());
    program.weights.push_back({"rows",
                               "f32",
                               "plain",
                               {rowTiles, rowTileBytes / 4},
                               static_cast<uint32_t>(program.segments.size())});
    program.segments.push_back(
        {schema::SegmentKind::Weight, toBytes(rowTileValues())});
    const schema::Extent none(0, 0);
    target.kernels.push_back({"", {100, 0}, {1, 0}, none, {}, 4});
    target.kernels.push_back(
        {"", {rowTiles, 0}, {1, 0}, none, {}, 0, {rowTileBytes, 0}});
    target.kernels.push_back(
        {"", {0, 1}, {1, 0}, none, {}, 0, {rowTileBytes, 0, 0}, true});
    target.kernels.push_back({"", {256, 0}, {1, 0}, none});
    target.entries.push_back(
        {"grid",
         9,
         {},
         {{"counts", I32, {0, 100}}, {"sizes", I32, {3, 0}}},
         {{6, {ref(Kind::Output, 0), ref(Kind::Output, 1)}}},
         0});
    target.entries.push_back(
        {"rows",
         1,
         {},
         {{"sums", I32, {rowTiles, 0}}},
         {{7, {ref(Kind::Weight, weight), ref(Kind::Output, 0)}}},
         0});
    target.entries.push_back({"lookup",
                              64,
                              {{"tokens", I32, {0, 1}}},
                              {{"found", I32, {0, 1}}},
                              {{8,
                                {ref(Kind::Weight, weight), ref(Kind::Input, 0),
                                 ref(Kind::Output, 0)}}},
                              0});
    TestEntry chain{
        "chain", 1,   {{"first", I32, {256, 0}}}, {{"last", I32, {256, 0}}},
        {},      4096};
    for (uint64_t step = 0; step < chainLength; ++step)
      chain.dispatches.push_back(
          {9,
           {step == 0 ? ref(Kind::Input, 0)
                      : ref(Kind::Arena, 0, step % 2 * 2048),
            step + 1 == chainLength
                ? ref(Kind::Output, 0)
                : ref(Kind::Arena, 0, (step + 1) % 2 * 2048)}});
    target.entries.push_back(chain);
  }
  TestVariant variant{
      "base", {}, static_cast<uint32_t>(program.segments.size()), {}};
  TestSegment code{schema::SegmentKind::Code, {}};
  for (size_t index = 0; index < files.size(); ++index) {
    target.kernels[index].symbol = "main";
    Bytes module = readFile(std::string(LAPIDARY_TEST_SHADERS) + "/" +
                            files[index] + ".spv");
    variant.modules.emplace_back(code.bytes.size(), module.size());
    code.bytes.insert(code.bytes.end(), module.begin(), module.end());
  }
  program.segments.push_back(std::move(code));
  target.variants = {
      {"future", {"no-such-feature"}, variant.segment, variant.modules},
      variant};
  return target;
}

/// For Vulkan alone, or for the CPU too, then perhaps with candidates.
inline TestProgram makeVulkanProgram(bool alsoCpu = false,
                                     bool candidates = false) {
  TestProgram program = makeProgram();
  TestTarget target = makeVulkanTarget(program, !alsoCpu);
  if (candidates) {
    addCandidates(program.targets[0], "lap_test_candidates");
    addCandidates(target, "main");
    const Bytes module =
        readFile(std::string(LAPIDARY_TEST_SHADERS) + "/Candidates.spv");
    Bytes &code = program.segments.back().bytes;
    for (TestVariant &variant : target.variants)
      variant.modules.emplace_back(code.size(), module.size());
    code.insert(code.end(), module.begin(), module.end());
  }
  if (alsoCpu) {
    program.targets[0].entries.pop_back(); // "tiles"
    program.targets.push_back(std::move(target));
  } else {
    program.targets = {std::move(target)};
  }
  return program;
}

} // namespace lapidary::synthetic
