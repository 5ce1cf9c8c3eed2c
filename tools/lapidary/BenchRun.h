// What `lapidary bench` measures.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/devices/Profile.h"
#include "tools/lapidary/Command.h"

#include <memory>
#include <optional>
#include <string>

namespace lapidary {
class Bundle;
class Session;
} // namespace lapidary

namespace lapidary::cli {

struct BenchOptions {
  std::string bundle;
  int64_t prompt = 512;
  int64_t generate = 128;
  /// Positions before the prompt, and before what is decoded; -1: none before
  /// the prompt, which is what is before the decoded ones.
  int64_t depth = -1;
  /// Tokens at once, as a verification of drafted ones; 0: not measured.
  int64_t batch = 0;
  /// As of `lapidary run`; empty or "off": nothing is measured with drafts.
  std::string draft;
  int32_t threads = 0;
  DeviceChoice device;
  int32_t repeat = 3;
  bool lock = false;
  bool json = false;
  bool profile = false;
  /// Where the profile's events go; empty: nowhere.
  std::string trace;
};

struct BenchResult {
  /// Tokens a second.
  double prefill = 0;
  double decode = 0;
  /// Seconds that a batch takes, with the logits of all of its tokens.
  double batch = 0;
  /// Tokens a second with drafts, and what became of these in all repeats.
  double drafting = 0;
  int64_t draftSteps = 0, draftTokens = 0, drafted = 0, accepted = 0;
  double firstToken = 0;
  double load = 0;
  double verify = 0;
  uint64_t peak = 0;
  /// What the process had before, and what the memory sheet says without media.
  uint64_t planned = 0;
  int32_t threads = 0;
  std::string device;
  /// Read by a decoded token.
  uint64_t weightBytes = 0;
  /// Bytes a second that the same number of threads read from memory between
  /// decoded tokens; 0 where the machine has no room to find out.
  double bandwidth = 0;
  /// Of another run after the measured ones.
  std::optional<Profile> profile;
  std::shared_ptr<const Bundle> file;
  std::unique_ptr<Session> session;
};

Result<BenchResult> runBench(const BenchOptions &options);

} // namespace lapidary::cli
