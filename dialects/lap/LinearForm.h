// How a linear kernel multiplies a weight, and what it reads of its input for
// that: what `lap-pack-inputs` packs and the kernels look for.
#pragma once

#include "dialects/lap/PackedInput.h"
#include "dialects/lap/WeightLayout.h"

namespace mlir::lap {

struct LinearForm {
  static FailureOr<LinearForm> create(FusedLinearOp op, Value weight);

  /// Whether codes are multiplied with 8-bit activations as integers. The sums
  /// of `run` columns at a time are.
  bool integers = false;
  int64_t run = 0;
  /// What the bytes are more than the integers that they stand for: codes from
  /// which a constant is taken, and signed codes or levels where bytes must be
  /// unsigned.
  int64_t excess = 0;
  /// Whether both are bf16: a variant may multiply them as they are.
  bool halves = false;
  /// Of which columns sums of inputs are needed (0: the row), if any are.
  std::optional<int64_t> sumPeriod;
};

/// Whether the kernel is for one token.
bool isForOneToken(FusedLinearOp op);

/// What the input of linear ops must hold: enough for each of them. Null where
/// a plain f32 input without a norm will do.
FailureOr<PackedAttr> getPacking(ArrayRef<FusedLinearOp> ops);

} // namespace mlir::lap
