// The CPU device: which variant it takes, what it refuses to load, and that
// every tile runs once with what the kernel ABI promises.
#include "test/runtime/TestBundle.h"

#include "runtime/devices/Device.h"
#include "runtime/devices/cpu/CodeObject.h"
#include "runtime/devices/cpu/CpuFeatures.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

constexpr uint32_t tilesEntry = 5;

Result<std::unique_ptr<Device>> makeDevice(std::shared_ptr<const Bundle> bundle,
                                           int32_t threads = 2) {
  return createDevice(std::move(bundle), "cpu",
                      {.context = contextMax, .chunk = 16, .threads = threads});
}

Status run(Device &device, uint32_t entry, const Step &step,
           std::span<void *const> outputs,
           const std::atomic<bool> *cancel = nullptr) {
  return device.run(entry, {&step, 1}, {}, outputs, cancel);
}

/// Sets an environment variable for a scope.
class Environment {
public:
  Environment(const char *name, const char *value) : name(name) {
    setenv(name, value, 1);
  }
  ~Environment() { unsetenv(name); }

private:
  const char *name;
};

TEST(CpuFeatures, AreThoseOfThisMachine) {
  const CpuFeatures &features = cpuFeatures();
  EXPECT_FALSE(features.brand.empty());
  EXPECT_TRUE(std::is_sorted(features.names.begin(), features.names.end()));
  EXPECT_FALSE(features.has("no-such-feature"));
#if defined(__x86_64__)
  EXPECT_EQ(features.architecture, "x86_64");
  __builtin_cpu_init();
  EXPECT_TRUE(features.has("64bit"));
  EXPECT_EQ(features.has("sse4.2"), bool(__builtin_cpu_supports("sse4.2")));
  EXPECT_EQ(features.has("avx2"), bool(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(features.has("fma"), bool(__builtin_cpu_supports("fma")));
  EXPECT_EQ(features.has("f16c"), bool(__builtin_cpu_supports("f16c")));
  EXPECT_EQ(features.has("bmi2"), bool(__builtin_cpu_supports("bmi2")));
  EXPECT_EQ(features.has("avx512f"), bool(__builtin_cpu_supports("avx512f")));
  EXPECT_EQ(features.has("avx512vl"), bool(__builtin_cpu_supports("avx512vl")));
  EXPECT_EQ(features.has("avx512vnni"),
            bool(__builtin_cpu_supports("avx512vnni")));
  EXPECT_EQ(features.has("avx512bf16"),
            bool(__builtin_cpu_supports("avx512bf16")));
#endif
}

TEST(CpuDevice, TakesTheFirstVariantThatRuns) {
  auto device = makeDevice(openBundle());
  ASSERT_TRUE(device.ok()) << device.status().message();
  EXPECT_THAT((*device)->description(), HasSubstr("cpu plain ("));
  EXPECT_THAT((*device)->description(), HasSubstr("2 threads)"));
}

TEST(CpuDevice, ObeysTheForcedVariant) {
  auto bundle = openBundle();
  {
    Environment forced("LAPIDARY_CPU", "plain");
    EXPECT_TRUE(makeDevice(bundle).ok());
  }
  {
    Environment forced("LAPIDARY_CPU", "impossible");
    auto device = makeDevice(bundle);
    EXPECT_EQ(device.status().getCode(), StatusCode::Unsupported);
    EXPECT_THAT(device.status().message(), HasSubstr("lacks no-such-feature"));
  }
  Environment forced("LAPIDARY_CPU", "avx1024");
  EXPECT_THAT(makeDevice(bundle).status().message(),
              HasSubstr("the bundle has: impossible"));
}

TEST(CpuDevice, NamesWhatIsMissing) {
  TestProgram program = makeProgram();
  program.targets[0].variants.pop_back();
  EXPECT_THAT(makeDevice(openBundle(program)).status().message(),
              HasSubstr("no variant for this processor"));

  program = makeProgram();
  program.targets[0].kernels[4].symbol = "lap_missing";
  EXPECT_THAT(makeDevice(openBundle(program)).status().message(),
              HasSubstr("no kernel \"lap_missing\""));

  program = makeProgram();
  program.targets[0].architecture = "alpha";
  EXPECT_THAT(makeDevice(openBundle(program)).status().message(),
              HasSubstr("it has: cpu/alpha"));
  EXPECT_THAT(createDevice(openBundle(), "abacus", {}).status().message(),
              HasSubstr("unknown device \"abacus\""));
}

TEST(CodeObject, RefusesWhatIsNoSharedObject) {
  Bytes good = readFile(LAPIDARY_TEST_KERNELS);
  auto load = [](const Bytes &bytes) {
    return CodeObject::load(bytes, "variant x").status();
  };
  EXPECT_TRUE(load(good).ok());
  EXPECT_THAT(load({}).message(), HasSubstr("too few"));
  EXPECT_THAT(load(Bytes(1000, 1)).message(), HasSubstr("not a 64-bit ELF"));
  Bytes other = good;
  other[18] = 0xff; // e_machine
  EXPECT_EQ(load(other).getCode(), StatusCode::Unsupported);
  // Cut anywhere, it is refused or, where only its section table is gone, still
  // whole.
  for (size_t size = 64; size < good.size(); size += 97) {
    Bytes cut(good.begin(), good.begin() + size);
    (void)load(cut);
  }
  EXPECT_FALSE(load(Bytes(good.begin(), good.begin() + good.size() / 4)).ok());
}

TEST(CodeObject, KeepsTwoObjectsApart) {
  Bytes bytes = readFile(LAPIDARY_TEST_KERNELS);
  auto first = CodeObject::load(bytes, "a"),
       second = CodeObject::load(bytes, "b");
  ASSERT_TRUE(first.ok() && second.ok());
  auto one = first->find("lap_test_tiles"),
       two = second->find("lap_test_tiles");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(*one, *two);
}

TEST(CpuDevice, RunsEveryTileOnce) {
  auto bundle = openBundle();
  for (int32_t threads : {1, 2, 3, 7, 16})
    for (int64_t tokens : {1, 3, 200}) {
      auto device = makeDevice(bundle, threads);
      ASSERT_TRUE(device.ok()) << device.status().message();
      std::vector<int32_t> counts(tokens * 100), sizes(3);
      void *outputs[] = {counts.data(), sizes.data()};
      for (int32_t repeat = 1; repeat <= 3; ++repeat) {
        Status status =
            run(**device, tilesEntry, {.tokens = tokens, .past = 5}, outputs);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_THAT(counts, testing::Each(repeat));
        EXPECT_THAT(sizes, testing::ElementsAre(tokens, 5, 16));
      }
    }
}

TEST(CpuDevice, RefusesStepsThatTheEntryCannotTake) {
  auto device = makeDevice(openBundle());
  ASSERT_TRUE(device.ok());
  std::vector<int32_t> counts(100 * 201), sizes(3);
  void *outputs[] = {counts.data(), sizes.data()};
  EXPECT_FALSE(run(**device, 99, {.tokens = 1}, outputs).ok());
  EXPECT_FALSE(run(**device, tilesEntry, {.tokens = 201}, outputs).ok());
  EXPECT_FALSE(run(**device, tilesEntry, {.tokens = 0}, outputs).ok());
  EXPECT_FALSE(run(**device, tilesEntry, {.tokens = 1}, {}).ok());
  std::atomic<bool> cancel = true;
  EXPECT_EQ(
      run(**device, tilesEntry, {.tokens = 1}, outputs, &cancel).getCode(),
      StatusCode::Cancelled);
  EXPECT_EQ(counts[0], 0);
}

} // namespace
} // namespace lapidary::synthetic
