// Reserved ranges and what the machine says of its memory.
#include "runtime/core/Memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace lapidary {
namespace {

TEST(Memory, ReservesMoreThanTheMachineHas) {
  auto memory = ReservedMemory::reserve(uint64_t(1) << 42, "test");
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  uint8_t *last = memory->data() + memory->size() - 1;
  EXPECT_EQ(*last, 0);
  *last = 7;
  memory->release();
  EXPECT_EQ(*last, 0);
  *last = 8;
  EXPECT_EQ(*last, 8);
}

TEST(Memory, BeginsWhereHugePagesCan) {
  constexpr uint64_t hugePage = 2 << 20;
  for (uint64_t bytes : {hugePage, hugePage + 1, 5 * hugePage - 4096}) {
    auto memory = ReservedMemory::reserve(bytes, "test");
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % hugePage, 0u);
    memory->data()[bytes - 1] = 1;
    memory->release();
    EXPECT_EQ(memory->data()[bytes - 1], 0);
  }
}

TEST(Memory, KnowsWhatTheProcessHas) {
  auto memory = ReservedMemory::reserve(64 << 20, "test");
  ASSERT_TRUE(memory.ok());
  uint64_t before = currentMemory();
  EXPECT_GT(before, 0u);
  std::memset(memory->data(), 1, 64 << 20);
  // Sanitizers keep books of their own.
  EXPECT_GE(currentMemory(), before + (60 << 20));
  EXPECT_GE(peakMemory(), before + (60 << 20));
}

TEST(Memory, NamesWhatCannotBeReserved) {
  for (uint64_t bytes : {UINT64_MAX, uint64_t(1) << 62}) {
    auto memory = ReservedMemory::reserve(bytes, "the caches");
    ASSERT_FALSE(memory.ok());
    EXPECT_EQ(memory.status().getCode(), StatusCode::OutOfMemory);
    EXPECT_NE(memory.status().message().find("the caches"), std::string::npos);
  }
}

TEST(Memory, MovesAndEmpties) {
  auto memory = ReservedMemory::reserve(4096, "test");
  ASSERT_TRUE(memory.ok());
  ReservedMemory moved = *std::move(memory);
  EXPECT_EQ(memory->data(), nullptr);
  EXPECT_EQ(moved.size(), 4096u);
  ReservedMemory other;
  other = std::move(moved);
  EXPECT_EQ(moved.size(), 0u);
  other.as<int32_t>()[1023] = 5;
  auto none = ReservedMemory::reserve(0, "test");
  ASSERT_TRUE(none.ok());
  none->release();
  EXPECT_EQ(none->data(), nullptr);
}

TEST(Memory, KnowsTheMachine) {
  uint64_t available = availableMemory();
  EXPECT_GT(available, uint64_t(1) << 20);
  EXPECT_LT(available, uint64_t(1) << 50);
  EXPECT_GT(peakMemory(), uint64_t(1) << 20);
  EXPECT_EQ(formatBytes(999), "999 bytes");
  EXPECT_EQ(formatBytes(1'500'000'000), "1.50 GB");
  EXPECT_EQ(formatBytes(UINT64_MAX), "18.45 EB");
}

} // namespace
} // namespace lapidary
