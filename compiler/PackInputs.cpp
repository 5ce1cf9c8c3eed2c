// Makes an op of its own of what linear kernels do to their input.
#include "compiler/Passes.h"
#include "dialects/lap/LinearForm.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

#include <map>

#define DEBUG_TYPE "lap-pack-inputs"

namespace mlir::lap {
#define GEN_PASS_DEF_PACKINPUTSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// Equal for ops that may read one packed input.
static Attribute getKey(FusedLinearOp op) {
  Builder builder(op.getContext());
  return builder.getArrayAttr(
      {op.getNormAttr(), op.getEpsAttr(), op.getActivationsAttr()});
}

namespace {

struct PackInputsPass : lap::impl::PackInputsPassBase<PackInputsPass> {
  void runOnOperation() override {
    for (auto entry : getOperation().getOps<func::FuncOp>())
      for (Block &block : entry.getBody()) {
        std::map<std::tuple<void *, void *, void *, const void *>, size_t>
            known;
        SmallVector<SmallVector<FusedLinearOp>> groups;
        for (auto op : block.getOps<FusedLinearOp>()) {
          if (op.getPacking())
            continue;
          auto key = std::make_tuple(op.getInput().getAsOpaquePointer(),
                                     op.getNormWeight().getAsOpaquePointer(),
                                     op.getNormBias().getAsOpaquePointer(),
                                     getKey(op).getAsOpaquePointer());
          auto [place, isNew] = known.insert({key, groups.size()});
          if (isNew)
            groups.emplace_back();
          groups[place->second].push_back(op);
        }
        for (ArrayRef<FusedLinearOp> group : groups)
          if (failed(pack(group)))
            return signalPassFailure();
      }
  }

  /// Packs the input of ops that agree in all that is done to it.
  LogicalResult pack(ArrayRef<FusedLinearOp> ops) {
    FailureOr<PackedAttr> packing = getPacking(ops);
    if (failed(packing))
      return failure();
    if (!*packing)
      return success();
    FusedLinearOp first = ops.front();
    OpBuilder builder(first);
    auto input = cast<RankedTensorType>(first.getInput().getType());
    auto type = RankedTensorType::get(
        {input.getDimSize(0), PackedInputLayout(*packing).words},
        builder.getI32Type(), *packing);
    auto pack = PackInputOp::create(
        builder, first.getLoc(), type, first.getInput(), first.getNormWeight(),
        first.getNormBias(), first.getNorm(), first.getEps());
    ++packed;
    for (FusedLinearOp op : ops) {
      op.getInputMutable().assign(pack.getResult());
      op.getNormWeightMutable().clear();
      op.getNormBiasMutable().clear();
      op.setNorm(Norm::None);
      op.setEps(APFloat(0.0F));
    }
    return success();
  }
};

} // namespace
