// Reads and writes files of importance.
#include "compiler/Importance.h"

#include "compiler/BundleFile.h"

#include "llvm/Support/JSON.h"

#include <cmath>
#include <cstring>
#include <map>

using namespace mlir;
using namespace mlir::lap;
using lapidary::Status;

lapidary::Result<Importance>
mlir::lap::readImportance(const std::string &path) {
  auto file = LAPIDARY_TRY(lapidary::SafetensorsFile::open(path));
  Importance importance;
  for (const lapidary::TensorInfo &tensor : file.tensors()) {
    if (tensor.type != lapidary::ElementType::F32 || tensor.shape.size() != 1)
      return lapidary::invalidData(
          path +
          ": expected an F32 vector a weight, as 'lapidary calibrate' "
          "writes them, found " +
          tensor.name + " as " + lapidary::describeTensor(tensor));
    std::vector<float> values(tensor.shape[0]);
    LAPIDARY_TRY(file.read(
        tensor, 0, {reinterpret_cast<uint8_t *>(values.data()), tensor.bytes}));
    for (float value : values)
      if (!std::isfinite(value) || value < 0)
        return lapidary::invalidData(path + ": " + tensor.name +
                                     " has an importance that is not a "
                                     "finite number of 0 or more");
    importance[tensor.name] = std::move(values);
  }
  return importance;
}

Status mlir::lap::writeImportance(const std::string &path,
                                  const Importance &importance) {
  std::map<std::string, const std::vector<float> *> sorted;
  for (const auto &entry : importance)
    sorted[entry.getKey().str()] = &entry.getValue();
  llvm::json::Object header;
  uint64_t bytes = 0;
  for (const auto &[name, values] : sorted) {
    uint64_t end = bytes + values->size() * sizeof(float);
    header[name] = llvm::json::Object{
        {"dtype", "F32"},
        {"shape", llvm::json::Array{static_cast<int64_t>(values->size())}},
        {"data_offsets", llvm::json::Array{static_cast<int64_t>(bytes),
                                           static_cast<int64_t>(end)}}};
    bytes = end;
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(header));
  text.resize(llvm::alignTo(text.size(), 8), ' ');
  uint64_t length = text.size();
  auto file = LAPIDARY_TRY(
      lapidary::BundleFile::create(path, sizeof length + length + bytes));
  auto write = [&](uint64_t at, const void *data, size_t size) {
    return file.write(at, {static_cast<const uint8_t *>(data), size});
  };
  LAPIDARY_TRY(write(0, &length, sizeof length));
  LAPIDARY_TRY(write(sizeof length, text.data(), text.size()));
  uint64_t at = sizeof length + length;
  for (const auto &[name, values] : sorted) {
    LAPIDARY_TRY(write(at, values->data(), values->size() * sizeof(float)));
    at += values->size() * sizeof(float);
  }
  return file.commit();
}
