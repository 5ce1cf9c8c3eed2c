// A scheme's decode region in other code: cloned on vectors, and taken apart
// where it is affine in the code. Every target's kernels are made with these.
#pragma once

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::lap {

/// Clones ops of a decode region on vectors of `lanes` lanes (0: scalars).
class DecodeCloner {
public:
  /// Makes the code of a `lap.lookup`; gets the op and its index.
  using EmitLookup = llvm::function_ref<Value(LookupOp lookup, Value index)>;

  DecodeCloner(OpBuilder &builder, Location location, SchemeOp scheme,
               int64_t lanes, EmitLookup emitLookup)
      : builder(builder), location(location), scheme(scheme), lanes(lanes),
        emitLookup(emitLookup) {}

  /// Clones what does not depend on the code. `mapping` has the outer fields,
  /// each i32 or f32 in lanes, and gets the results.
  void cloneOuter(IRMapping &mapping);
  /// Clones what depends on the code, which arrives as `code`; gives the
  /// weights. `mapping` is that of `cloneOuter`.
  Value cloneInner(IRMapping mapping, Value code);
  /// Clones what `value` needs and `mapping` lacks; gives its clone.
  Value cloneValue(IRMapping &mapping, Value value);

  struct Affine {
    /// f32 in lanes; null stands for 1 and 0.
    Value slope, offset;
  };
  /// For an affine scheme: weight = slope * code + offset, with the code as the
  /// integer that arrives. `mapping` is that of `cloneOuter`. With `from`, a
  /// value of the region that the scheme is affine in, of that value.
  Affine cloneAffine(const IRMapping &mapping, Value from = {});

private:
  void clone(Operation *op, IRMapping &mapping);

  OpBuilder &builder;
  Location location;
  SchemeOp scheme;
  int64_t lanes;
  EmitLookup emitLookup;
};

/// Whether the decode region is affine in an integer code.
bool isAffine(SchemeOp scheme);

/// The integer that a scheme is affine in: an unsigned code or, where the
/// region first takes a constant `zero` of at most 128 from it, the difference.
/// Bytes of the code then exceed it by that.
struct CenteredCode {
  Value value;
  int64_t zero = 0;
};
CenteredCode getCenteredCode(SchemeOp scheme);

/// What codes of at most 4 bits stand for, as multiples of a unit.
struct IntegerLevels {
  /// The code value that is `unit * levels[code]`.
  Value value;
  float unit;
  SmallVector<int8_t, 16> levels;
};
/// If the region is affine in such a value of its code: a table of integers, or
/// the few values of a small float.
std::optional<IntegerLevels> getIntegerLevels(SchemeOp scheme);

/// Whether kernels may multiply with 8-bit activations as integers: the region
/// is affine in a code of at most 8 bits, or has integer levels.
bool hasIntegerProducts(SchemeOp scheme);

/// Where the region leaves what depends on the code alone: values that are made
/// of code and constants (the code itself at first) and meet another field, or
/// are the weight.
SmallVector<Value> getCodeValues(SchemeOp scheme);
/// The words of a code value for each code that has at most 8 bits.
std::vector<uint32_t> getCodeTable(SchemeOp scheme, Value codeValue);
/// Whether the weights are affine in the only code value.
bool isAffineIn(SchemeOp scheme, Value codeValue);
/// Whether such weights have an offset.
bool hasAffineOffset(SchemeOp scheme, Value codeValue);

} // namespace mlir::lap
