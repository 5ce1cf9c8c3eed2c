// Guesses at what an answer goes on with, which a step of the model checks.
#pragma once

#include "runtime/model/Engine.h"

#include <memory>

namespace lapidary {

class Drafter {
public:
  virtual ~Drafter() = default;
  /// Fills the tokens of each draft: as many as it wants, or fewer.
  virtual Status draft(std::span<Draft> drafts) = 0;
  /// Whether a guess takes no time worth counting.
  virtual bool isFree() const = 0;

  /// The bundle's companion, or where it has none the text so far.
  static std::unique_ptr<Drafter> create(Engine &engine);
};

/// What came the last time that the sequence had the tokens which it ends with
/// now: copies of names, quotes and code. Nothing where it never had.
std::vector<int32_t> lookUp(std::span<const int32_t> history, int32_t token,
                            int64_t count);

} // namespace lapidary
