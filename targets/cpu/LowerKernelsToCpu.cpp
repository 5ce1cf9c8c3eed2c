// Writes the loops of each kernel, as a function with the runtime's signature.
#include "dialects/lap/LapDialect.h"
#include "targets/cpu/KernelEmitter.h"
#include "targets/cpu/Passes.h"
#include "targets/cpu/Variants.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "lap-lower-kernels-to-cpu"

namespace mlir::lap::cpu {
#define GEN_PASS_DEF_LOWERKERNELSTOCPUPASS
#include "targets/cpu/Passes.h.inc"
} // namespace mlir::lap::cpu

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

FailureOr<KernelInfo> cpu::emitKernel(KernelEmitter &emitter, Operation *op) {
  using Result = FailureOr<KernelInfo>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](EmbedOp op) { return emitEmbed(emitter, op); })
      .Case([&](FusedLinearOp op) { return emitLinear(emitter, op); })
      .Case([&](RopeKvUpdateOp op) -> Result {
        return emitRopeKvUpdate(emitter, op);
      })
      .Case(
          [&](AttentionOp op) -> Result { return emitAttention(emitter, op); })
      .Case([&](ResidualNormOp op) -> Result {
        return emitResidualNorm(emitter, op);
      })
      .Case([&](PatchEmbeddingOp op) -> Result {
        return emitPatchEmbedding(emitter, op);
      })
      .Default([](Operation *op) -> Result {
        return op->emitOpError("has no CPU kernel");
      });
}

namespace {

struct LowerKernelsToCpuPass
    : cpu::impl::LowerKernelsToCpuPassBase<LowerKernelsToCpuPass> {
  using LowerKernelsToCpuPassBase::LowerKernelsToCpuPassBase;

  void runOnOperation() override {
    const CpuVariant *found = findVariant(variant);
    if (!found) {
      getOperation().emitError()
          << "unknown variant '" << variant << "', expected avx2 or avx512";
      return signalPassFailure();
    }
    for (KernelOp kernel :
         llvm::make_early_inc_range(getOperation().getOps<KernelOp>())) {
      if (failed(lower(kernel, found->blocking)))
        return signalPassFailure();
      kernel.erase();
      ++lowered;
    }
    // The layouts that schemes gave are in the code now.
    for (SchemeOp scheme :
         llvm::make_early_inc_range(getOperation().getOps<SchemeOp>()))
      scheme.erase();
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(
        patterns, [](StringRef name) { return name == "math.exp"; });
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }

  LogicalResult lower(KernelOp kernel, const Variant &blocking) {
    KernelEmitter emitter(kernel, getOperation(), blocking);
    std::optional<KernelInfo> info;
    for (Operation &op : kernel.getBody().front()) {
      if (isa<bufferization::ToTensorOp, UnpackOp, ReturnOp,
              bufferization::MaterializeInDestinationOp>(op))
        continue;
      if (info)
        return op.emitOpError("is a second op in one kernel");
      FailureOr<KernelInfo> emitted = emitKernel(emitter, &op);
      if (failed(emitted))
        return failure();
      info = *emitted;
    }
    if (!info)
      return kernel.emitOpError("has nothing to compute");
    emitter.finish();
    auto set = [&](StringRef name, Extent extent) {
      emitter.getFunction()->setAttr(
          name,
          emitter.getDenseI64ArrayAttr({extent.constant, extent.perToken}));
    };
    set("lap.tiles", info->tiles);
    set("lap.tile_work", info->tileWork);
    set("lap.scratch", info->scratch);
    return success();
  }
};

} // namespace
