// Writes each kernel as a function of one invocation.
#include "dialects/lap/LapDialect.h"
#include "targets/gpu/KernelEmitter.h"
#include "targets/gpu/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"

#define DEBUG_TYPE "lap-lower-kernels-to-gpu"

namespace mlir::lap::simt {
#define GEN_PASS_DEF_LOWERKERNELSTOGPUPASS
#include "targets/gpu/Passes.h.inc"
} // namespace mlir::lap::simt

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

FailureOr<KernelInfo> simt::emitKernel(KernelEmitter &emitter, Operation *op) {
  using Result = FailureOr<KernelInfo>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](EmbedOp op) { return emitEmbed(emitter, op); })
      .Case([&](PackInputOp op) { return emitPackInput(emitter, op); })
      .Case([&](FusedLinearOp op) { return emitLinear(emitter, op); })
      .Case([&](RopeKvUpdateOp op) { return emitRopeKvUpdate(emitter, op); })
      .Case(
          [&](RopeQueryOp op) -> Result { return emitRopeQuery(emitter, op); })
      .Case([&](ConcatOp op) -> Result { return emitConcat(emitter, op); })
      .Case([&](AttentionOp op) { return emitAttention(emitter, op); })
      .Case([&](PartialAttentionOp op) {
        return emitPartialAttention(emitter, op);
      })
      .Case([&](MergeAttentionOp op) -> Result {
        return emitMergeAttention(emitter, op);
      })
      .Case([&](ResidualNormOp op) -> Result {
        return emitResidualNorm(emitter, op);
      })
      .Case([&](PatchEmbeddingOp op) -> Result {
        return emitPatchEmbedding(emitter, op);
      })
      .Case([&](TopKOp op) -> Result { return emitTopK(emitter, op); })
      .Default([](Operation *op) -> Result {
        return op->emitOpError("has no GPU kernel");
      });
}

/// 2^n exp((x - n) ln 2) with the nearest integer n: exact for integers. The
/// power is a product of two, so that results may be denormal.
static Value emitExp2(KernelEmitter &e, Value x) {
  // Outside, the result is 0 or more than any number.
  constexpr float least = -160, most = 129, ln2 = 0.69314718F;
  x = e.maxF(x, e.number(least));
  x = e.subF(e.number(0), e.maxF(e.subF(e.number(0), x), e.number(-most)));
  Value whole = math::RoundEvenOp::create(e, x);
  Value result = e.exp(e.mulF(e.subF(x, whole), e.number(ln2)));
  Value exponent = arith::FPToSIOp::create(e, e.getI32Type(), whole);
  Value half = arith::ShRSIOp::create(e, exponent, e.word(1));
  Value other = arith::SubIOp::create(e, exponent, half);
  constexpr uint32_t bias = 127;
  constexpr int64_t mantissaBits = 23;
  for (Value part : {half, other}) {
    Value biased = arith::AddIOp::create(e, part, e.word(bias));
    result = e.mulF(result, e.asFloat(e.shiftLeft(biased, mantissaBits)));
  }
  return result;
}

namespace {

struct LowerKernelsToGpuPass
    : simt::impl::LowerKernelsToGpuPassBase<LowerKernelsToGpuPass> {
  using LowerKernelsToGpuPassBase::LowerKernelsToGpuPassBase;

  void runOnOperation() override {
    const Facts *facts = findFacts(variant);
    if (!facts) {
      InFlightDiagnostic error = getOperation().emitError()
                                 << "unknown variant '" << variant
                                 << "', expected one of";
      for (const Facts &known : getFacts())
        error << " " << known.name;
      return signalPassFailure();
    }
    for (KernelOp kernel :
         llvm::make_early_inc_range(getOperation().getOps<KernelOp>())) {
      if (failed(lower(kernel, *facts)))
        return signalPassFailure();
      kernel.erase();
      ++lowered;
    }
    // The layouts that schemes gave are in the code now.
    for (SchemeOp scheme :
         llvm::make_early_inc_range(getOperation().getOps<SchemeOp>()))
      scheme.erase();
  }

  LogicalResult lower(KernelOp kernel, const Facts &facts) {
    // The module takes the kernel's name.
    std::string name = kernel.getName().str();
    KernelEmitter emitter(kernel, getOperation(), facts);
    FailureOr<Operation *> op = getKernelOp(kernel);
    if (failed(op))
      return failure();
    FailureOr<KernelInfo> info = emitKernel(emitter, *op);
    if (failed(info))
      return failure();
    emitter.finish();
    gpu::GPUFuncOp function = emitter.getFunction();
    // Of schemes; SPIR-V has it, but MLIR's conversion does not.
    function.walk([&](math::Exp2Op op) {
      emitter.setInsertionPoint(op);
      op.replaceAllUsesWith(emitExp2(emitter, op.getOperand()));
      op.erase();
    });
    auto set = [&](StringRef name, Extent extent) {
      function->setAttr(name, emitter.getDenseI64ArrayAttr(
                                  {extent.constant, extent.perToken}));
    };
    if (!emitter.getUses().empty())
      function->setAttr("lap.uses", emitter.getStrArrayAttr(emitter.getUses()));
    set("lap.tiles", info->tiles);
    set("lap.tile_work", info->tileWork);
    if (info->tokenTile)
      function->setAttr("lap.token_tile",
                        emitter.getI64IntegerAttr(info->tokenTile));
    if (!info->windowBytes.empty())
      function->setAttr("lap.window_bytes",
                        emitter.getDenseI64ArrayAttr(
                            llvm::to_vector_of<int64_t>(info->windowBytes)));
    if (info->windowsRepeat)
      function->setAttr("lap.windows_repeat", emitter.getUnitAttr());
    return success();
  }
};

} // namespace
