// The shapes of a model's tensors: what a scheme or recipe makes of a model's
// size follows from them.
#pragma once

#include "compiler/Recipe.h"
#include "dialects/lap/LapDialect.h"

#include <string>
#include <vector>

namespace mlir::lap {

struct TensorShape {
  std::string name;
  /// Of a matrix, which is stored in a scheme; other tensors have no columns.
  int64_t rows = 0;
  int64_t columns = 0;
  /// In the checkpoint.
  int64_t bytes = 0;
  /// Quantized by the checkpoint: kept as it is.
  bool kept = false;
};

/// The tensors of Gemma 4 12B in bf16.
std::vector<TensorShape> getLargeShapes();
/// The tensors of a Hugging Face folder or a GGUF file; `media` is the GGUF
/// file of its projections, or empty.
lapidary::Result<std::vector<TensorShape>>
readShapes(const std::string &checkpoint, const std::string &media);

/// Layers of a model with these tensors.
int64_t countLayers(ArrayRef<TensorShape> tensors);

struct StoredSize {
  /// Of all tensors, matrices or not.
  int64_t bytes = 0;
  /// Of the matrices, padding included.
  double bitsPerWeight = 0;
};

/// What a recipe makes of the tensors; `getModel` gives the scheme of a name.
/// A tensor that no line is for is an error.
lapidary::Result<StoredSize> computeSize(
    ArrayRef<TensorShape> tensors, const lapidary::Recipe &recipe,
    llvm::function_ref<const lapidary::Scheme &(StringRef name)> getModel);

} // namespace mlir::lap
