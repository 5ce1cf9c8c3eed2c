// Says what the inputs of linear kernels are rounded to.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-set-activations"

namespace mlir::lap {
#define GEN_PASS_DEF_SETACTIVATIONSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

class SetActivationsPass
    : public lap::impl::SetActivationsPassBase<SetActivationsPass> {
public:
  using SetActivationsPassBase::SetActivationsPassBase;

  void runOnOperation() override {
    std::optional<Activations> chosen = symbolizeActivations(activations);
    if (!chosen) {
      getOperation().emitError("unknown activations '")
          << activations.getValue()
          << "': known are f32, bf16, int8 and int8_token";
      return signalPassFailure();
    }
    getOperation().walk([&](FusedLinearOp op) {
      if (op.getActivations() == *chosen)
        return;
      op.setActivations(*chosen);
      ++changed;
    });
  }
};

} // namespace
