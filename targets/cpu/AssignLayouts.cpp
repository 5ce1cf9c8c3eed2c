// Decides how the CPU stores each weight.
#include "dialects/lap/LapDialect.h"
#include "targets/cpu/Passes.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-assign-layouts"

namespace mlir::lap::cpu {
#define GEN_PASS_DEF_ASSIGNLAYOUTSPASS
#include "targets/cpu/Passes.h.inc"
} // namespace mlir::lap::cpu

using namespace mlir;
using namespace mlir::lap;

namespace {

struct AssignLayoutsPass : cpu::impl::AssignLayoutsPassBase<AssignLayoutsPass> {
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
