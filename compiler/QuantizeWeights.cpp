// Chooses how the matrices of a model are stored.
#include "compiler/Passes.h"
#include "compiler/RecipeLibrary.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

#define DEBUG_TYPE "lap-quantize-weights"

namespace mlir::lap {
#define GEN_PASS_DEF_QUANTIZEWEIGHTSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// True when all that the value is used for is as the matrix of a linear or
/// the table of an embedding, and at least once.
static bool isMatrix(GetWeightOp read) {
  return !read->use_empty() &&
         llvm::all_of(read->getUses(), [](OpOperand &use) {
           if (auto linear = dyn_cast<LinearOp>(use.getOwner()))
             return &use == &linear.getWeightMutable();
           if (auto embedding = dyn_cast<EmbeddingOp>(use.getOwner()))
             return &use == &embedding.getTableMutable();
           return false;
         });
}

/// Makes the read give the stored type, and the users of a quantized one read
/// decoded values.
static void changeRead(GetWeightOp read, Type stored) {
  read.getResult().setType(stored);
  auto quantized = dyn_cast<QuantizedType>(stored);
  if (!quantized)
    return;
  OpBuilder builder(read.getContext());
  builder.setInsertionPointAfter(read);
  auto values = DequantizeOp::create(
      builder, read.getLoc(),
      RankedTensorType::get(quantized.getShape(), builder.getF32Type()),
      cast<TypedValue<QuantizedType>>(read.getResult()));
  read.getResult().replaceAllUsesExcept(values, values);
}

namespace {

class QuantizeWeightsPass
    : public lap::impl::QuantizeWeightsPassBase<QuantizeWeightsPass> {
public:
  using QuantizeWeightsPassBase::QuantizeWeightsPassBase;

  void runOnOperation() override {
    if (quant.empty() && recipe.empty())
      return;
    FailureOr<lapidary::Recipe> chosen =
        recipe.empty() ? loadQuant(&getContext(), quant)
                       : loadRecipe(&getContext(), recipe);
    Schemes schemes;
    if (failed(chosen) || failed(loadSchemes(*chosen, schemes)) ||
        failed(store(*chosen, schemes)))
      signalPassFailure();
  }

private:
  using Schemes = llvm::StringMap<OwningOpRef<ModuleOp>>;

  /// A scheme that a wrong line names is an error, even if no tensor needs it.
  LogicalResult loadSchemes(const lapidary::Recipe &chosen, Schemes &schemes) {
    for (const std::string &name : chosen.getSchemes()) {
      auto scheme = loadScheme(&getContext(), name);
      if (failed(scheme))
        return failure();
      schemes[name] = *std::move(scheme);
    }
    return success();
  }

  /// The type that a weight is stored in; its own where that is what it has.
  FailureOr<Type> getStoredType(WeightOp weight, SchemeOp scheme) {
    ArrayRef<int64_t> shape =
        cast<RankedTensorType>(weight.getType()).getShape();
    if (Type element = getFloatType(scheme))
      return Type(RankedTensorType::get(shape, element));
    // These names say to the runtime and to tools that values are plain.
    if (llvm::is_contained({"f32", "f16", "bf16"}, scheme.getSymName()))
      return scheme.emitError("@")
             << scheme.getSymName()
             << " is the name of plain values; give the scheme another name";
    FailureOr<SchemeOp> added = addScheme(getOperation(), scheme);
    if (failed(added))
      return failure();
    return Type(QuantizedType::get(
        &getContext(), shape,
        FlatSymbolRefAttr::get(&getContext(), added->getSymName())));
  }

  LogicalResult store(const lapidary::Recipe &chosen, const Schemes &schemes) {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::MapVector<WeightOp, SmallVector<GetWeightOp>> reads;
    int64_t layers = 0;
    module.walk([&](GetWeightOp read) {
      auto weight = symbols.lookup<WeightOp>(read.getWeight());
      if (!weight)
        return;
      reads[weight].push_back(read);
      layers =
          std::max(layers, lapidary::getLayerNumber(weight.getSymName()) + 1);
    });
    int64_t storedBefore = 0;
    for (auto &[weight, weightReads] : reads) {
      if (weight.getStored()) {
        ++storedBefore;
        continue;
      }
      if (!llvm::all_of(weightReads, isMatrix))
        continue;
      StringRef name = chosen.getScheme(weight.getSymName(), layers);
      if (name.empty())
        return weight.emitError()
               << "no line of the recipe is for " << weight.getSymName()
               << "; end it with '* SCHEME' or '* keep'";
      if (name == lapidary::Recipe::keep)
        continue;
      FailureOr<Type> stored =
          getStoredType(weight, getScheme(*schemes.find(name)->second));
      if (failed(stored))
        return failure();
      if (*stored == weight.getType())
        continue;
      weight.setStored(*stored);
      for (GetWeightOp read : weightReads)
        changeRead(read, *stored);
      ++quantized;
    }
    if (storedBefore)
      module.emitRemark() << storedBefore
                          << (storedBefore == 1
                                  ? " matrix of the checkpoint is quantized "
                                    "already and stays as it is"
                                  : " matrices of the checkpoint are quantized "
                                    "already and stay as they are");
    return success();
  }
};

} // namespace
