// Where the reference interpreter takes the values of weights from: the
// checkpoint, or the bundle that has just been written (what a scheme made of
// them).
#pragma once

#include "compiler/BundleFile.h"
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/WeightLayout.h"
#include "frontends/formats/Safetensors.h"

#include "llvm/ADT/StringMap.h"

#include <functional>

namespace mlir::lap {

struct StoredWeight;

class WeightValues {
public:
  virtual ~WeightValues() = default;
  /// The f32 values of the weight's elements from `first` on, row-major. Safe
  /// from several threads.
  virtual lapidary::Status read(WeightOp weight, int64_t first,
                                std::span<float> out) const = 0;
};

/// The checkpoint's own values: tensors of f32, f16 and bf16, of a weight's
/// name and type, and those that the checkpoint has quantized, decoded.
class CheckpointValues : public WeightValues {
public:
  explicit CheckpointValues(const lapidary::Checkpoint &checkpoint)
      : checkpoint(checkpoint) {}
  lapidary::Status read(WeightOp weight, int64_t first,
                        std::span<float> out) const override;

private:
  const lapidary::Checkpoint &checkpoint;
};

/// The values that a bundle's weights stand for: tiles are unpacked and decoded
/// by the scheme.
class StoredValues : public WeightValues {
public:
  /// `weights` have their offsets in `file`, which has been written. Both must
  /// outlive this.
  StoredValues(ArrayRef<StoredWeight> weights,
               const lapidary::BundleFile &file);
  lapidary::Status read(WeightOp weight, int64_t first,
                        std::span<float> out) const override;

private:
  struct Stored {
    lapidary::Scheme scheme;
    std::optional<RowTileLayout> layout;
    uint64_t offset = 0;
  };
  llvm::StringMap<Stored> weights;
  const lapidary::BundleFile &file;
};

/// Other values, until they are stopped.
class WatchedValues : public WeightValues {
public:
  /// `progress` gets elements as they are read, from any thread; when it
  /// returns false, reading fails with Cancelled. `values` must outlive this.
  WatchedValues(const WeightValues &values,
                std::function<bool(int64_t elements)> progress)
      : values(values), progress(std::move(progress)) {}
  lapidary::Status read(WeightOp weight, int64_t first,
                        std::span<float> out) const override;

private:
  const WeightValues &values;
  std::function<bool(int64_t elements)> progress;
};

} // namespace mlir::lap
