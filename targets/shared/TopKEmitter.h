// `lap.top_k` for all targets: a block's values and tokens are sorted where the
// target keeps them, by a network whose steps are the same for any values, so
// that lanes of any number can share each step.
#pragma once

#include "targets/shared/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace mlir::lap {

class TopKEmitter {
public:
  /// Calls the body for each number below the count, in any order and on any
  /// lanes; what it wrote is there afterwards for all of them.
  using ForEach = function_ref<void(Value count, function_ref<void(Value)>)>;
  /// Memrefs of i32. `keys` and `places` have an element for each of
  /// `getSorted`; `ids` is null where columns are their own tokens.
  struct Memory {
    Value input, ids, keys, places, values, tokens;
  };

  TopKEmitter(KernelBuilder &builder, TopKOp op) : b(builder), op(op) {}

  /// Elements that are sorted for a block: a power of two.
  static int64_t getSorted(TopKOp op);
  /// About how many multiply-adds a block costs.
  static int64_t getWork(TopKOp op);

  /// The block `tile` of all rows' blocks.
  void emit(const Memory &memory, Value tile, ForEach forEach);

private:
  Value word(uint32_t value);
  Value compare(arith::CmpIPredicate predicate, Value lhs, Value rhs);
  Value toKey(Value bits);
  Value toValue(Value key);
  Value load(Value memref, Value at);
  void store(Value word, Value memref, Value at);
  /// Whether the element at `first` belongs behind that at `second`.
  Value isBehind(const Memory &memory, Value first, Value second);
  void exchange(const Memory &memory, Value first, Value second,
                Value isRising);
  void mergeRun(const Memory &memory, Value pair, Value run, Value distance,
                Value level);
  void keepBetter(const Memory &memory, Value place, Value level);
  /// In the network: elements, those of a run and the power of two that this
  /// is.
  int64_t getRun();
  int64_t getRunBits();

  KernelBuilder &b;
  TopKOp op;
};

} // namespace mlir::lap
