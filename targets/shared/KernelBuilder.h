// What the emitters of all targets' kernels share: the op and the operands of a
// bufferized `lap.kernel`, arithmetic on indices and f32, loops. How many lanes
// a value of f32 has, and what memory is, is the target's own matter.
#pragma once

#include "compiler/KernelInfo.h"
#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lap {

/// A kernel operand as a one-dimensional memref, and what its elements stand
/// for: f32, f16, bf16, i32 or i8. The memref's own may be others.
struct Buffer {
  Value memref;
  Type elementType;
};

/// The one op that a bufferized kernel is for, between ops that say what its
/// arguments are.
FailureOr<Operation *> getKernelOp(KernelOp kernel);

/// The token count that a kernel is specialised to, 0 when it is dynamic: the
/// first dimension of what it writes.
int64_t getStaticTokens(KernelOp kernel);

/// Elements of a row of activations.
int64_t getWidth(Value activation);

class KernelBuilder : public ImplicitLocOpBuilder {
public:
  explicit KernelBuilder(KernelOp kernel)
      : ImplicitLocOpBuilder(kernel.getLoc(), kernel.getContext()),
        staticTokens(lap::getStaticTokens(kernel)) {}

  /// The buffer of a kernel argument, or of the argument behind a
  /// `bufferization.to_tensor` or `lap.unpack`.
  Buffer getBuffer(Value value) const;
  /// The buffer that a result of the kernel's op is written to.
  Buffer getResultBuffer(Value result) const;
  /// Where a cache's keys and values are.
  std::pair<Value, Value> getCache(Value cache) const;
  /// 0 when dynamic.
  int64_t getStaticTokens() const { return staticTokens; }
  /// How many tiles a kernel has that has so many for each token.
  Extent getTiles(int64_t perToken = 1) const {
    return staticTokens ? Extent{staticTokens * perToken, 0}
                        : Extent{0, perToken};
  }

  // Index arithmetic; divisions are of numbers that are not negative.
  Value index(int64_t value);
  Value add(Value lhs, Value rhs);
  Value add(Value lhs, int64_t rhs);
  Value sub(Value lhs, Value rhs);
  Value mul(Value lhs, Value rhs);
  Value mul(Value lhs, int64_t rhs);
  Value div(Value lhs, Value rhs);
  Value div(Value lhs, int64_t rhs);
  Value rem(Value lhs, Value rhs);
  Value rem(Value lhs, int64_t rhs);
  Value min(Value lhs, Value rhs);
  Value max(Value lhs, Value rhs);
  Value lessThan(Value lhs, Value rhs);
  Value select(Value condition, Value yes, Value no);

  /// Where the two rows of a `lap.rope_table` begin whose angles add up to
  /// those of a position, of `rotated` pairs.
  std::pair<Value, Value> getRopeRows(Value position, int64_t rotated);

  // f32; both operands have the same type.
  Value constantF32(float value);
  Value addF(Value lhs, Value rhs);
  Value subF(Value lhs, Value rhs);
  Value mulF(Value lhs, Value rhs);
  Value divF(Value lhs, Value rhs);
  Value fma(Value a, Value b, Value c);
  Value exp(Value x);

  using LoopBody = function_ref<SmallVector<Value>(Value, ValueRange)>;
  /// for (i = begin; i < end; i += step); the body gives the next values.
  SmallVector<Value> loop(Value begin, Value end, int64_t step,
                          ValueRange initial, LoopBody body);
  void loop(Value begin, Value end, int64_t step,
            function_ref<void(Value)> body);
  /// Runs `body` where `condition` holds.
  void when(Value condition, function_ref<void()> body);

protected:
  /// By the kernel's argument: a target fills these.
  DenseMap<Value, Buffer> buffers;
  DenseMap<Value, std::pair<Value, Value>> caches;

private:
  int64_t staticTokens;
};

} // namespace mlir::lap
