// Streams the weights of a module from the checkpoint into the bundle: reads,
// checks, packs, writes and hashes in chunks of a few megabytes, so that memory
// does not grow with the checkpoint.
#pragma once

#include "compiler/BundleFile.h"
#include "compiler/WeightSource.h"
#include "dialects/lap/LapDialect.h"
#include "frontends/formats/Safetensors.h"

#include "mlir/IR/BuiltinOps.h"

#include <functional>

namespace mlir::lap {

/// A `lap.weight` or `lap.rope_table` and its place in the bundle.
struct StoredWeight {
  Operation *op;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  /// XXH3-128, set by `writeWeights`.
  uint64_t hashLow = 0;
  uint64_t hashHigh = 0;
};

/// Whether the table turns no pair. In the bundle, where nothing is empty, a
/// single 0 stands for it, which nobody reads.
bool isEmptyTable(RopeTableOp table);

/// The weights of a module in order, with their sizes.
FailureOr<std::vector<StoredWeight>> collectWeights(ModuleOp module);

/// Writes every weight at its offset and sets its hash. `progress` is told the
/// bytes written so far, from one thread at a time; when it returns false the
/// work stops with Cancelled. A value that is not finite is an error naming the
/// tensor.
lapidary::Status
writeWeights(std::vector<StoredWeight> &weights,
             const lapidary::Checkpoint &checkpoint,
             const Importance &importance, lapidary::BundleFile &file,
             const std::function<bool(uint64_t written)> &progress);

/// The rows of a `lap.rope_table`, see its description.
std::vector<float> computeRopeTable(int64_t headDim, int64_t rotated,
                                    double theta, int64_t positions);

} // namespace mlir::lap
