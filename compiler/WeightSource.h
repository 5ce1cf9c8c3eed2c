// Rows of a weight on their way into the bundle: read from the checkpoint, and
// encoded where the weight is stored in a scheme.
#pragma once

#include "compiler/SourceFormat.h"
#include "compiler/encoder/Encoder.h"
#include "dialects/lap/WeightLayout.h"
#include "frontends/formats/Safetensors.h"

#include "llvm/ADT/StringMap.h"

namespace mlir::lap {

/// Mean squared activations by weight: one number a column.
using Importance = llvm::StringMap<std::vector<float>>;

/// The checkpoint's tensor of the weight's name, which must have its shape.
lapidary::Result<const lapidary::TensorInfo *>
findSource(const lapidary::Checkpoint &checkpoint, WeightOp weight);

/// f32 values of whole rows of a tensor that the checkpoint has quantized.
lapidary::Status readEncodedValues(const lapidary::Checkpoint &checkpoint,
                                   const lapidary::TensorInfo &tensor,
                                   const lapidary::Scheme &scheme,
                                   int64_t firstElement, std::span<float> out);

/// One matrix. Immutable: packing is safe from several threads.
class WeightSource {
public:
  /// `importance` may have nothing for the weight; it must outlive this.
  static lapidary::Result<WeightSource>
  open(const lapidary::Checkpoint &checkpoint, WeightOp weight,
       const Importance &importance);

  const RowTileLayout &getLayout() const { return layout; }
  /// Bytes of the checkpoint behind a row.
  int64_t getRowBytes() const { return rowBytes; }
  /// Whether the importance of columns changes how values are encoded.
  bool takesImportance() const {
    return encoder && scheme.strategy == lapidary::EncodeStrategy::Weighted;
  }
  /// Writes row tiles [first, first + count); `source` is for the checkpoint's
  /// bytes. A value that is not finite is an error that names the tensor.
  lapidary::Status packTiles(int64_t first, int64_t count,
                             std::span<uint8_t> source, uint8_t *out) const;

private:
  explicit WeightSource(const lapidary::Checkpoint &checkpoint)
      : checkpoint(&checkpoint) {}

  const lapidary::Checkpoint *checkpoint;
  const lapidary::TensorInfo *tensor = nullptr;
  SourceFormat format = SourceFormat::BF16;
  lapidary::Scheme scheme;
  RowTileLayout layout;
  int64_t rowBytes = 0;
  /// Rows are packed as they are.
  bool plain = false;
  std::span<const float> importance;
  std::shared_ptr<const lapidary::RowEncoder> encoder;
};

/// An error when the values, which begin at element `first` of the tensor, are
/// not all finite.
lapidary::Status checkFinite(const lapidary::Checkpoint &checkpoint,
                             const lapidary::TensorInfo &tensor,
                             SourceFormat format,
                             std::span<const uint8_t> bytes, int64_t first);

} // namespace mlir::lap
