// A ring can go back while the rows it needs are not overwritten: by a chunk at
// least. Growing caches can be cut anywhere.
#include "runtime/model/Sequence.h"

#include "runtime/core/Text.h"
#include "runtime/model/CacheRows.h"
#include "runtime/model/Engine.h"

#include <algorithm>

namespace lapidary {
namespace {

/// Tokens between the snapshots of a long prompt.
constexpr int64_t markInterval = 4096;

} // namespace

Sequence::~Sequence() {
  engine.snapshots.drop(*this, -1);
  --engine.liveSequences;
}

void Sequence::reset() {
  past = {};
  oldest = 0;
  marks.clear();
  engine.snapshots.drop(*this, -1);
  caches->clear();
}

Status Sequence::assume(int64_t position) {
  if (position < 0 || position > engine.memoryPlan().context)
    return invalidArgument(concat("a state of ", position,
                                  " tokens was asked for, but the sequence "
                                  "holds 0 to ",
                                  engine.memoryPlan().context));
  if (past.size() == 0)
    caches->touch();
  past = {};
  marks.clear();
  engine.snapshots.drop(*this, -1);
  oldest = position;
  for (int64_t token = 0; token < position; ++token)
    past.append(engine.bundle().program().model()->pad_token());
  return {};
}

bool Sequence::inBlock(const SequenceHistory &history, int64_t position) const {
  return position >= 0 && position < history.size() &&
         engine.isBlock(history.tokens()[static_cast<size_t>(position)]) &&
         history.isSoft(position);
}

int64_t Sequence::reachable(int64_t position) const {
  position = std::min(position, past.size());
  while (inBlock(past, position - 1) && inBlock(past, position))
    --position;
  return position >= oldest
             ? position
             : std::max<int64_t>(0, engine.snapshots.find(*this, position));
}

int64_t Sequence::commonPrefix(const SequenceHistory &prompt) const {
  int64_t common = std::min(past.commonPrefix(prompt), prompt.size() - 1);
  // A block of the prompt that is longer than the sequence's is another one:
  // its tokens see each other.
  while (common > 0 && inBlock(prompt, common - 1) && inBlock(prompt, common))
    --common;
  return common;
}

int64_t Sequence::reusable(const SequenceHistory &prompt) const {
  return reachable(commonPrefix(prompt));
}

int64_t Sequence::reuse(const SequenceHistory &prompt) {
  int64_t common = commonPrefix(prompt);
  goBack(common);
  // Where two prompts part, a third is likely to part too: they share, for
  // example, their instructions.
  mark(common);
  return past.size();
}

int64_t Sequence::goBack(int64_t position) {
  position = reachable(std::max<int64_t>(position, 0));
  if (position == past.size())
    return position;
  if (position < oldest) {
    std::span<const uint8_t> saved = engine.snapshots.use(*this, position);
    if (saved.empty() ||
        !copyRings(position, const_cast<uint8_t *>(saved.data()), true).ok())
      position = 0;
    // Rows before the snapshot's window are another branch's.
    oldest = position;
  }
  if (position == 0) {
    reset();
    return 0;
  }
  past.cut(position);
  engine.snapshots.drop(*this, position);
  // What was worth going back to is as near as it can be now.
  if (std::erase_if(marks, [&](int64_t mark) { return mark > position; }) > 0)
    mark(position);
  return position;
}

void Sequence::mark(int64_t position) {
  if (!engine.snapshots.enabled() || position < std::max<int64_t>(oldest, 1))
    return;
  auto place = std::ranges::lower_bound(marks, position);
  if (place == marks.end() || *place != position)
    marks.insert(place, position);
}

void Sequence::prepare(int64_t end) {
  int64_t after = oldest;
  const DeviceOptions options = engine.plan.deviceOptions();
  for (const schema::Cache *cache : *engine.file->program().caches())
    after = std::max(after, oldestPosition(*cache, end, options));
  for (int64_t mark : marks)
    if (mark >= oldest && mark < after)
      takeSnapshot(mark);
  std::erase_if(marks, [&](int64_t mark) { return mark < after; });
  oldest = after;
}

void Sequence::advance(std::span<const int32_t> tokens,
                       std::span<const MediaKey> keys, bool generated) {
  int64_t before = past.size() / markInterval;
  for (int32_t token : tokens) {
    if (generated || !engine.isSoft(token)) {
      past.append(token);
      continue;
    }
    past.append(token, keys.front());
    keys = keys.subspan(1);
  }
  if (past.size() / markInterval != before)
    mark(past.size());
}

void Sequence::takeSnapshot(int64_t position) {
  if (engine.snapshots.find(*this, position) == position)
    return;
  uint64_t bytes = 0;
  const DeviceOptions options = engine.plan.deviceOptions();
  for (const schema::Cache *cache : *engine.file->program().caches())
    if (cache->kind() == schema::CacheKind::Ring)
      bytes += usedRows(*cache, position, options).bytes();
  std::span<uint8_t> room = engine.snapshots.add(*this, position, bytes);
  if (!room.empty() && !copyRings(position, room.data(), false).ok())
    engine.snapshots.drop(*this, position - 1);
}

Status Sequence::copyRings(int64_t position, uint8_t *data, bool restore) {
  const auto &all = *engine.file->program().caches();
  const DeviceOptions options = engine.plan.deviceOptions();
  for (uint32_t index = 0; index < all.size(); ++index) {
    if (all.Get(index)->kind() != schema::CacheKind::Ring)
      continue;
    CacheRows rows = usedRows(*all.Get(index), position, options);
    for (int64_t block = rows.first; block < rows.end; ++block) {
      int64_t row = block % rows.capacity * cacheBlock;
      std::span<uint8_t> bytes(data, rows.blockBytes);
      LAPIDARY_TRY(restore ? caches->write(index, row, bytes)
                           : caches->read(index, row, bytes));
      data += rows.blockBytes;
    }
  }
  return {};
}

} // namespace lapidary
