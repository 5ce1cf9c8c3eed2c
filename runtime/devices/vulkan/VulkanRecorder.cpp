// First all calls are planned, then their descriptor sets are made, then the
// commands are recorded. A barrier comes where a dispatch touches what one
// since the last barrier has touched; the extents of buffers in the arena are
// not known here, so the arena counts as one. That costs next to nothing: a
// step is a chain, in which each dispatch reads what the one before it wrote
// (all of 81 of six layers' decode in one scheme, 80 of 82 at q4_k_m, where a
// value projection in another scheme stands alone).
#include "runtime/devices/vulkan/VulkanRecorder.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <map>
#include <new>
#include <set>

namespace lapidary {
namespace {

constexpr size_t mostCalls = 1 << 20;

int64_t at(const schema::Extent &extent, int64_t tokens) {
  return extent.constant() + extent.per_token() * tokens;
}

/// What a barrier keeps in order; nothing for what is only read.
std::set<uint64_t> touchedBy(const schema::Dispatch &dispatch) {
  std::set<uint64_t> touched;
  for (const schema::BufferRef *operand : *dispatch.operands())
    switch (operand->kind()) {
    case schema::BufferKind::Arena:
      touched.insert(uint64_t(operand->kind()) << 32);
      break;
    case schema::BufferKind::Output:
    case schema::BufferKind::Cache:
      touched.insert(uint64_t(operand->kind()) << 32 | operand->index());
      break;
    case schema::BufferKind::Input:
    case schema::BufferKind::Weight:
      break;
    }
  return touched;
}

bool hasCaches(const schema::Dispatch &dispatch) {
  return std::ranges::any_of(*dispatch.operands(), [](const auto *operand) {
    return operand->kind() == schema::BufferKind::Cache;
  });
}

} // namespace

Result<std::unique_ptr<VulkanRecording>>
VulkanRecording::create(std::shared_ptr<VulkanContext> context,
                        const VulkanProgram &program, VulkanShape shape,
                        std::span<VulkanCaches *const> caches,
                        const VulkanBindings &bindings) {
  std::unique_ptr<VulkanRecording> recording(new (std::nothrow)
                                                 VulkanRecording());
  if (!recording)
    return outOfMemory("no memory for a recording");
  recording->context = std::move(context);
  recording->key = std::move(shape);
  LAPIDARY_TRY(recording->plan(program, caches, bindings));
  LAPIDARY_TRY(recording->createSets(program));
  LAPIDARY_TRY(recording->record(program, bindings));
  return recording;
}

VulkanRecording::~VulkanRecording() {
  if (buffer)
    context->freeCommands(buffer);
  context->call.DestroyQueryPool(context->device, queries, nullptr);
  context->call.DestroyDescriptorPool(context->device, pool, nullptr);
}

Status VulkanRecording::plan(const VulkanProgram &program,
                             std::span<VulkanCaches *const> caches,
                             const VulkanBindings &bindings) {
  const schema::EntryPoint &entry = *program.target->entries()->Get(key.entry);
  int64_t tokens = 0;
  for (int64_t count : key.tokens)
    tokens += count;
  std::set<uint64_t> touched;
  for (uint32_t index = key.dispatches.first; index < key.dispatches.last;
       ++index) {
    const schema::Dispatch &dispatch = *entry.dispatches()->Get(index);
    const size_t first = calls.size();
    if (hasCaches(dispatch))
      for (size_t sequence = 0; sequence < key.tokens.size(); ++sequence)
        LAPIDARY_TRY(planDispatch(
            program, dispatch, index, caches[sequence], key.tokens[sequence],
            static_cast<int32_t>(1 + sequence), bindings));
    else
      LAPIDARY_TRY(
          planDispatch(program, dispatch, index, nullptr, tokens, 0, bindings));
    if (calls.size() > mostCalls)
      return unsupported(concat("a step needs more than ", mostCalls,
                                " dispatches on this device"));
    if (calls.size() == first)
      continue;
    std::set<uint64_t> own = touchedBy(dispatch);
    if (std::ranges::any_of(
            own, [&](uint64_t place) { return touched.contains(place); })) {
      calls[first].waits = true;
      ++barriers;
      touched.clear();
    }
    touched.merge(own);
    calls.back().ends = true;
    calls.back().dispatch = index;
    int64_t tiles = 0;
    for (size_t call = first; call < calls.size(); ++call)
      tiles += calls[call].groupsX;
    calls.back().tiles = tiles;
  }
  return {};
}

Status VulkanRecording::planDispatch(const VulkanProgram &program,
                                     const schema::Dispatch &dispatch,
                                     uint32_t index, const VulkanCaches *caches,
                                     int64_t tokens, int32_t step,
                                     const VulkanBindings &bindings) {
  const schema::Kernel &kernel =
      *program.target->kernels()->Get(dispatch.kernel());
  const VulkanLimits &limits = context->limits;
  const schema::EntryPoint &entry = *program.target->entries()->Get(key.entry);
  auto what = [&] {
    return concat("dispatch ", index, " (", kernel.symbol()->string_view(),
                  ") of \"", entry.name()->string_view(), "\"");
  };
  const int64_t tiles = at(*kernel.tiles(), tokens);
  if (tiles == 0)
    return {};
  int64_t rows =
      kernel.token_tile() == 0 ? 1 : (tokens - 1) / kernel.token_tile() + 1;
  if (rows > limits.workgroupsY)
    return unsupported(concat(what(), " needs ", rows,
                              " rows of workgroups, but the device runs ",
                              limits.workgroupsY));
  std::vector<PartOperand> operands;
  std::vector<VulkanRange> ranges;
  for (uint32_t operand = 0; operand < dispatch.operands()->size(); ++operand) {
    const schema::BufferRef &place = *dispatch.operands()->Get(operand);
    VulkanRange range;
    switch (place.kind()) {
    case schema::BufferKind::Input:
      range = bindings.inputs[place.index()];
      break;
    case schema::BufferKind::Output:
      range = bindings.outputs[place.index()];
      break;
    case schema::BufferKind::Arena:
      // How far a buffer in the arena goes is not written down: as far as it
      // may.
      range = {program.arena, place.offset(),
               std::min(program.arena->size() - place.offset(),
                        limits.bindingRange)};
      break;
    case schema::BufferKind::Weight:
      range =
          program.weights
              ->ranges[program.root->weights()->Get(place.index())->segment()];
      break;
    case schema::BufferKind::Cache:
      range = caches->range(place.index());
      break;
    }
    if (!range.buffer || range.bytes == 0)
      return internalError(
          concat("operand ", operand, " of ", what(), " is not there"));
    const uint64_t window =
        kernel.window_bytes() ? kernel.window_bytes()->Get(operand) : 0;
    if (window == 0 && range.bytes > limits.bindingRange)
      return unsupported(
          concat("operand ", operand, " of ", what(), " has ", range.bytes,
                 " bytes, but the device binds at most ", limits.bindingRange));
    ranges.push_back(range);
    operands.push_back({range.bytes, window});
  }
  const std::vector<DispatchPart> parts = LAPIDARY_TRY(
      cutDispatch(tiles, operands, kernel.windows_repeat(), limits, what()));
  for (const DispatchPart &part : parts) {
    Call call;
    call.kernel = dispatch.kernel();
    call.operands = static_cast<uint32_t>(ranges.size());
    call.groupsX = static_cast<uint32_t>(part.tiles);
    call.groupsY = static_cast<uint32_t>(rows);
    if (std::max({part.firstTile, part.windowBegin, part.windowEnd}) >
        INT32_MAX)
      return unsupported(concat(what(), " has more tiles than 31 bits count"));
    call.push[0] = step;
    call.push[1] = static_cast<int32_t>(part.firstTile);
    call.push[2] = static_cast<int32_t>(part.windowBegin);
    call.push[3] = static_cast<int32_t>(part.windowEnd);
    call.firstBinding = buffers.size();
    buffers.push_back({program.input->handle(), 0, program.sizesBytes});
    for (size_t operand = 0; operand < ranges.size(); ++operand) {
      const VulkanRange &range = ranges[operand];
      uint64_t skip = static_cast<uint64_t>(part.windowBegin) *
                      operands[operand].windowBytes;
      if (skip >= range.bytes) // of this operand the window has nothing
        skip = 0;
      buffers.push_back(
          {range.buffer->handle(), range.offset + skip,
           std::min((range.bytes - skip + 3) / 4 * 4, limits.bindingRange)});
    }
    calls.push_back(call);
  }
  return {};
}

Status VulkanRecording::createSets(const VulkanProgram &program) {
  VkDescriptorPoolSize size = {
      VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
      static_cast<uint32_t>(std::max<size_t>(buffers.size(), 1))};
  VkDescriptorPoolCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  info.maxSets = static_cast<uint32_t>(std::max<size_t>(calls.size(), 1));
  info.poolSizeCount = 1;
  info.pPoolSizes = &size;
  LAPIDARY_TRY(context->check(context->call.CreateDescriptorPool(
                                  context->device, &info, nullptr, &pool),
                              "descriptors"));
  std::vector<VkDescriptorSetLayout> layouts;
  for (const Call &call : calls)
    layouts.push_back(program.pipelines->setLayout(call.operands));
  sets.resize(calls.size());
  if (calls.empty())
    return {};
  VkDescriptorSetAllocateInfo allocation = {};
  allocation.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  allocation.descriptorPool = pool;
  allocation.descriptorSetCount = static_cast<uint32_t>(layouts.size());
  allocation.pSetLayouts = layouts.data();
  LAPIDARY_TRY(context->check(context->call.AllocateDescriptorSets(
                                  context->device, &allocation, sets.data()),
                              "descriptors"));
  std::vector<VkWriteDescriptorSet> writes(calls.size());
  for (size_t index = 0; index < calls.size(); ++index) {
    writes[index].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[index].dstSet = sets[index];
    writes[index].descriptorCount = calls[index].operands + 1;
    writes[index].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[index].pBufferInfo = buffers.data() + calls[index].firstBinding;
  }
  context->call.UpdateDescriptorSets(context->device,
                                     static_cast<uint32_t>(writes.size()),
                                     writes.data(), 0, nullptr);
  return {};
}

void VulkanRecording::barrier(VkPipelineStageFlags from,
                              VkAccessFlags fromAccess, VkPipelineStageFlags to,
                              VkAccessFlags toAccess) const {
  VkMemoryBarrier memory = {};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = fromAccess;
  memory.dstAccessMask = toAccess;
  context->call.CmdPipelineBarrier(buffer, from, to, 0, 1, &memory, 0, nullptr,
                                   0, nullptr);
}

Status VulkanRecording::record(const VulkanProgram &program,
                               const VulkanBindings &bindings) {
  constexpr VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                 transfer = VK_PIPELINE_STAGE_TRANSFER_BIT,
                                 host = VK_PIPELINE_STAGE_HOST_BIT;
  constexpr VkAccessFlags kernels =
      VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  const VulkanDeviceFunctions &call = context->call;
  buffer = LAPIDARY_TRY(context->allocateCommands());
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  LAPIDARY_TRY(
      context->check(call.BeginCommandBuffer(buffer, &begin), "a recording"));
  if (program.upload != program.input) {
    std::vector<VkBufferCopy> regions = {{0, 0, program.sizesBytes}};
    for (const VulkanRange &input : bindings.inputs)
      if (input.bytes != 0)
        regions.push_back({input.offset, input.offset, input.bytes});
    call.CmdCopyBuffer(buffer, program.upload->handle(),
                       program.input->handle(),
                       static_cast<uint32_t>(regions.size()), regions.data());
  }
  // Also behind what an earlier submission did.
  barrier(compute | transfer,
          VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, compute,
          kernels);
  uint32_t ends = 0;
  if (key.profiled) {
    for (const Call &each : calls)
      ends += each.ends;
    VkQueryPoolCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
    info.queryType = VK_QUERY_TYPE_TIMESTAMP;
    info.queryCount = ends + 1;
    LAPIDARY_TRY(context->check(
        call.CreateQueryPool(context->device, &info, nullptr, &queries),
        "timestamps"));
    call.CmdResetQueryPool(buffer, queries, 0, ends + 1);
    call.CmdWriteTimestamp(buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                           queries, 0);
  }
  uint32_t query = 0, bound = UINT32_MAX;
  for (size_t index = 0; index < calls.size(); ++index) {
    const Call &each = calls[index];
    if (each.waits)
      barrier(compute, kernels, compute, kernels);
    if (each.kernel != bound)
      call.CmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE,
                           program.pipelines->pipeline(each.kernel));
    bound = each.kernel;
    VkPipelineLayout layout = program.pipelines->layout(each.operands);
    call.CmdBindDescriptorSets(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, layout,
                               0, 1, &sets[index], 0, nullptr);
    call.CmdPushConstants(buffer, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                          pushConstantBytes, each.push);
    call.CmdDispatch(buffer, each.groupsX, each.groupsY, 1);
    if (key.profiled && each.ends)
      call.CmdWriteTimestamp(buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                             queries, ++query);
  }
  std::vector<VkBufferCopy> regions;
  if (program.output != program.readback)
    for (size_t index = 0; index < bindings.outputs.size(); ++index)
      if (const VulkanRange &output = bindings.outputs[index];
          output.bytes != 0 && key.outputs[index])
        regions.push_back({output.offset, output.offset, output.bytes});
  if (!regions.empty()) {
    barrier(compute, VK_ACCESS_SHADER_WRITE_BIT, transfer,
            VK_ACCESS_TRANSFER_READ_BIT);
    call.CmdCopyBuffer(buffer, program.output->handle(),
                       program.readback->handle(),
                       static_cast<uint32_t>(regions.size()), regions.data());
  }
  barrier(compute | transfer,
          VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
          host | transfer,
          VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT);
  return context->check(call.EndCommandBuffer(buffer), "a recording");
}

Result<std::vector<VulkanRecording::End>> VulkanRecording::times() const {
  std::vector<End> result;
  size_t count = 1;
  for (const Call &each : calls)
    count += each.ends;
  std::vector<uint64_t> stamps(count);
  LAPIDARY_TRY(context->check(
      context->call.GetQueryPoolResults(
          context->device, queries, 0, static_cast<uint32_t>(count),
          count * sizeof(uint64_t), stamps.data(), sizeof(uint64_t),
          VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
      "timestamps"));
  const uint32_t bits = context->physical().timestampBits;
  const uint64_t mask = bits >= 64 ? UINT64_MAX : (uint64_t(1) << bits) - 1;
  size_t index = 0;
  for (const Call &each : calls)
    if (each.ends)
      result.push_back(
          {each.dispatch, each.tiles,
           static_cast<int64_t>(
               double((stamps[++index] - stamps[0]) & mask) *
               double(context->physical().limits.timestampPeriod))});
  return result;
}

} // namespace lapidary
