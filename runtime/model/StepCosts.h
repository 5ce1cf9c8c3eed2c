// How long steps take, by their tokens, as it was measured: what a draft costs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lapidary {

class StepCosts {
public:
  /// A step of so many tokens took so long.
  void add(int64_t tokens, double seconds);
  /// Whether steps of about so many tokens were measured, not too long ago.
  bool knows(int64_t tokens) const;
  /// Between measured sizes by a line, beyond them by the last slope; 0 where
  /// nothing was measured.
  double seconds(int64_t tokens) const;

private:
  struct Entry {
    double seconds = 0;
    int32_t samples = 0;
    /// Of `steps`, the last that was one of this size.
    int64_t last = 0;
  };
  bool isKnown(const Entry &entry) const;
  /// Measured so far.
  int64_t steps = 0;
  /// By tokens; larger steps are mostly prompts.
  static constexpr int64_t most = 256;
  std::array<Entry, most + 1> entries;
};

/// How often drafts were right, the first of a step, the second and so on:
/// later steps count more.
class Acceptance {
public:
  static constexpr std::size_t most = 16;
  /// Of `drafted` tokens the first `accepted` were right.
  void add(int64_t drafted, int64_t accepted);
  /// That the draft at `depth` (from 0) is right if those before it were; with
  /// few trials near what `prior` says.
  double rate(std::size_t depth, const Acceptance *prior) const;

private:
  struct Entry {
    double tried = 0, right = 0;
  };
  std::array<Entry, most> entries;
};

} // namespace lapidary
