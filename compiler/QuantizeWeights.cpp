// Chooses a quantization scheme for the matrices of a model.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"

#define DEBUG_TYPE "lap-quantize-weights"

namespace mlir::lap {
#define GEN_PASS_DEF_QUANTIZEWEIGHTSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// The numbers of a built-in scheme with i8 codes and f16 scales.
struct BuiltInScheme {
  StringRef name;
  int64_t block;
};

constexpr BuiltInScheme builtInSchemes[] = {{"q8_0", 32}};

/// Leaves weights as the checkpoint has them.
constexpr StringRef unquantized = "bf16";

} // namespace

/// The built-in scheme of that name, or null.
static const BuiltInScheme *findScheme(StringRef name) {
  const auto *scheme =
      llvm::find_if(builtInSchemes, [&](const BuiltInScheme &candidate) {
        return candidate.name == name;
      });
  return scheme == std::end(builtInSchemes) ? nullptr : scheme;
}

/// Adds the scheme's op to the module, if an equal one is not there yet.
static LogicalResult addScheme(ModuleOp module, const BuiltInScheme &scheme) {
  auto builder = OpBuilder::atBlockBegin(module.getBody());
  Operation *taken = SymbolTable::lookupSymbolIn(module, scheme.name);
  Type codes = builder.getI8Type(), scale = builder.getF16Type();
  if (taken) {
    auto known = dyn_cast<SchemeOp>(taken);
    if (known && static_cast<int64_t>(known.getBlock()) == scheme.block &&
        known.getCodes() == codes && known.getScale() == scale)
      return success();
    return taken->emitError("@")
           << scheme.name << " is not the built-in scheme of that name";
  }
  SchemeOp::create(builder, module.getLoc(), scheme.name, scheme.block, codes,
                   scale);
  return success();
}

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

/// Makes the read give the stored type, and its users read decoded values.
static void dequantizeAfter(GetWeightOp read, QuantizedType stored) {
  OpBuilder builder(read.getContext());
  builder.setInsertionPointAfter(read);
  read.getResult().setType(stored);
  auto values = DequantizeOp::create(
      builder, read.getLoc(),
      RankedTensorType::get(stored.getShape(), builder.getF32Type()),
      cast<TypedValue<QuantizedType>>(read.getResult()));
  read.getResult().replaceAllUsesExcept(values, values);
}

namespace {

class QuantizeWeightsPass
    : public lap::impl::QuantizeWeightsPassBase<QuantizeWeightsPass> {
public:
  using QuantizeWeightsPassBase::QuantizeWeightsPassBase;

  void runOnOperation() override {
    if (scheme.empty() || scheme == unquantized)
      return;
    ModuleOp module = getOperation();
    const BuiltInScheme *chosen = findScheme(scheme);
    if (!chosen) {
      InFlightDiagnostic error = module.emitError("unknown scheme '")
                                 << scheme.getValue() << "': known are "
                                 << unquantized;
      for (const BuiltInScheme &known : builtInSchemes)
        error << ", " << known.name;
      return signalPassFailure();
    }

    SymbolTable symbols(module);
    llvm::MapVector<WeightOp, SmallVector<GetWeightOp>> reads;
    module.walk([&](GetWeightOp read) {
      if (auto weight = symbols.lookup<WeightOp>(read.getWeight()))
        reads[weight].push_back(read);
    });
    auto reference = FlatSymbolRefAttr::get(&getContext(), chosen->name);
    bool used = false;
    for (auto &[weight, weightReads] : reads) {
      if (weight.getStored() || !llvm::all_of(weightReads, isMatrix))
        continue;
      auto stored = QuantizedType::get(
          &getContext(), cast<RankedTensorType>(weight.getType()).getShape(),
          reference);
      weight.setStored(stored);
      for (GetWeightOp read : weightReads)
        dequantizeAfter(read, stored);
      ++quantized;
      used = true;
    }
    if (used && failed(addScheme(module, *chosen)))
      signalPassFailure();
  }
};

} // namespace
