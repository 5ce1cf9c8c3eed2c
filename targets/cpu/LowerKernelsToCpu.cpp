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
      .Case([&](PackInputOp op) { return emitPackInput(emitter, op); })
      .Case([&](FusedLinearOp op) { return emitLinear(emitter, op); })
      .Case([&](RopeKvUpdateOp op) -> Result {
        return emitRopeKvUpdate(emitter, op);
      })
      .Case(
          [&](RopeQueryOp op) -> Result { return emitRopeQuery(emitter, op); })
      .Case([&](ConcatOp op) -> Result { return emitConcat(emitter, op); })
      .Case(
          [&](AttentionOp op) -> Result { return emitAttention(emitter, op); })
      .Case([&](PartialAttentionOp op) -> Result {
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
        return op->emitOpError("has no CPU kernel");
      });
}

namespace {

/// math.exp2 %x : vector<16xf32>
/// becomes 2^n exp((x - n) ln 2) with the nearest integer n: exact for
/// integers. The power is a product of two, so that results may be denormal.
struct ExpandExp2 : OpRewritePattern<math::Exp2Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::Exp2Op op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || !type.getElementType().isF32())
      return rewriter.notifyMatchFailure(op, "is no vector of f32");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    VectorType words = type.clone(rewriter.getI32Type());
    auto number = [&](float value) -> Value {
      return arith::ConstantOp::create(b, DenseElementsAttr::get(type, value));
    };
    auto word = [&](int32_t value) -> Value {
      return arith::ConstantOp::create(b, DenseElementsAttr::get(words, value));
    };
    // Outside, the result is 0 or infinity.
    constexpr float least = -160, most = 129, ln2 = 0.69314718F;
    Value x = arith::MaximumFOp::create(b, op.getOperand(), number(least));
    x = arith::MinimumFOp::create(b, x, number(most));
    Value whole = math::RoundEvenOp::create(b, x);
    Value rest = arith::SubFOp::create(b, x, whole);
    Value result =
        math::ExpOp::create(b, arith::MulFOp::create(b, rest, number(ln2)));
    // Of NaN the exponent does not matter, but it must not be poison.
    Value ordered =
        arith::CmpFOp::create(b, arith::CmpFPredicate::ORD, whole, whole);
    Value safe = arith::SelectOp::create(b, ordered, whole, number(0));
    Value exponent = arith::FPToSIOp::create(b, words, safe);
    Value half = arith::ShRSIOp::create(b, exponent, word(1));
    Value other = arith::SubIOp::create(b, exponent, half);
    constexpr int32_t bias = 127, mantissaBits = 23;
    for (Value part : {half, other}) {
      Value bits = arith::ShLIOp::create(
          b, arith::AddIOp::create(b, part, word(bias)), word(mantissaBits));
      result = arith::MulFOp::create(b, result,
                                     arith::BitcastOp::create(b, type, bits));
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

struct LowerKernelsToCpuPass
    : cpu::impl::LowerKernelsToCpuPassBase<LowerKernelsToCpuPass> {
  using LowerKernelsToCpuPassBase::LowerKernelsToCpuPassBase;

  void runOnOperation() override {
    const CpuVariant *found = findVariant(variant);
    if (!found) {
      getOperation().emitError()
          << "unknown variant '" << variant << "', expected " << listVariants();
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
    patterns.add<ExpandExp2>(&getContext());
    populateMathPolynomialApproximationPatterns(
        patterns, [](StringRef name) { return name == "math.exp"; });
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }

  LogicalResult lower(KernelOp kernel, const Variant &blocking) {
    KernelEmitter emitter(kernel, getOperation(), blocking);
    FailureOr<Operation *> op = getKernelOp(kernel);
    if (failed(op))
      return failure();
    FailureOr<KernelInfo> info = emitKernel(emitter, *op);
    if (failed(info))
      return failure();
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
