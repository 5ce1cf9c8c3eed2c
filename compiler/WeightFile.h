// The weights of a bundle or of a checkpoint as rows of floats, whatever they
// are stored in.
#pragma once

#include "compiler/SourceFormat.h"
#include "runtime/core/Bundle.h"

#include "mlir/IR/MLIRContext.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace mlir::lap {

struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;
  /// "bf16", or the scheme's name.
  std::string scheme;
  /// What the values are; nothing where they are a scheme's.
  std::optional<SourceFormat> format;
  /// The last dimension is a row, but for a vector, whose elements are rows.
  int64_t rows = 0;
  int64_t columns = 0;
};

/// Immutable; reading is safe from several threads.
class WeightFile {
public:
  virtual ~WeightFile() = default;
  /// Sorted by name.
  const std::vector<StoredTensor> &getTensors() const { return tensors; }
  /// Whole rows of a tensor of the list, by its index.
  virtual lapidary::Status readRows(size_t tensor, int64_t first,
                                    std::span<float> out) const = 0;
  /// Whether a tensor says nothing that the other side could lack: made by the
  /// compiler, or following from the configuration.
  static bool isDerived(StringRef name);

protected:
  std::vector<StoredTensor> tensors;
};

/// A bundle, a Hugging Face folder, or a GGUF file, told apart by what they
/// are; `media` is the file of projections of a GGUF file, or empty. The
/// context is for the schemes of a bundle; an error in one is reported there.
lapidary::Result<std::unique_ptr<WeightFile>>
openWeightFile(MLIRContext &context, const std::string &path,
               const std::string &media,
               const lapidary::ProgressCallback &progress);

} // namespace mlir::lap
