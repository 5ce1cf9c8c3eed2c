// Says what the inputs of linear kernels are rounded to.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"
#include "dialects/lap/SchemeDecode.h"
#include "dialects/lap/WeightLayout.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-set-activations"

namespace mlir::lap {
#define GEN_PASS_DEF_SETACTIVATIONSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// 8 bits where products of integers follow from it; elsewhere they would cost
/// precision and gain nothing.
static FailureOr<Activations> chooseActivations(FusedLinearOp op) {
  for (Value weight : op.getWeights()) {
    FailureOr<SchemeOp> scheme = getSchemeOp(weight.getType(), op);
    if (failed(scheme))
      return failure();
    if (!*scheme || !hasIntegerProducts(*scheme))
      return Activations::F32;
  }
  return Activations::Int8Block;
}

namespace {

class SetActivationsPass
    : public lap::impl::SetActivationsPassBase<SetActivationsPass> {
public:
  using SetActivationsPassBase::SetActivationsPassBase;

  void runOnOperation() override {
    std::optional<Activations> chosen = symbolizeActivations(activations);
    bool automatic = activations == "auto";
    if (!chosen && !automatic) {
      getOperation().emitError("unknown activations '")
          << activations.getValue()
          << "': known are auto, f32, bf16, int8 and int8_token";
      return signalPassFailure();
    }
    WalkResult result = getOperation().walk([&](FusedLinearOp op) {
      FailureOr<Activations> own =
          automatic ? chooseActivations(op) : FailureOr<Activations>(*chosen);
      if (failed(own))
        return WalkResult::interrupt();
      if (op.getActivations() != *own) {
        op.setActivations(*own);
        ++changed;
      }
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};

} // namespace
