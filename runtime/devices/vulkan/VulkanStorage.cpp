// Rows that nothing has written yet must be finite, for kernels multiply them
// by zero: caches begin with zeros.
#include "runtime/devices/vulkan/VulkanStorage.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace lapidary {
namespace {

constexpr uint64_t packAlignment = 256;
/// Progress moves within a weight of gigabytes.
constexpr size_t progressBytes = 64 << 20;

uint64_t aligned(uint64_t bytes) {
  return (bytes + packAlignment - 1) / packAlignment * packAlignment;
}

} // namespace

Result<VulkanPack>
VulkanPack::create(const std::shared_ptr<VulkanContext> &context,
                   std::span<const uint64_t> sizes, const char *what) {
  const uint64_t most =
      context->limits.allocation / packAlignment * packAlignment;
  VulkanPack pack;
  std::vector<uint64_t> totals;
  std::vector<size_t> places(sizes.size());
  pack.ranges.resize(sizes.size());
  for (size_t index = 0; index < sizes.size(); ++index) {
    if (sizes[index] == 0)
      continue;
    const uint64_t bytes = aligned(sizes[index]);
    if (sizes[index] > most)
      return outOfMemory(concat("one of the ", what, " has ", sizes[index],
                                " bytes, but the device gives at most ", most,
                                " at once"));
    if (totals.empty() || totals.back() + bytes > most)
      totals.push_back(0);
    places[index] = totals.size() - 1;
    pack.ranges[index] = {nullptr, totals.back(), sizes[index]};
    totals.back() += bytes;
  }
  for (uint64_t total : totals)
    pack.buffers.push_back(LAPIDARY_TRY(
        VulkanBuffer::create(context, total, VulkanMemoryUse::Device, what)));
  for (size_t index = 0; index < sizes.size(); ++index)
    if (sizes[index] != 0)
      pack.ranges[index].buffer = &pack.buffers[places[index]];
  return pack;
}

ProgramUse findUse(const schema::Program &program, const schema::Target &target,
                   std::span<const DispatchRange> ranges) {
  ProgramUse use;
  use.segments.resize(program.segments()->size());
  use.caches.resize(program.caches()->size());
  for (uint32_t entry = 0; entry < target.entries()->size(); ++entry) {
    const auto &dispatches = *target.entries()->Get(entry)->dispatches();
    for (uint32_t index = ranges[entry].first; index < ranges[entry].last;
         ++index)
      for (const schema::BufferRef *operand :
           *dispatches.Get(index)->operands()) {
        if (operand->kind() == schema::BufferKind::Weight)
          use.segments[program.weights()->Get(operand->index())->segment()] =
              true;
        if (operand->kind() == schema::BufferKind::Cache)
          use.caches[operand->index()] = true;
      }
  }
  return use;
}

Result<VulkanPack> uploadWeights(const std::shared_ptr<VulkanContext> &context,
                                 VulkanStaging &staging, const Bundle &bundle,
                                 const ProgramUse &use,
                                 const ProgressCallback &progress) {
  LAPIDARY_TRY(bundle.verifyWeights(progress));
  std::vector<uint64_t> sizes(use.segments.size());
  uint64_t total = 0, done = 0;
  for (uint32_t index = 0; index < sizes.size(); ++index)
    if (use.segments[index])
      total += sizes[index] = bundle.segment(index).size();
  VulkanPack pack = LAPIDARY_TRY(VulkanPack::create(context, sizes, "weights"));
  auto copy = [&]() -> Status {
    for (uint32_t index = 0; index < sizes.size(); ++index) {
      std::span<const uint8_t> bytes =
          bundle.segment(index).first(sizes[index]);
      uint64_t offset = pack.ranges[index].offset;
      while (!bytes.empty()) {
        const size_t piece = std::min(bytes.size(), progressBytes);
        LAPIDARY_TRY(staging.upload(bytes.first(piece),
                                    *pack.ranges[index].buffer, offset));
        offset += piece;
        done += piece;
        bytes = bytes.subspan(piece);
        if (progress && !progress(done, total))
          return cancelled("loading the weights was cancelled");
      }
    }
    return {};
  };
  Status copied = copy();
  // Also after an error: copies at hand use the memory that goes then.
  Status finished = staging.finish();
  LAPIDARY_TRY(std::move(copied));
  LAPIDARY_TRY(std::move(finished));
  return pack;
}

Result<std::unique_ptr<VulkanCaches>>
VulkanCaches::create(std::shared_ptr<VulkanContext> context,
                     const VulkanCacheLayout &layout,
                     std::shared_ptr<VulkanStaging> staging) {
  static std::atomic<uint64_t> counter = 0;
  std::unique_ptr<VulkanCaches> caches(new (std::nothrow) VulkanCaches());
  if (!caches)
    return outOfMemory("no memory for a sequence");
  caches->context = std::move(context);
  caches->staging = std::move(staging);
  caches->layout = layout;
  caches->number = ++counter;
  std::vector<uint64_t> sizes;
  for (const VulkanCacheLayout::Cache &cache : layout.caches)
    sizes.push_back(cache.bytes);
  caches->pack =
      LAPIDARY_TRY(VulkanPack::create(caches->context, sizes, "caches"));
  LAPIDARY_TRY(caches->clearRows(INT64_MAX));
  return caches;
}

Status VulkanCaches::clearRows(int64_t rows) {
  std::vector<VulkanRange> ranges;
  for (size_t index = 0; index < layout.caches.size(); ++index) {
    const VulkanCacheLayout::Cache &cache = layout.caches[index];
    VulkanRange range = pack.ranges[index];
    if (!range.buffer)
      continue;
    // Rows come in blocks of 16.
    if (rows < cache.rows - 16)
      range.bytes =
          std::min(range.bytes, uint64_t(rows + 15) / 16 * 16 * cache.rowBytes);
    range.bytes = range.bytes / 4 * 4;
    ranges.push_back(range);
  }
  return clearRanges(*context, ranges);
}

void VulkanCaches::clear() {
  if (Status status = clearRows(used); !status.ok())
    failed = std::move(status);
  used = 0;
}

void VulkanCaches::touch() {
  if (Status status = clearRows(INT64_MAX); !status.ok())
    failed = std::move(status);
}

Result<VulkanRange> VulkanCaches::find(uint32_t cache, int64_t row,
                                       size_t bytes) const {
  if (cache >= layout.caches.size() || row < 0)
    return internalError(concat("there is no row ", row, " of cache ", cache));
  const VulkanRange &all = pack.ranges[cache];
  uint64_t offset;
  if (__builtin_mul_overflow(uint64_t(row), layout.caches[cache].rowBytes,
                             &offset) ||
      offset > all.bytes || bytes > all.bytes - offset)
    return internalError(concat(bytes, " bytes from row ", row, " of cache ",
                                cache, " are outside its ", all.bytes));
  return VulkanRange{all.buffer, all.offset + offset, bytes};
}

Status VulkanCaches::read(uint32_t cache, int64_t row,
                          std::span<uint8_t> bytes) const {
  VulkanRange range = LAPIDARY_TRY(find(cache, row, bytes.size()));
  if (bytes.empty())
    return {};
  return staging->download(*range.buffer, range.offset, bytes);
}

Status VulkanCaches::write(uint32_t cache, int64_t row,
                           std::span<const uint8_t> bytes) {
  VulkanRange range = LAPIDARY_TRY(find(cache, row, bytes.size()));
  if (bytes.empty())
    return {};
  LAPIDARY_TRY(staging->upload(bytes, *range.buffer, range.offset));
  LAPIDARY_TRY(staging->finish());
  const VulkanCacheLayout::Cache &place = layout.caches[cache];
  use(std::min(place.rows,
               row + static_cast<int64_t>(bytes.size() / place.rowBytes) + 1));
  return {};
}

} // namespace lapidary
