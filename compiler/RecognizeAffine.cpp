// Marks the schemes whose weights are affine in the code: their kernels use
// integer dot products, and apply slope and offset once a group.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"
#include "dialects/lap/SchemeDecode.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-recognize-affine"

namespace mlir::lap {
#define GEN_PASS_DEF_RECOGNIZEAFFINEPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

class RecognizeAffinePass
    : public lap::impl::RecognizeAffinePassBase<RecognizeAffinePass> {
public:
  void runOnOperation() override {
    for (auto scheme : getOperation().getOps<SchemeOp>()) {
      // A text may claim what is not so.
      scheme.setAffine(isAffine(scheme));
      affine += scheme.getAffine();
    }
  }
};

} // namespace
