// The meaning of model level IR: an interpreter on f32 that everything else is
// tested against, and that computes the expected values of a bundle's
// self-test. Weights are streamed, so that 24 GB of them need little memory.
#pragma once

#include "compiler/WeightValues.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

#include <functional>
#include <memory>
#include <vector>

namespace mlir::lap {

/// A tensor of f32 (`values`) or i32 (`indices`), row-major.
struct ReferenceTensor {
  SmallVector<int64_t> shape;
  std::vector<float> values;
  std::vector<int32_t> indices;

  static ReferenceTensor ofValues(ArrayRef<int64_t> shape,
                                  std::vector<float> values);
  static ReferenceTensor ofIndices(ArrayRef<int64_t> shape,
                                   std::vector<int32_t> indices);
};

/// Runs the functions of one module. KV caches live from run to run, until
/// `reset`. Not for use by several threads at once; a run uses all of them.
class ReferenceInterpreter {
public:
  using Inputs = llvm::StringMap<ReferenceTensor>;

  /// Both must outlive the interpreter.
  ReferenceInterpreter(ModuleOp module, const WeightValues &weights)
      : module(module), weights(weights) {}

  /// Runs a function on inputs by their `lap.name`. `past` is the value of its
  /// argument of that name: the positions that earlier runs put into the
  /// caches; what lies behind is forgotten. Gives the first result. On failure
  /// the error has been reported.
  FailureOr<ReferenceTensor> run(StringRef function, const Inputs &inputs,
                                 int64_t past = 0);
  /// The same; gives all results of the function.
  FailureOr<std::vector<ReferenceTensor>>
  runAll(StringRef function, const Inputs &inputs, int64_t past = 0);
  /// Empties the caches.
  void reset() { contents.clear(); }

  /// What keys and values are rounded to as they enter the caches, as compiled
  /// programs do: what differs then is the code.
  KvFormat caches = KvFormat::F32;

  /// What inputs of linear ops are rounded to, by the name of the weight; f32
  /// where there is none.
  llvm::StringMap<Activations> activations;

  /// Sees the result of each op as it is computed.
  std::function<void(Operation *, const ReferenceTensor &)> observer;
  /// Sees the input of each linear op, before it is rounded.
  std::function<void(LinearOp, const ReferenceTensor &)> linearObserver;

private:
  struct Cache {
    int64_t positions = 0;
    std::vector<float> keys;
    std::vector<float> values;
  };
  /// Rounds the step's rows of keys and values as programs store them.
  LogicalResult roundRows(KvUpdateOp op, std::span<float> keys,
                          std::span<float> values);
  /// What a value stands for: a tensor, a number, or a symbol.
  struct Slot {
    std::shared_ptr<ReferenceTensor> tensor;
    int64_t index = 0;
    Operation *symbol = nullptr;
  };
  using TensorResult = FailureOr<ReferenceTensor>;

  LogicalResult bindArguments(func::FuncOp function, const Inputs &inputs,
                              int64_t past);
  LogicalResult runOp(Operation *op);
  TensorResult compute(Operation *op);

  TensorResult compute(EmbeddingOp op);
  TensorResult compute(ScatterEmbeddingsOp op);
  TensorResult compute(RmsNormOp op);
  TensorResult compute(LayerNormOp op);
  TensorResult compute(LinearOp op);
  TensorResult compute(RopeOp op);
  TensorResult compute(AttentionOp op);
  TensorResult compute(GeluOp op);
  TensorResult compute(AddOp op);
  TensorResult compute(MultiplyOp op);
  TensorResult compute(ConcatOp op);
  TensorResult compute(ScaleOp op);
  TensorResult compute(SoftcapOp op);
  TensorResult compute(PositionEmbeddingOp op);
  LogicalResult update(KvUpdateOp op);

  const ReferenceTensor &get(Value value) { return *slots[value].tensor; }
  /// The lap.weight behind a value.
  FailureOr<WeightOp> findWeight(Operation *user, Value weight);
  /// All values of a weight; none for no weight.
  FailureOr<std::vector<float>> loadWeight(Operation *user, Value weight);

  ModuleOp module;
  const WeightValues &weights;
  llvm::StringMap<Cache> contents;
  llvm::DenseMap<Value, Slot> slots;
};

} // namespace mlir::lap
