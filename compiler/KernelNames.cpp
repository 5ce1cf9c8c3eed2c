// Spells kernel names: operation, variants, scheme, shape, tokens. Passes.td
// has the grammar, under lap-outline-kernels.
#include "compiler/KernelNames.h"

#include "dialects/lap/LapDialect.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::lap;

bool mlir::lap::isKernelLevel(Operation *op) {
  return isa<EmbedOp, PackInputOp, FusedLinearOp, RopeKvUpdateOp, RopeQueryOp,
             AttentionOp, ConcatOp, PartialAttentionOp, MergeAttentionOp,
             ResidualNormOp, PatchEmbeddingOp, TopKOp>(op);
}

static ArrayRef<int64_t> getShape(Value value) {
  return cast<RankedTensorType>(value.getType()).getShape();
}

/// The scheme of a matrix, or the element type of a plain one.
static std::string getScheme(Type matrix) {
  if (auto quantized = dyn_cast<QuantizedType>(matrix))
    return quantized.getScheme().getValue().str();
  std::string text;
  llvm::raw_string_ostream(text)
      << cast<RankedTensorType>(matrix).getElementType();
  return text;
}

static void print(raw_ostream &os, EmbedOp op) {
  ArrayRef<int64_t> table = getMatrixShape(op.getTable().getType());
  if (op.getMedia())
    os << "_media";
  os << '_' << getScheme(op.getTable().getType()) << '_' << table[0] << 'x'
     << table[1];
}

static void print(raw_ostream &os, PackInputOp op) {
  if (op.getNorm() != Norm::None)
    os << '_' << stringifyNorm(op.getNorm());
  os << '_' << stringifyActivations(op.getPacking().getActivations()) << '_'
     << getShape(op.getInput())[1];
}

static void print(raw_ostream &os, FusedLinearOp op) {
  if (op.getNorm() != Norm::None)
    os << '_' << stringifyNorm(op.getNorm());
  if (op.getEpilogue() != Epilogue::None)
    os << '_' << stringifyEpilogue(op.getEpilogue());
  int64_t rows = 0;
  for (Value weight : op.getWeights())
    rows += getMatrixShape(weight.getType())[0];
  os << '_' << getScheme(op.getWeights()[0].getType()) << '_' << rows << 'x'
     << op.getColumns();
}

/// How the cache is stored, query heads, cache heads and their size.
static void printHeads(raw_ostream &os, KvCacheType cache, Value query) {
  if (cache.getRotated())
    os << "_rotated";
  if (cache.getFormat() != KvFormat::F16)
    os << '_' << stringifyKvFormat(cache.getFormat());
  os << '_' << getShape(query)[1] / cache.getHeadDim() << 'x'
     << cache.getHeads() << 'x' << cache.getHeadDim();
}

static void print(raw_ostream &os, RopeKvUpdateOp op) {
  if (op.getKeys() == op.getValues())
    os << "_shared";
  printHeads(os, op.getCache().getType(), op.getQuery());
}

static void print(raw_ostream &os, RopeQueryOp op) {
  printHeads(os, op.getCache().getType(), op.getQuery());
}

static void print(raw_ostream &os, ConcatOp op) {
  if (op.getNorm())
    os << "_rms";
  os << '_' << getShape(op.getLhs())[1] << '_' << getShape(op.getRhs())[1];
}

static void print(raw_ostream &os, AttentionOp op) {
  if (op.getCache().getType().getWindow())
    os << "_window";
  if (op.getVisibleEnd())
    os << "_visible";
  printHeads(os, op.getCache().getType(), op.getQuery());
}

static void print(raw_ostream &os, PartialAttentionOp op) {
  if (op.getCache().getType().getWindow())
    os << "_window";
  printHeads(os, op.getCache().getType(), op.getQuery());
}

static void print(raw_ostream &os, MergeAttentionOp op) {
  os << '_' << op.getHeads() << 'x'
     << getShape(op.getResult())[1] / int64_t(op.getHeads());
}

static void print(raw_ostream &os, ResidualNormOp op) {
  if (op.getScalar())
    os << "_scaled";
  os << '_' << getShape(op.getResult())[1];
}

static void print(raw_ostream &os, PatchEmbeddingOp op) {
  os << '_' << getShape(op.getTable())[0] << 'x' << getShape(op.getTable())[2];
}

static void print(raw_ostream &os, TopKOp op) {
  if (op.getIds())
    os << "_ids";
  os << '_' << getShape(op.getInput())[1] << 'x' << op.getCount();
}

std::string mlir::lap::getKernelName(Operation *op) {
  std::string name;
  llvm::raw_string_ostream os(name);
  os << op->getName().stripDialect();
  llvm::TypeSwitch<Operation *>(op)
      .Case<EmbedOp, PackInputOp, FusedLinearOp, RopeKvUpdateOp, RopeQueryOp,
            AttentionOp, ConcatOp, PartialAttentionOp, MergeAttentionOp,
            ResidualNormOp, PatchEmbeddingOp, TopKOp>(
          [&](auto kernel) { print(os, kernel); });
  int64_t tokens = getShape(op->getResult(0))[0];
  if (ShapedType::isDynamic(tokens))
    os << "_tn";
  else
    os << "_t" << tokens;
  return name;
}
