// The Vulkan device: what it takes and refuses, and that dispatches that are
// cut, replayed or ordered give what whole ones give.
#include "test/runtime/devices/vulkan/VulkanTestBundle.h"

#include "runtime/devices/Profile.h"
#include "runtime/devices/vulkan/VulkanDevice.h"

#include <gmock/gmock.h>

#include <fstream>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

Result<std::unique_ptr<VulkanDevice>> makeDevice(
    std::shared_ptr<const Bundle> bundle, const VulkanOverrides &overrides = {},
    const DeviceOptions &options = {.context = contextMax, .chunk = 16}) {
  const schema::Target *target = *findTarget(bundle->program(), "vulkan");
  return VulkanDevice::create(bundle, *target, "vulkan", options, {},
                              overrides);
}

Status run(Device &device, uint32_t entry, const Step &step,
           std::span<const void *const> inputs,
           std::span<void *const> outputs) {
  return device.run(entry, {&step, 1}, inputs, outputs, nullptr);
}

/// Devices as they are, and as poor as they come.
std::vector<VulkanOverrides> kinds() {
  VulkanOverrides card, small;
  card.staging = true;
  small.staging = true;
  small.bindingRange = 5000;
  small.workgroups = 7;
  small.allocation = 200 << 10;
  return {{}, card, small};
}

TEST_F(VulkanTest, TakesTheFirstVariantThatRuns) {
  auto device = makeDevice(openBundle(makeVulkanProgram()));
  ASSERT_TRUE(device.ok()) << device.status().message();
  EXPECT_THAT((*device)->description(), HasSubstr("vulkan base ("));
  ScopedVariable forced("LAPIDARY_VULKAN", "future");
  EXPECT_THAT(makeDevice(openBundle(makeVulkanProgram())).status().message(),
              HasSubstr("lacks no-such-feature"));
  ScopedVariable other("LAPIDARY_VULKAN", "past");
  EXPECT_THAT(
      makeDevice(openBundle(makeVulkanProgram())).status().message(),
      HasSubstr("the bundle has: future (it lacks no-such-feature); base"));
}

TEST_F(VulkanTest, TakesFeaturesFromADeviceForTests) {
  TestProgram program = makeVulkanProgram();
  program.targets[0].variants[0].features = {"shaderInt64"};
  VulkanOverrides without;
  without.without = {"shaderInt64"};
  auto device = makeDevice(openBundle(program), without);
  ASSERT_TRUE(device.ok()) << device.status().message();
  EXPECT_EQ((*device)->variant().name()->string_view(), "base");
}

TEST_F(VulkanTest, NamesWhatIsMissing) {
  auto bundle = openBundle(makeVulkanProgram());
  DeviceOptions options{.context = contextMax, .chunk = 16};
  EXPECT_THAT(createDevice(bundle, "vulkan:77", options).status().message(),
              HasSubstr("no device \"vulkan:77\"; it has: vulkan:0 ("));
  EXPECT_THAT(
      createDevice(bundle, "vulkan:No Such Card", options).status().message(),
      HasSubstr("see lapidary devices"));
  EXPECT_THAT(createDevice(bundle, "cpu", options).status().message(),
              HasSubstr("it has: vulkan/spirv; compile the checkpoint with "
                        "--target cpu"));
  EXPECT_THAT(createDevice(openBundle(), "vulkan", options).status().message(),
              HasSubstr("compile the checkpoint with --target vulkan"));
  auto named = (*VulkanInstance::create())->find("vulkan");
  ASSERT_TRUE(named.ok());
  std::string part = named->name.substr(0, 4);
  part[0] = static_cast<char>(std::toupper(part[0]));
  EXPECT_TRUE(createDevice(bundle, "vulkan:" + part, options).ok());
}

TEST(Vulkan, SaysWhatToDoWithoutADriver) {
  ScopedVariable old("VK_ICD_FILENAMES", "/nonexistent.json"),
      now("VK_DRIVER_FILES", "/nonexistent.json");
  auto instance = VulkanInstance::create();
  Status status =
      instance.ok() ? (*instance)->find("vulkan").status() : instance.status();
  EXPECT_EQ(status.getCode(), StatusCode::Unsupported);
  EXPECT_THAT(status.message(), HasSubstr("install"));
}

TEST_F(VulkanTest, RefusesModulesThatAreNone) {
  TestProgram program = makeVulkanProgram();
  program.segments.back().bytes[0] ^= 1;
  EXPECT_THAT(makeDevice(openBundle(program)).status().message(),
              HasSubstr("is no SPIR-V module"));
}

TEST_F(VulkanTest, ListensToTheValidationLayer) {
  if (!std::getenv("LAPIDARY_VULKAN_VALIDATION"))
    GTEST_SKIP() << "there is no validation layer";
  TestProgram program = makeVulkanProgram();
  Bytes &code = program.segments.back().bytes;
  const Bytes wide = readFile(std::string(LAPIDARY_TEST_SHADERS) + "/Wide.spv");
  for (TestVariant &variant : program.targets[0].variants)
    variant.modules[5] = {code.size(), wide.size()};
  code.insert(code.end(), wide.begin(), wide.end());
  EXPECT_THAT(makeDevice(openBundle(program)).status().message(),
              HasSubstr("validation layer complains"));
  program.targets[0].variants[1].features = {"shaderInt64"};
  auto device = makeDevice(openBundle(program));
  EXPECT_TRUE(device.ok()) << device.status().message();
}

TEST_F(VulkanTest, ReadsLimitsFromTheEnvironment) {
  ScopedVariable limits(
      "LAPIDARY_VULKAN_LIMITS",
      "binding=300,workgroups=64,memory=7,staging=1,full=5,lost=8,without=a,"
      "without=b");
  auto read = readOverrides();
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->bindingRange, 300u);
  EXPECT_EQ(read->workgroups, 64u);
  EXPECT_EQ(read->memory, 7u);
  EXPECT_TRUE(read->staging);
  EXPECT_EQ(read->full, 5u);
  EXPECT_EQ(read->lost, 8u);
  EXPECT_THAT(read->without, testing::ElementsAre("a", "b"));
  for (const char *bad : {"binding", "binding=x", "size=3", "staging=1x"}) {
    ScopedVariable other("LAPIDARY_VULKAN_LIMITS", bad);
    EXPECT_THAT(readOverrides().status().message(),
                HasSubstr("expected binding"));
  }
}

TEST_F(VulkanTest, RefusesWhatDoesNotFit) {
  auto bundle = openBundle(makeVulkanProgram());
  VulkanOverrides full;
  full.memory = 20000;
  auto device = makeDevice(bundle, full);
  EXPECT_EQ(device.status().getCode(), StatusCode::OutOfMemory);
  EXPECT_THAT(device.status().message(),
              HasSubstr("(weights 97.54 KB, caches"));
  EXPECT_THAT(device.status().message(), HasSubstr("--gpu-layers"));
  VulkanOverrides narrow;
  narrow.bindingRange = 1000;
  EXPECT_THAT(makeDevice(bundle, narrow).status().message(),
              HasSubstr("choose a smaller one with --context"));
  VulkanOverrides pieces;
  pieces.allocation = 5000;
  EXPECT_THAT(makeDevice(bundle, pieces).status().message(),
              HasSubstr("at most"));
}

/// Loads the synthetic model, makes caches and runs a step.
Status loadAndRun(const std::shared_ptr<const Bundle> &bundle,
                  const VulkanOverrides &overrides) {
  std::unique_ptr<VulkanDevice> device =
      LAPIDARY_TRY(makeDevice(bundle, overrides));
  std::unique_ptr<SequenceCaches> caches = LAPIDARY_TRY(device->createCaches());
  std::vector<int32_t> values(256);
  const void *input = values.data();
  void *output = values.data();
  Status status =
      run(*device, chainEntry, {.tokens = 1}, {&input, 1}, {&output, 1});
  // What is lost stays lost, and says so again.
  if (!status.ok())
    EXPECT_EQ(run(*device, chainEntry, {.tokens = 1}, {&input, 1}, {&output, 1})
                  .getCode(),
              status.getCode());
  return status;
}

TEST_F(VulkanTest, SaysWhenMemoryRunsOut) {
  auto bundle = openBundle(makeVulkanProgram());
  for (VulkanOverrides kind : kinds()) {
    kind.full = 1;
    Status status = loadAndRun(bundle, kind);
    for (; !status.ok() && kind.full < 50; status = loadAndRun(bundle, kind)) {
      EXPECT_EQ(status.getCode(), StatusCode::OutOfMemory);
      EXPECT_THAT(status.message(), HasSubstr("no memory on the device for "));
      ++kind.full;
    }
    // Arena, inputs, outputs, weights and caches at least.
    EXPECT_GT(kind.full, 5u);
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST_F(VulkanTest, SaysThatTheDeviceIsLost) {
  auto bundle = openBundle(makeVulkanProgram());
  for (VulkanOverrides kind : kinds()) {
    kind.lost = 1;
    Status status = loadAndRun(bundle, kind);
    for (; !status.ok() && kind.lost < 50; status = loadAndRun(bundle, kind)) {
      EXPECT_EQ(status.getCode(), StatusCode::IoError);
      EXPECT_THAT(status.message(), HasSubstr("the Vulkan device was lost in"));
      EXPECT_THAT(status.message(), HasSubstr("open the model again"));
      ++kind.lost;
    }
    // A card's weights and caches are submissions too.
    EXPECT_GT(kind.lost, kind.staging ? 3u : 1u);
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST_F(VulkanTest, LoadingCanBeStopped) {
  auto bundle = openBundle(makeVulkanProgram());
  for (const VulkanOverrides &kind : kinds()) {
    int most = 0;
    StatusCode code = StatusCode::Cancelled;
    for (; code != StatusCode::Ok && most < 200; ++most) {
      int calls = 0;
      DeviceOptions options{.context = contextMax, .chunk = 16};
      options.progress = [&](uint64_t done, uint64_t total) {
        EXPECT_LE(done, total);
        return ++calls <= most;
      };
      code = makeDevice(bundle, kind, options).status().getCode();
      EXPECT_THAT(code, testing::AnyOf(StatusCode::Ok, StatusCode::Cancelled));
      // Nobody goes on after it was stopped.
      EXPECT_LE(calls, most + 1);
    }
    EXPECT_GT(most, 10);
    EXPECT_EQ(code, StatusCode::Ok);
  }
}

TEST_F(VulkanTest, RunsEveryTileOnce) {
  auto bundle = openBundle(makeVulkanProgram());
  for (const VulkanOverrides &kind : kinds()) {
    auto device = makeDevice(bundle, kind);
    ASSERT_TRUE(device.ok()) << device.status().message();
    for (int64_t tokens : {1, 4, 5, 9}) {
      std::vector<int32_t> counts(tokens * 100, -1), sizes(3);
      void *outputs[] = {counts.data(), sizes.data()};
      Status status =
          run(**device, gridEntry, {.tokens = tokens, .past = 5}, {}, outputs);
      ASSERT_TRUE(status.ok()) << status.message();
      for (int32_t index = 0; index < tokens * 100; ++index)
        ASSERT_EQ(counts[index], index / 100 * 1000 + index % 100);
      EXPECT_THAT(sizes, testing::ElementsAre(tokens, 5, 16));
    }
  }
}

TEST_F(VulkanTest, BindsLargeOperandsInParts) {
  auto bundle = openBundle(makeVulkanProgram());
  const std::vector<int32_t> values = rowTileValues();
  for (const VulkanOverrides &kind : kinds()) {
    auto device = makeDevice(bundle, kind);
    ASSERT_TRUE(device.ok()) << device.status().message();
    std::vector<int32_t> sums(rowTiles);
    void *output = sums.data();
    Status status = run(**device, rowsEntry, {.tokens = 1}, {}, {&output, 1});
    ASSERT_TRUE(status.ok()) << status.message();
    for (int32_t row = 0; row < rowTiles; ++row)
      ASSERT_EQ(sums[row], std::accumulate(values.begin() + row * 24,
                                           values.begin() + (row + 1) * 24, 0));
    std::vector<int32_t> tokens(23), found(23);
    for (int32_t index = 0; index < 23; ++index)
      tokens[index] = index * 389 % rowTiles;
    const void *input = tokens.data();
    output = found.data();
    status =
        run(**device, lookupEntry, {.tokens = 23}, {&input, 1}, {&output, 1});
    ASSERT_TRUE(status.ok()) << status.message();
    for (int32_t index = 0; index < 23; ++index)
      ASSERT_EQ(found[index], values[tokens[index] * 24]);
    if (kind.workgroups != 0) {
      // 20 windows of 52 row tiles, each for 4 runs of at most 7 tiles.
      EXPECT_EQ((*device)->counters().dispatches, 20 * 4);
    }
  }
}

TEST_F(VulkanTest, OrdersDispatches) {
  auto device = makeDevice(openBundle(makeVulkanProgram()));
  ASSERT_TRUE(device.ok()) << device.status().message();
  std::vector<int32_t> first(256), last(256);
  std::iota(first.begin(), first.end(), 1000);
  const void *input = first.data();
  void *output = last.data();
  for (int round = 0; round < 5; ++round) {
    Status status =
        run(**device, chainEntry, {.tokens = 1}, {&input, 1}, {&output, 1});
    ASSERT_TRUE(status.ok()) << status.message();
    for (int32_t index = 0; index < 256; ++index)
      ASSERT_EQ(last[index],
                first[(index + 7 * chainLength) % 256] + chainLength);
  }
  EXPECT_EQ((*device)->counters().recordings, 1u);
  EXPECT_EQ((*device)->counters().submissions, 5u);
  EXPECT_EQ((*device)->counters().dispatches, uint64_t(chainLength));
  EXPECT_EQ((*device)->counters().barriers, uint64_t(chainLength - 1));
}

TEST_F(VulkanTest, TellsWhatTookTime) {
  auto device = makeDevice(openBundle(makeVulkanProgram()));
  ASSERT_TRUE(device.ok()) << device.status().message();
  Profile profile(200, 1);
  (*device)->setProfile(&profile);
  std::vector<int32_t> first(256), last(256);
  const void *input = first.data();
  void *output = last.data();
  ASSERT_TRUE(
      run(**device, chainEntry, {.tokens = 1}, {&input, 1}, {&output, 1}).ok());
  ASSERT_EQ(profile.dispatches.size(), size_t(chainLength));
  ASSERT_EQ(profile.submissions.size(), 1u);
  EXPECT_EQ(profile.submissions[0].barriers, uint64_t(chainLength - 1));
  for (uint32_t index = 0; index < chainLength; ++index) {
    EXPECT_EQ(profile.dispatches[index].index, index);
    EXPECT_EQ(profile.dispatches[index].tiles, 256);
    EXPECT_LE(profile.dispatches[index].begin, profile.dispatches[index].end);
  }
}

TEST_F(VulkanTest, KeepsPipelinesOnDisk) {
  auto bundle = openBundle(makeVulkanProgram());
  auto fromDisk = [&] {
    auto device = makeDevice(bundle);
    EXPECT_TRUE(device.ok()) << device.status().message();
    return device.ok() && (*device)->counters().pipelinesFromDisk;
  };
  EXPECT_FALSE(fromDisk());
  EXPECT_TRUE(fromDisk());
  std::vector<std::filesystem::path> files;
  for (const auto &entry :
       std::filesystem::directory_iterator(folder + "/lapidary"))
    files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1u);
  Bytes bytes = readFile(files[0]);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(files[0], std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  EXPECT_FALSE(fromDisk());
  EXPECT_TRUE(fromDisk());
  std::filesystem::resize_file(files[0], 10);
  EXPECT_FALSE(fromDisk());
  // Another bundle's are its own.
  TestProgram other = makeVulkanProgram();
  other.name = "other";
  EXPECT_FALSE((*makeDevice(openBundle(other)))->counters().pipelinesFromDisk);
}

TEST_F(VulkanTest, CopiesCaches) {
  for (const VulkanOverrides &kind : kinds()) {
    auto device = makeDevice(openBundle(makeVulkanProgram()), kind);
    ASSERT_TRUE(device.ok()) << device.status().message();
    auto caches = (*device)->createCaches();
    ASSERT_TRUE(caches.ok()) << caches.status().message();
    Bytes zeros(contextMax * 4), found(contextMax * 4, 9);
    ASSERT_TRUE((*caches)->read(1, 0, found).ok());
    EXPECT_EQ(found, zeros);
    Bytes rows(32 * 4);
    std::iota(rows.begin(), rows.end(), 1);
    ASSERT_TRUE((*caches)->write(1, 16, rows).ok());
    Bytes back(rows.size());
    ASSERT_TRUE((*caches)->read(1, 16, back).ok());
    EXPECT_EQ(back, rows);
    EXPECT_FALSE((*caches)->read(1, 1020, back).ok());
    EXPECT_FALSE((*caches)->read(9, 0, back).ok());
    EXPECT_FALSE((*caches)->write(0, -16, rows).ok());
    (*caches)->clear();
    ASSERT_TRUE((*caches)->read(1, 0, found).ok());
    EXPECT_EQ(found, zeros);
  }
}

TEST_F(VulkanTest, RefusesStepsThatTheEntryCannotTake) {
  auto device = makeDevice(openBundle(makeVulkanProgram()));
  ASSERT_TRUE(device.ok());
  std::vector<int32_t> counts(100 * 10), sizes(3);
  void *outputs[] = {counts.data(), sizes.data()};
  EXPECT_FALSE(run(**device, 99, {.tokens = 1}, {}, outputs).ok());
  EXPECT_FALSE(run(**device, gridEntry, {.tokens = 10}, {}, outputs).ok());
  EXPECT_FALSE(run(**device, gridEntry, {.tokens = 0}, {}, outputs).ok());
  EXPECT_FALSE(run(**device, gridEntry, {.tokens = 1}, {}, {}).ok());
  const std::atomic<bool> cancel = true;
  Step step{.tokens = 1};
  EXPECT_EQ(
      (*device)->run(gridEntry, {&step, 1}, {}, outputs, &cancel).getCode(),
      StatusCode::Cancelled);
}

} // namespace
} // namespace lapidary::synthetic
