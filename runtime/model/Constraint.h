// What may come next in an answer: the interface between choosing a token and
// whatever forbids some of them (grammars, tools, a thinking budget).
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>

namespace lapidary {

class Constraint {
public:
  virtual ~Constraint() = default;
  /// Clears the bits (bit t % 32 of word t / 32) of tokens that may not come
  /// next; `bits` come all set. False: nothing was cleared.
  virtual bool restrict(std::span<uint32_t> bits) = 0;
  /// The token that was chosen.
  virtual Status accept(int32_t token) = 0;
};

} // namespace lapidary
