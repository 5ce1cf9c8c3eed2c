// Finds, checks and counts the tensors that a model uses.
#include "frontends/safetensors/WeightSymbols.h"

#include "dialects/lap/SchemeLibrary.h"
#include "frontends/formats/EncodedTensor.h"

using namespace mlir;
using namespace mlir::lap;

using lapidary::ElementType;

static Type getElementType(MLIRContext *context, ElementType type) {
  switch (type) {
  case ElementType::F32:
    return Float32Type::get(context);
  case ElementType::F16:
    return Float16Type::get(context);
  case ElementType::BF16:
    return BFloat16Type::get(context);
  default:
    return {};
  }
}

static std::string describeShape(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

FailureOr<WeightOp> WeightSymbols::get(ArrayRef<std::string> names,
                                       ArrayRef<int64_t> shape) {
  MLIRContext *context = symbols.getContext();
  const lapidary::TensorInfo *tensor = nullptr;
  for (const std::string &name : names)
    if ((tensor = checkpoint.find(name)))
      break;
  if (!tensor)
    return emitError(UnknownLoc::get(context))
           << checkpoint.folder() << ": tensor " << llvm::join(names, " or ")
           << ": expected F32, F16 or BF16 " << describeShape(shape)
           << ", found no such tensor";
  auto location = NameLoc::get(StringAttr::get(context, tensor->name));
  bool encoded = !tensor->encoding.empty() && shape.size() == 2;
  // What is encoded has no type of its own; the reference computes in bf16.
  Type element = encoded ? Type(BFloat16Type::get(context))
                         : getElementType(context, tensor->type);
  if (!element || ArrayRef(tensor->shape) != shape)
    return emitError(location)
           << checkpoint.pathOf(*tensor) << ": tensor " << tensor->name
           << ": expected F32, F16 or BF16 " << describeShape(shape)
           << ", found " << lapidary::describeTensor(*tensor);
  WeightOp &weight = made[tensor->name];
  if (weight)
    return weight;
  TypeAttr stored;
  if (encoded) {
    FailureOr<SchemeOp> scheme = addEncodedScheme(*tensor, location);
    if (failed(scheme))
      return failure();
    stored = TypeAttr::get(QuantizedType::get(
        context, shape, FlatSymbolRefAttr::get(context, scheme->getSymName())));
  }
  weight = WeightOp::create(symbols, location, tensor->name,
                            RankedTensorType::get(shape, element),
                            checkpoint.fileOf(*tensor), tensor->offset, stored);
  return weight;
}

FailureOr<SchemeOp>
WeightSymbols::addEncodedScheme(const lapidary::TensorInfo &tensor,
                                Location location) {
  auto name = lapidary::getEncodedScheme(tensor);
  if (!name.ok())
    return emitError(location)
           << checkpoint.folder() << ": " << name.status().message();
  StringRef text = lapidary::getEncodedSchemeText(tensor);
  auto scheme = text.empty() ? loadScheme(symbols.getContext(), *name)
                             : parseScheme(symbols.getContext(), text, *name);
  if (failed(scheme))
    return failure();
  return addScheme(module, getScheme(**scheme));
}

LogicalResult WeightSymbols::checkAllUsed(Location location) const {
  const lapidary::TensorInfo *first = nullptr;
  size_t count = 0;
  for (const lapidary::TensorInfo &tensor : checkpoint.tensors()) {
    if (made.contains(tensor.name) || used.contains(tensor.name) ||
        lapidary::followsFromConfig(tensor.name))
      continue;
    first = first ? first : &tensor;
    ++count;
  }
  if (first)
    return emitError(location)
           << checkpoint.pathOf(*first) << ": tensor " << first->name
           << ": expected no tensor that the configuration does not ask for, "
              "found "
           << lapidary::describeTensor(*first) << " (" << count
           << " such tensors in all)";
  for (const std::string &name : checkpoint.unindexed())
    if (!lapidary::followsFromConfig(name))
      return emitError(location)
             << checkpoint.folder() << "/" << name
             << ": expected no tensor that the index does not name, found "
             << checkpoint.unindexed().size();
  return success();
}
