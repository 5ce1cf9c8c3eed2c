// What linear kernels read of their input (see the header).
#include "dialects/lap/LinearForm.h"

#include "dialects/lap/SchemeDecode.h"
#include "llvm/ADT/SetVector.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;

/// Columns in which no field but the code changes; 0: the row.
static int64_t getGroupColumns(const RowTileLayout &layout) {
  int64_t group = 0;
  for (const FieldLayout &field : layout.fields)
    if (field.field.columns > 1)
      group = std::gcd(group, field.field.columns);
  return group;
}

static bool hasBytes(Activations activations) {
  return activations == Activations::Int8Block ||
         activations == Activations::Int8Token;
}

bool mlir::lap::isForOneToken(FusedLinearOp op) {
  return cast<RankedTensorType>(op.getInput().getType()).getDimSize(0) == 1;
}

FailureOr<LinearForm> LinearForm::create(FusedLinearOp op, Value weight) {
  FailureOr<SchemeOp> scheme = getSchemeOp(weight.getType(), op);
  FailureOr<RowTileLayout> layout = getRowTileLayout(weight.getType(), op);
  if (failed(scheme) || failed(layout))
    return failure();
  LinearForm form;
  if (!*scheme) {
    form.halves =
        op.getActivations() == Activations::BF16 &&
        cast<RankedTensorType>(weight.getType()).getElementType().isBF16();
    return form;
  }
  int64_t group = getGroupColumns(*layout);
  if (hasBytes(op.getActivations()) && hasIntegerProducts(*scheme)) {
    // A longer run would be no faster; 255 x 127 x 256 is far from overflow.
    constexpr int64_t longest = 256;
    form.integers = true;
    form.run = op.getActivations() == Activations::Int8Block
                   ? PackedInputLayout::blockColumns
                   : longest;
    form.run = std::gcd(group ? group : form.run, form.run);
    if (!isAffine(*scheme)) {
      constexpr int64_t levelExcess = 128;
      form.excess = levelExcess;
      if (hasAffineOffset(*scheme, getIntegerLevels(*scheme)->value))
        form.sumPeriod = form.run;
      return form;
    }
    CenteredCode code = getCenteredCode(*scheme);
    if (hasAffineOffset(*scheme, code.value))
      form.sumPeriod = form.run;
    form.excess = code.zero;
    const lapidary::SchemeField &field = layout->getCode().field;
    if (field.kind == lapidary::FieldKind::Signed)
      form.excess = int64_t(1) << (field.bits - 1);
    return form;
  }
  // For one token, sums over a group come before slope and offset.
  SmallVector<Value> values = getCodeValues(*scheme);
  if (isForOneToken(op) && values.size() == 1 &&
      isAffineIn(*scheme, values.front()) &&
      hasAffineOffset(*scheme, values.front()))
    form.sumPeriod = group;
  return form;
}

FailureOr<PackedAttr> mlir::lap::getPacking(ArrayRef<FusedLinearOp> ops) {
  bool values = false, halves = false, codes = false;
  llvm::SmallSetVector<int64_t, 2> sums;
  llvm::SmallSetVector<std::pair<int64_t, int64_t>, 2> codeSums;
  for (FusedLinearOp op : ops)
    for (Value weight : op.getWeights()) {
      FailureOr<LinearForm> form = LinearForm::create(op, weight);
      if (failed(form))
        return failure();
      (form->integers ? codes : values) = true;
      halves |= form->halves;
      if (form->sumPeriod)
        sums.insert(*form->sumPeriod);
      if (form->excess)
        codeSums.insert({form->run, form->excess});
    }
  FusedLinearOp first = ops.front();
  // Many tokens' rows must not lie at multiples of the cache's size.
  if (isForOneToken(first) && first.getNorm() == Norm::None &&
      first.getActivations() == Activations::F32 && sums.empty())
    return PackedAttr();
  SmallVector<int64_t> pairs;
  for (auto [period, excess] : codeSums)
    pairs.append({period, excess});
  MLIRContext *context = first.getContext();
  return PackedAttr::get(context, first.getColumns(), first.getActivations(),
                         values, halves, codes,
                         DenseI64ArrayAttr::get(context, sums.getArrayRef()),
                         DenseI64ArrayAttr::get(context, pairs));
}
