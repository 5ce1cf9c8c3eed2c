// A cache on disk is trusted only where our own hash is right: drivers are not
// known to check what they get.
#include "runtime/devices/vulkan/VulkanPipelines.h"

#include "runtime/core/CacheFolder.h"
#include "runtime/core/ReplacingFile.h"
#include "runtime/core/Text.h"
#include "runtime/core/Workers.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <new>
#include <optional>

namespace lapidary {
namespace {

constexpr char cacheMagic[8] = {'L', 'A', 'P', 'V', 'K', 'P', 'C', '1'};
constexpr size_t cacheHeaderBytes = 16, mostCacheBytes = size_t(512) << 20;
constexpr uint32_t spirvMagic = 0x07230203;

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  char digits[3];
  for (uint8_t byte : bytes) {
    std::snprintf(digits, sizeof(digits), "%02x", unsigned(byte));
    text += digits;
  }
  return text;
}

std::vector<uint8_t> readCache(const std::string &path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size < cacheHeaderBytes || size > mostCacheBytes)
    return {};
  std::ifstream file(path, std::ios::binary);
  std::vector<uint8_t> bytes(size);
  file.read(reinterpret_cast<char *>(bytes.data()),
            static_cast<std::streamsize>(size));
  uint64_t hash;
  std::memcpy(&hash, bytes.data() + sizeof(cacheMagic), sizeof(hash));
  if (!file || std::memcmp(bytes.data(), cacheMagic, sizeof(cacheMagic)) != 0 ||
      XXH3_64bits(bytes.data() + cacheHeaderBytes, size - cacheHeaderBytes) !=
          hash)
    return {};
  bytes.erase(bytes.begin(), bytes.begin() + cacheHeaderBytes);
  return bytes;
}

/// By kernel; UINT32_MAX where none of `ranges` uses it.
Result<std::vector<uint32_t>>
countOperands(const schema::Target &target,
              std::span<const DispatchRange> ranges) {
  std::vector<uint32_t> counts(target.kernels()->size(), UINT32_MAX);
  for (uint32_t entry = 0; entry < target.entries()->size(); ++entry) {
    const auto &dispatches = *target.entries()->Get(entry)->dispatches();
    for (uint32_t index = ranges[entry].first; index < ranges[entry].last;
         ++index) {
      const schema::Dispatch &dispatch = *dispatches.Get(index);
      uint32_t &count = counts[dispatch.kernel()];
      if (count != UINT32_MAX && count != dispatch.operands()->size())
        return invalidData(concat(
            "kernel \"",
            target.kernels()->Get(dispatch.kernel())->symbol()->string_view(),
            "\" is dispatched with ", count, " and with ",
            dispatch.operands()->size(), " operands"));
      count = dispatch.operands()->size();
    }
  }
  return counts;
}

} // namespace

std::string vulkanCacheStem(const Bundle &bundle,
                            const VulkanPhysicalDevice &device,
                            std::string_view variant) {
  Result<std::string> folder = cacheFolder();
  if (!folder.ok())
    return {};
  // The variant's name comes from the bundle, whose hash tells variants of one
  // number apart.
  uint64_t parts[] = {
      bundle.programHash()[0], bundle.programHash()[1],
      XXH3_64bits(variant.data(), variant.size()),
      uint64_t(device.driverVersion) << 32 |
          uint32_t(XXH3_64bits(device.name.data(), device.name.size()))};
  return concat(*folder, "/vulkan-",
                hex({reinterpret_cast<const uint8_t *>(parts), sizeof(parts)}),
                "-", hex(device.driverUuid));
}

Result<std::unique_ptr<VulkanPipelines>> VulkanPipelines::create(
    std::shared_ptr<VulkanContext> context, const Bundle &bundle,
    const schema::Target &target, const schema::Variant &variant,
    std::span<const DispatchRange> ranges, const std::string &stem,
    int32_t threads, const ProgressCallback &progress) {
  std::unique_ptr<VulkanPipelines> result(new (std::nothrow) VulkanPipelines());
  if (!result)
    return outOfMemory("no memory for pipelines");
  result->context = std::move(context);
  std::vector<uint32_t> operands = LAPIDARY_TRY(countOperands(target, ranges));
  result->pipelines.resize(operands.size());
  LAPIDARY_TRY(result->createCache(stem));
  std::span<const uint8_t> segment = bundle.segment(variant.segment());
  std::vector<Missing> missing;
  for (uint32_t index = 0; index < operands.size(); ++index) {
    if (operands[index] == UINT32_MAX)
      continue;
    // BundleValidation has looked at its place.
    const schema::Module &place = *variant.modules()->Get(index);
    missing.push_back({target.kernels()->Get(index), index, operands[index],
                       segment.subspan(place.offset(), place.size())});
    LAPIDARY_TRY(result->check(missing.back()));
    LAPIDARY_TRY(result->createLayout(operands[index]));
  }
  LAPIDARY_TRY(result->createPipelines(missing, threads, progress));
  if (!result->loaded)
    result->saveCache(stem);
  LAPIDARY_TRY(result->context->instance().takeComplaints());
  return result;
}

VulkanPipelines::~VulkanPipelines() {
  const VulkanDeviceFunctions &call = context->call;
  for (VkPipeline pipeline : pipelines)
    call.DestroyPipeline(context->device, pipeline, nullptr);
  for (const Layout &layout : layouts) {
    call.DestroyPipelineLayout(context->device, layout.pipeline, nullptr);
    call.DestroyDescriptorSetLayout(context->device, layout.set, nullptr);
  }
  call.DestroyPipelineCache(context->device, cache, nullptr);
}

Status VulkanPipelines::createCache(const std::string &stem) {
  std::vector<uint8_t> bytes;
  if (!stem.empty())
    bytes = readCache(stem + ".pipelines");
  VkPipelineCacheCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = bytes.size();
  info.pInitialData = bytes.data();
  VkResult result = context->call.CreatePipelineCache(context->device, &info,
                                                      nullptr, &cache);
  loaded = result == VK_SUCCESS && !bytes.empty();
  if (result != VK_SUCCESS && !bytes.empty()) {
    info.initialDataSize = 0;
    result = context->call.CreatePipelineCache(context->device, &info, nullptr,
                                               &cache);
  }
  return context->check(result, "the cache of pipelines");
}

/// Without it the next start takes longer, and that is all.
void VulkanPipelines::saveCache(const std::string &stem) const {
  size_t size = 0;
  if (stem.empty() ||
      context->call.GetPipelineCacheData(context->device, cache, &size,
                                         nullptr) != VK_SUCCESS ||
      size == 0 || size > mostCacheBytes - cacheHeaderBytes)
    return;
  std::vector<uint8_t> bytes(cacheHeaderBytes + size);
  if (context->call.GetPipelineCacheData(context->device, cache, &size,
                                         bytes.data() + cacheHeaderBytes) !=
      VK_SUCCESS)
    return;
  bytes.resize(cacheHeaderBytes + size);
  uint64_t hash = XXH3_64bits(bytes.data() + cacheHeaderBytes, size);
  std::memcpy(bytes.data(), cacheMagic, sizeof(cacheMagic));
  std::memcpy(bytes.data() + sizeof(cacheMagic), &hash, sizeof(hash));
  Result<ReplacingFile> file = ReplacingFile::create(stem + ".pipelines");
  if (file.ok() && file->write(bytes).ok())
    (void)file->commit();
}

Status VulkanPipelines::createLayout(uint32_t operands) {
  if (operands < layouts.size() && layouts[operands].pipeline)
    return {};
  if (operands >= layouts.size())
    layouts.resize(operands + 1);
  Layout &layout = layouts[operands];
  std::vector<VkDescriptorSetLayoutBinding> bindings(operands + 1);
  for (uint32_t index = 0; index <= operands; ++index) {
    bindings[index].binding = index;
    bindings[index].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    bindings[index].descriptorCount = 1;
    bindings[index].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = operands + 1;
  set.pBindings = bindings.data();
  LAPIDARY_TRY(context->check(context->call.CreateDescriptorSetLayout(
                                  context->device, &set, nullptr, &layout.set),
                              "a kernel's bindings"));
  VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0,
                              pushConstantBytes};
  VkPipelineLayoutCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  info.setLayoutCount = 1;
  info.pSetLayouts = &layout.set;
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &push;
  return context->check(context->call.CreatePipelineLayout(
                            context->device, &info, nullptr, &layout.pipeline),
                        "a kernel's bindings");
}

std::string VulkanPipelines::Missing::name() const {
  return concat("kernel \"", kernel->symbol()->string_view(), "\"");
}

Status VulkanPipelines::check(const Missing &missing) const {
  if (missing.operands + 1 > context->limits.storageBuffers)
    return unsupported(concat(missing.name(), " takes ", missing.operands + 1,
                              " buffers, but the device binds at most ",
                              context->limits.storageBuffers));
  uint32_t first = 0;
  if (missing.module.size() >= sizeof(first))
    std::memcpy(&first, missing.module.data(), sizeof(first));
  if (first != spirvMagic)
    return invalidData(concat(missing.name(), " is no SPIR-V module"));
  return {};
}

Status VulkanPipelines::createPipeline(const Missing &missing) {
  // Aligned for the driver, which reads words.
  std::vector<uint32_t> words(missing.module.size() / 4);
  std::memcpy(words.data(), missing.module.data(), 4 * words.size());
  const VulkanDeviceFunctions &call = context->call;
  VkShaderModuleCreateInfo shader = {};
  shader.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  shader.codeSize = 4 * words.size();
  shader.pCode = words.data();
  VkShaderModule handle = VK_NULL_HANDLE;
  LAPIDARY_TRY(context->check(
      call.CreateShaderModule(context->device, &shader, nullptr, &handle),
      missing.name()));
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = handle;
  info.stage.pName = missing.kernel->symbol()->c_str();
  info.layout = layouts[missing.operands].pipeline;
  // The cache keeps threads apart by itself.
  VkResult result = call.CreateComputePipelines(
      context->device, cache, 1, &info, nullptr, &pipelines[missing.index]);
  call.DestroyShaderModule(context->device, handle, nullptr);
  // A complaint says more than the number that follows it.
  LAPIDARY_TRY(context->instance().takeComplaints());
  return context->check(result, concat("the pipeline of ", missing.name()));
}

Status VulkanPipelines::createPipelines(std::span<const Missing> missing,
                                        int32_t threads,
                                        const ProgressCallback &progress) {
  if (missing.empty())
    return {};
  if (threads <= 0)
    threads = usableProcessors();
  threads = std::min(threads, static_cast<int32_t>(missing.size()));
  std::mutex mutex;
  Status failure;
  uint64_t done = 0;
  std::atomic<size_t> next = 0;
  auto makeSome = [&](int32_t, int64_t, int64_t) {
    for (size_t index; (index = next++) < missing.size();) {
      Status status = createPipeline(missing[index]);
      const std::lock_guard lock(mutex);
      if (!failure.ok())
        return;
      if (status.ok() && progress && !progress(++done, missing.size()))
        status = cancelled("making the device's kernels was cancelled");
      failure = std::move(status);
      if (!failure.ok())
        next = missing.size();
    }
  };
  LAPIDARY_TRY(Workers::create(threads))->run(threads, 1, makeSome);
  return failure;
}

} // namespace lapidary
