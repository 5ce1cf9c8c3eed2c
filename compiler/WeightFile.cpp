// Opens bundles and checkpoints for comparing, and decodes their rows.
#include "compiler/WeightFile.h"

#include "compiler/WeightPacking.h"
#include "compiler/WeightSource.h"
#include "dialects/lap/SchemeLibrary.h"
#include "dialects/lap/WeightLayout.h"
#include "frontends/formats/EncodedTensor.h"
#include "frontends/formats/Gguf.h"
#include "frontends/formats/Safetensors.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using lapidary::Result;
using lapidary::Status;

/// As a `lap.weight` has at most.
static constexpr int64_t maxElements = int64_t(1) << 40;

bool WeightFile::isDerived(StringRef name) {
  return name.starts_with("rope.") || lapidary::followsFromConfig(name);
}

/// Sets rows and columns; false for a shape that no tensor has.
static bool setRows(StoredTensor &tensor) {
  int64_t elements = 1;
  for (int64_t length : tensor.shape)
    if (length < 1 || __builtin_mul_overflow(elements, length, &elements) ||
        elements > maxElements)
      return false;
  tensor.columns = tensor.shape.size() < 2 ? 1 : tensor.shape.back();
  tensor.rows = elements / tensor.columns;
  return true;
}

static std::optional<SourceFormat> getFormat(StringRef scheme) {
  if (scheme == "f32")
    return SourceFormat::F32;
  if (scheme == "f16")
    return SourceFormat::F16;
  if (scheme == "bf16")
    return SourceFormat::BF16;
  return std::nullopt;
}

namespace {

class BundleWeights : public WeightFile {
public:
  static Result<std::unique_ptr<WeightFile>>
  open(MLIRContext &context, const std::string &path,
       const lapidary::ProgressCallback &progress);
  Status readRows(size_t tensor, int64_t first,
                  std::span<float> out) const override;

private:
  struct Stored {
    lapidary::Scheme scheme;
    std::optional<RowTileLayout> layout;
    std::span<const uint8_t> bytes;
  };
  Status loadSchemes(MLIRContext &context);
  Status add(MLIRContext &context, const lapidary::schema::Weight &weight);

  std::shared_ptr<const lapidary::Bundle> bundle;
  llvm::StringMap<lapidary::Scheme> schemes;
  /// In the order of the program; `order` leads from `tensors` to them.
  std::vector<Stored> stored;
  std::vector<size_t> order;
};

class CheckpointWeights : public WeightFile {
public:
  static Result<std::unique_ptr<WeightFile>>
  open(MLIRContext &context, const std::string &path, const std::string &media);
  Status readRows(size_t tensor, int64_t first,
                  std::span<float> out) const override;

private:
  explicit CheckpointWeights(lapidary::Checkpoint opened)
      : checkpoint(std::move(opened)) {}
  Status add(MLIRContext &context, const lapidary::TensorInfo &info);

  lapidary::Checkpoint checkpoint;
  /// Of tensors that the checkpoint has quantized, by name.
  llvm::StringMap<lapidary::Scheme> schemes;
  std::vector<const lapidary::TensorInfo *> infos;
};

} // namespace

//===----------------------------------------------------------------------===//
// Bundles
//===----------------------------------------------------------------------===//

Status BundleWeights::loadSchemes(MLIRContext &context) {
  const auto *texts = bundle->program().schemes();
  if (!texts)
    return {};
  for (const lapidary::schema::Scheme *entry : *texts) {
    std::string name = entry->name()->str();
    auto module = parseScheme(&context, entry->text()->string_view(),
                              bundle->path() + ": scheme " + name);
    if (failed(module))
      return lapidary::invalidData(bundle->path() + ": the scheme " + name +
                                   " is none that this version reads");
    schemes[name] = getScheme(**module).getModel();
  }
  return {};
}

Status BundleWeights::add(MLIRContext &context,
                          const lapidary::schema::Weight &weight) {
  StoredTensor tensor;
  tensor.name = weight.name()->str();
  tensor.scheme = weight.scheme()->str();
  tensor.shape.assign(weight.shape()->begin(), weight.shape()->end());
  tensor.format = getFormat(tensor.scheme);
  std::string what = bundle->path() + ": weight " + tensor.name;
  if (!setRows(tensor))
    return lapidary::invalidData(what + " has a shape that none has");
  Stored own;
  own.bytes = bundle->segment(weight.segment());
  if (!tensor.format) {
    auto scheme = schemes.find(tensor.scheme);
    if (scheme == schemes.end())
      return lapidary::invalidData(what + " is of the scheme " + tensor.scheme +
                                   ", which the bundle does not define");
    own.scheme = scheme->second;
  } else {
    Type element = tensor.format == SourceFormat::F32
                       ? Type(Float32Type::get(&context))
                   : tensor.format == SourceFormat::F16
                       ? Type(Float16Type::get(&context))
                       : Type(BFloat16Type::get(&context));
    own.scheme = getFloatScheme(element);
  }
  StringRef layout = weight.layout()->string_view();
  uint64_t bytes = 0;
  if (layout == "rows16" && tensor.shape.size() == 2) {
    own.layout = getRowTileLayout(own.scheme, tensor.rows, tensor.columns);
    bytes = own.layout->getBytes();
  } else if (layout == "plain" && tensor.format) {
    bytes = tensor.rows * tensor.columns * getSourceBytes(*tensor.format);
  } else {
    return lapidary::invalidData(what + " is of the scheme " + tensor.scheme +
                                 " in the layout " + layout.str() +
                                 ", which this version does not read");
  }
  if (bytes != own.bytes.size())
    return lapidary::invalidData(what + " has " +
                                 std::to_string(own.bytes.size()) +
                                 " bytes, expected " + std::to_string(bytes));
  tensors.push_back(std::move(tensor));
  stored.push_back(std::move(own));
  return {};
}

Result<std::unique_ptr<WeightFile>>
BundleWeights::open(MLIRContext &context, const std::string &path,
                    const lapidary::ProgressCallback &progress) {
  auto file = std::make_unique<BundleWeights>();
  file->bundle = LAPIDARY_TRY(lapidary::Bundle::open(path));
  LAPIDARY_TRY(file->bundle->verifyWeights(progress));
  LAPIDARY_TRY(file->loadSchemes(context));
  for (const lapidary::schema::Weight *weight :
       *file->bundle->program().weights())
    LAPIDARY_TRY(file->add(context, *weight));
  file->order.resize(file->tensors.size());
  std::iota(file->order.begin(), file->order.end(), 0);
  llvm::sort(file->order, [&](size_t a, size_t b) {
    return file->tensors[a].name < file->tensors[b].name;
  });
  llvm::sort(file->tensors, [](const StoredTensor &a, const StoredTensor &b) {
    return a.name < b.name;
  });
  return std::unique_ptr<WeightFile>(std::move(file));
}

Status BundleWeights::readRows(size_t number, int64_t first,
                               std::span<float> out) const {
  const StoredTensor &tensor = tensors[number];
  const Stored &own = stored[order[number]];
  if (!own.layout) {
    SourceFormat format = *tensor.format;
    convertToFloat(format,
                   own.bytes.data() +
                       first * tensor.columns * getSourceBytes(format),
                   out.size(), out.data());
    return {};
  }
  return decodeRows(own.scheme, *own.layout, first * tensor.columns, out,
                    [&](int64_t tile, const uint8_t *&bytes) -> Status {
                      bytes = own.bytes.data() + tile * own.layout->tileBytes;
                      return {};
                    });
}

//===----------------------------------------------------------------------===//
// Checkpoints
//===----------------------------------------------------------------------===//

Status CheckpointWeights::add(MLIRContext &context,
                              const lapidary::TensorInfo &info) {
  StoredTensor tensor;
  tensor.name = info.name;
  tensor.shape = info.shape;
  if (!setRows(tensor))
    return lapidary::invalidData(checkpoint.folder() + ": tensor " + info.name +
                                 " is empty: " + describeTensor(info));
  if (!info.encoding.empty()) {
    tensor.scheme = LAPIDARY_TRY(lapidary::getEncodedScheme(info));
    StringRef text = lapidary::getEncodedSchemeText(info);
    auto module = text.empty() ? loadScheme(&context, tensor.scheme)
                               : parseScheme(&context, text, tensor.scheme);
    if (failed(module))
      return lapidary::internalError("no scheme " + tensor.scheme);
    schemes[info.name] = getScheme(**module).getModel();
  } else {
    tensor.scheme = StringRef(elementTypeName(info.type)).lower();
    tensor.format = getFormat(tensor.scheme);
    if (!tensor.format)
      return lapidary::unsupported(
          checkpoint.folder() + ": tensor " + info.name +
          ": expected F32, F16 or BF16, found " + describeTensor(info));
  }
  tensors.push_back(std::move(tensor));
  infos.push_back(&info);
  return {};
}

Result<std::unique_ptr<WeightFile>>
CheckpointWeights::open(MLIRContext &context, const std::string &path,
                        const std::string &media) {
  bool folder = llvm::sys::fs::is_directory(path);
  auto file = std::unique_ptr<CheckpointWeights>(new CheckpointWeights(
      LAPIDARY_TRY(folder ? lapidary::Checkpoint::open(path)
                          : lapidary::Checkpoint::openGguf(path, media))));
  for (const lapidary::TensorInfo &info : file->checkpoint.tensors())
    if (!isDerived(info.name))
      LAPIDARY_TRY(file->add(context, info));
  return std::unique_ptr<WeightFile>(std::move(file));
}

Status CheckpointWeights::readRows(size_t number, int64_t first,
                                   std::span<float> out) const {
  const StoredTensor &tensor = tensors[number];
  const lapidary::TensorInfo &info = *infos[number];
  if (tensor.format) {
    SourceFormat format = *tensor.format;
    int64_t size = getSourceBytes(format);
    std::vector<uint8_t> bytes(out.size() * size);
    LAPIDARY_TRY(checkpoint.read(info, first * tensor.columns * size, bytes));
    convertToFloat(format, bytes.data(), out.size(), out.data());
    return {};
  }
  return readEncodedValues(checkpoint, info, schemes.find(info.name)->second,
                           first * tensor.columns, out);
}

Result<std::unique_ptr<WeightFile>>
mlir::lap::openWeightFile(MLIRContext &context, const std::string &path,
                          const std::string &media,
                          const lapidary::ProgressCallback &progress) {
  if (llvm::sys::fs::is_directory(path) || lapidary::isGgufFile(path))
    return CheckpointWeights::open(context, path, media);
  return BundleWeights::open(context, path, progress);
}
