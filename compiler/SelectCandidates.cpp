// Lets devices choose the tokens that come into question, so that logits need
// not leave their memory.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-select-candidates"

namespace mlir::lap {
#define GEN_PASS_DEF_SELECTCANDIDATESPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// Candidates of a row: the 64 that Gemma's checkpoints suggest for top-k, and
/// as many again for tokens that must not be chosen.
static constexpr int64_t mostCandidates = 128;

static std::optional<unsigned> findResult(func::FuncOp entry, StringRef name) {
  for (unsigned result = 0; result < entry.getNumResults(); ++result)
    if (auto own = entry.getResultAttrOfType<StringAttr>(result, "lap.name");
        own && own.getValue() == name)
      return result;
  return std::nullopt;
}

namespace {

class SelectCandidatesPass
    : public lap::impl::SelectCandidatesPassBase<SelectCandidatesPass> {
public:
  void runOnOperation() override {
    for (auto entry : getOperation().getOps<func::FuncOp>()) {
      std::optional<unsigned> logits = findResult(entry, "logits");
      // Of clusters, those that count decide which logits do.
      if (!logits || findResult(entry, "clusters"))
        continue;
      if (!entry.getBody().hasOneBlock()) {
        entry.emitError("expected an entry point of one block");
        return signalPassFailure();
      }
      addCandidates(entry, *logits);
      ++selected;
    }
  }

private:
  /// Blocks' candidates, then those of blocks of these, until one block is
  /// left.
  void addCandidates(func::FuncOp entry, unsigned logits) {
    Operation *end = entry.getBody().front().getTerminator();
    OpBuilder builder(end);
    Value values = end->getOperand(logits), ids;
    const int64_t width =
        cast<RankedTensorType>(values.getType()).getDimSize(1);
    const int64_t count = std::min(width, mostCandidates);
    int64_t ops = 0, blocks = 0;
    do {
      auto type = cast<RankedTensorType>(values.getType());
      blocks = llvm::divideCeil(type.getDimSize(1), TopKOp::blockColumns);
      const int64_t shape[] = {type.getDimSize(0), blocks * count};
      auto op =
          TopKOp::create(builder, end->getLoc(), type.clone(shape),
                         RankedTensorType::get(shape, builder.getI32Type()),
                         values, ids, static_cast<uint64_t>(count));
      values = op.getValues();
      ids = op.getValueIds();
      ++ops;
    } while (blocks > 1);
    for (auto [value, name] :
         {std::pair(values, "top_logits"), std::pair(ids, "top_tokens")}) {
      end->insertOperands(end->getNumOperands(), value);
      (void)entry.insertResult(entry.getNumResults(), value.getType(),
                               builder.getDictionaryAttr(builder.getNamedAttr(
                                   "lap.name", builder.getStringAttr(name))));
    }
    entry->setAttr("lap.candidate_ops", builder.getI64IntegerAttr(ops));
  }
};

} // namespace
