// The places in a packed input (see the header).
#include "dialects/lap/PackedInput.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lap;

LogicalResult PackedAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t columns, Activations activations,
                                 bool /*values*/, bool halves, bool codes,
                                 DenseI64ArrayAttr sums,
                                 DenseI64ArrayAttr codeSums) {
  constexpr int64_t mostColumns = int64_t(1) << 24, mostExcess = 128;
  bool bytes = activations == Activations::Int8Block ||
               activations == Activations::Int8Token;
  if (columns < 1 || columns > mostColumns || (codes && !bytes) ||
      (halves && activations != Activations::BF16)) // C1
    return emitError() << "expected 1 to 2^24 columns, codes with 8-bit "
                          "activations alone and halves with bf16";
  if (!sums || !codeSums ||
      llvm::any_of(sums.asArrayRef(),
                   [](int64_t period) { return period < 0; }) ||
      codeSums.size() % 2 || (!codeSums.empty() && !codes)) // C2
    return emitError() << "expected periods of sums, and pairs of a period and "
                          "an excess of code_sums where there are codes";
  for (int64_t i = 0; i < codeSums.size(); i += 2)
    if (codeSums[i] < 1 || codeSums[i + 1] < 1 ||
        codeSums[i + 1] > mostExcess) // C2
      return emitError() << "expected code_sums of 1 column or more and an "
                            "excess of 1 to 128";
  return success();
}

PackedInputLayout::PackedInputLayout(PackedAttr packing) {
  constexpr int64_t lineWords = 16;
  int64_t columns = packing.getColumns();
  auto place = [&](int64_t size) {
    int64_t at = words;
    words += llvm::alignTo(size, lineWords);
    return at;
  };
  auto count = [&](int64_t period) {
    return period ? llvm::divideCeil(columns, period) : 1;
  };
  if (packing.getValues())
    valuesAt = place(columns);
  if (packing.getHalves())
    halvesAt = place(llvm::divideCeil(columns, 2));
  if (packing.getCodes()) {
    codesAt = place(llvm::divideCeil(columns, 4));
    if (packing.getActivations() == Activations::Int8Block)
      scaleColumns = blockColumns;
    scalesAt = place(count(scaleColumns));
  }
  for (int64_t period : packing.getSums().asArrayRef())
    sums.push_back({period, place(count(period))});
  ArrayRef<int64_t> pairs = packing.getCodeSums();
  for (size_t i = 0; i < pairs.size(); i += 2)
    codeSums.push_back({pairs[i], pairs[i + 1], place(count(pairs[i]))});
  if (words / lineWords % 2 == 0)
    words += lineWords;
}

int64_t PackedInputLayout::findSums(int64_t period) const {
  for (const Sums &own : sums)
    if (own.period == period)
      return own.at;
  return none;
}

int64_t PackedInputLayout::findCodeSums(int64_t period, int64_t excess) const {
  for (const CodeSums &own : codeSums)
    if (own.period == period && own.excess == excess)
      return own.at;
  return none;
}
