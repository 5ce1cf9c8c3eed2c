// Decides how each weight is stored.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-assign-layouts"

namespace mlir::lap {
#define GEN_PASS_DEF_ASSIGNLAYOUTSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

struct AssignLayoutsPass : lap::impl::AssignLayoutsPassBase<AssignLayoutsPass> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    auto assign = [&](Value matrix) {
      auto get = matrix.getDefiningOp<GetWeightOp>();
      if (!get)
        return;
      auto weight = symbols.lookup<WeightOp>(get.getWeight());
      if (!weight || weight.getLayout() == Layout::Rows16)
        return;
      weight.setLayout(Layout::Rows16);
      ++packed;
    };
    getOperation().walk([&](Operation *op) {
      if (auto linear = dyn_cast<FusedLinearOp>(op))
        for (Value weight : linear.getWeights())
          assign(weight);
      else if (auto embed = dyn_cast<EmbedOp>(op))
        assign(embed.getTable());
    });
  }
};

} // namespace
