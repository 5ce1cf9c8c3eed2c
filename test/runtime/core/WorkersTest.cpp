// The team of threads: every item once for any number of threads, no call with
// another's number, exceptions, sleep, beginnings and ends.
#include "runtime/core/Workers.h"

#include <gmock/gmock.h>

#include <chrono>
#include <ctime>
#include <stdexcept>
#include <vector>

namespace lapidary {
namespace {

std::unique_ptr<Workers> makeWorkers(int32_t count) {
  auto workers = Workers::create(count);
  EXPECT_TRUE(workers.ok()) << workers.status().message();
  return *std::move(workers);
}

TEST(Workers, CallEveryItemOnce) {
  for (int32_t threads : {1, 2, 3, 7, 16}) {
    auto workers = makeWorkers(threads);
    EXPECT_EQ(workers->count(), threads);
    for (int64_t items : {0, 1, 2, 3, 17, 100, 65534, 65535, 65536, 200'003})
      for (int64_t grain : {1, 7, 1000}) {
        std::vector<int32_t> counts(items);
        workers->run(items, grain,
                     [&](int32_t worker, int64_t begin, int64_t end) {
                       EXPECT_TRUE(worker >= 0 && worker < threads);
                       EXPECT_TRUE(0 <= begin && begin < end && end <= items);
                       for (int64_t item = begin; item < end; ++item)
                         ++counts[item];
                     });
        EXPECT_THAT(counts, testing::Each(1)) << threads << " " << items;
      }
  }
}

/// Sums are ordinary memory: ThreadSanitizer sees whether a loop's writes are
/// seen by the next one, whoever did them.
TEST(Workers, LoopsSeeWhatTheOnesBeforeWrote) {
  for (int32_t threads : {2, 5, 16}) {
    auto workers = makeWorkers(threads);
    std::vector<int64_t> values(97), others(97);
    for (int64_t loop = 0; loop < 3000; ++loop) {
      workers->run(97, 1, [&](int32_t, int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item)
          others[item] = values[96 - item] + 1;
      });
      std::swap(values, others);
    }
    EXPECT_THAT(values, testing::Each(3000));
  }
}

TEST(Workers, GiveEachRunningCallANumberOfItsOwn) {
  auto workers = makeWorkers(8);
  std::vector<std::atomic<int>> busy(8);
  std::atomic<bool> shared = false;
  for (int loop = 0; loop < 300; ++loop)
    workers->run(64, 1, [&](int32_t worker, int64_t, int64_t) {
      if (busy[worker].fetch_add(1) != 0)
        shared = true;
      std::this_thread::yield();
      busy[worker].fetch_sub(1);
    });
  EXPECT_FALSE(shared);
}

TEST(Workers, TakeWhatASlowThreadHasNotBegun) {
  auto workers = makeWorkers(2);
  std::atomic<bool> othersDone = false;
  std::atomic<int64_t> done = 0;
  // The first item of the caller's share waits for all items that it has not
  // begun, which are the other half of its share too.
  workers->run(8, 1, [&](int32_t, int64_t begin, int64_t end) {
    if (begin == 0) {
      auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (done.load() < 8 - end && std::chrono::steady_clock::now() < limit)
        std::this_thread::yield();
      othersDone = done.load() == 8 - end;
    } else {
      done += end - begin;
    }
  });
  EXPECT_TRUE(othersDone);
}

TEST(Workers, RunLoopsBelowTheGrainOnTheCaller) {
  auto workers = makeWorkers(4);
  std::thread::id caller = std::this_thread::get_id(), seen;
  int calls = 0;
  workers->run(19, 10, [&](int32_t worker, int64_t begin, int64_t end) {
    ++calls;
    seen = std::this_thread::get_id();
    EXPECT_THAT((std::vector<int64_t>{worker, begin, end}),
                testing::ElementsAre(0, 0, 19));
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(seen, caller);
}

TEST(Workers, PassAnExceptionOn) {
  for (int32_t threads : {1, 2, 16}) {
    auto workers = makeWorkers(threads);
    for (int repeat = 0; repeat < 20; ++repeat) {
      EXPECT_THROW(workers->run(1000, 1,
                                [&](int32_t, int64_t, int64_t) {
                                  throw std::runtime_error("no");
                                }),
                   std::runtime_error);
      // The team is as good as before.
      std::atomic<int64_t> sum = 0;
      workers->run(1000, 1, [&](int32_t, int64_t begin, int64_t end) {
        sum += end - begin;
      });
      EXPECT_EQ(sum, 1000);
    }
  }
}

TEST(Workers, SleepWhenThereIsNothingToDo) {
  auto workers = makeWorkers(8);
  auto body = [](int32_t, int64_t, int64_t) {};
  workers->run(1000, 1, body);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::clock_t before = std::clock(); // of all threads
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  double seconds = double(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.1);
  // And they wake again.
  std::atomic<int> others = 0;
  for (int loop = 0; loop < 1000 && others == 0; ++loop)
    workers->run(64, 1, [&](int32_t worker, int64_t, int64_t) {
      others += worker != 0;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    });
  EXPECT_GT(others, 0);
}

TEST(Workers, BeginAndEndOften) {
  for (int repeat = 0; repeat < 1000; ++repeat) {
    auto workers = makeWorkers(1 + repeat % 5);
    std::atomic<int64_t> sum = 0;
    if (repeat % 3 != 0) // some teams never work
      workers->run(repeat, 1, [&](int32_t, int64_t begin, int64_t end) {
        sum += end - begin;
      });
    EXPECT_EQ(sum, repeat % 3 != 0 ? repeat : 0);
  }
}

TEST(Workers, RefuseNoThreads) {
  EXPECT_EQ(Workers::create(0).status().getCode(), StatusCode::InvalidArgument);
  EXPECT_EQ(Workers::create(-3).status().getCode(),
            StatusCode::InvalidArgument);
  EXPECT_GE(usableProcessors(), 1);
}

} // namespace
} // namespace lapidary
