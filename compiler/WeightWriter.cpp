// Streams the weights of a module from the checkpoint into the bundle.
#include "compiler/WeightWriter.h"

#include "compiler/WeightSource.h"
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/WeightLayout.h"

#include <cmath>
#include <cstring>
#include <deque>
#include <mutex>
#include <oneapi/tbb/parallel_pipeline.h>
#include <xxhash.h>

using namespace mlir;
using namespace mlir::lap;
using lapidary::Status;

/// Source bytes of a chunk: large enough for the disk, small enough for the
/// caches of two threads.
static constexpr int64_t chunkBytes = 4 << 20;

bool mlir::lap::isEmptyTable(RopeTableOp table) {
  return table.getRotated() == 0;
}

FailureOr<std::vector<StoredWeight>>
mlir::lap::collectWeights(ModuleOp module) {
  std::vector<StoredWeight> weights;
  for (Operation &op : *module.getBody()) {
    FailureOr<int64_t> bytes;
    if (auto weight = dyn_cast<WeightOp>(op))
      bytes = getStoredBytes(weight.getValueType(), weight.getLayout(), &op);
    else if (auto table = dyn_cast<RopeTableOp>(op))
      bytes = isEmptyTable(table)
                  ? FailureOr<int64_t>(sizeof(float))
                  : getStoredBytes(table.getValueType(), Layout::Plain, &op);
    else
      continue;
    if (failed(bytes))
      return failure();
    weights.push_back({&op, 0, static_cast<uint64_t>(*bytes)});
  }
  return weights;
}

std::vector<float> mlir::lap::computeRopeTable(int64_t headDim, int64_t rotated,
                                               double theta,
                                               int64_t positions) {
  constexpr int64_t lowRows = RopeTableOp::lowRows;
  int64_t rows = lowRows + llvm::divideCeil(positions, lowRows);
  std::vector<float> table(rows * 2 * rotated);
  for (int64_t row = 0; row < rows; ++row) {
    double position = row < lowRows ? row : (row - lowRows) * lowRows;
    for (int64_t i = 0; i < rotated; ++i) {
      double angle =
          position * std::pow(theta, -2.0 * static_cast<double>(i) /
                                         static_cast<double>(headDim));
      table[row * 2 * rotated + i] = static_cast<float>(std::cos(angle));
      table[(row * 2 + 1) * rotated + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

namespace {

/// A piece of a weight on its way to the file.
struct Chunk {
  /// Index of the weight.
  size_t weight = 0;
  /// First row tile or byte, and how many.
  int64_t begin = 0;
  int64_t count = 0;
  bool last = false;
  /// What goes into the file, and where; the buffer is one of the writer's.
  std::vector<uint8_t> *bytes = nullptr;
  size_t size = 0;
  uint64_t offset = 0;
};

/// Buffers that are used again and again: memory fresh from the system costs
/// as much time as filling it.
class BufferPool {
public:
  std::vector<uint8_t> *take(size_t size) {
    std::lock_guard lock(mutex);
    if (free.empty())
      free.push_back(&buffers.emplace_back());
    std::vector<uint8_t> *buffer = free.back();
    free.pop_back();
    if (buffer->size() < size)
      buffer->resize(size);
    return buffer;
  }
  void give(std::vector<uint8_t> *buffer) {
    std::lock_guard lock(mutex);
    free.push_back(buffer);
  }

private:
  std::mutex mutex;
  std::deque<std::vector<uint8_t>> buffers;
  std::vector<std::vector<uint8_t> *> free;
};

/// What a chunk needs to know of its weight.
struct Source {
  /// A packed matrix.
  std::optional<WeightSource> matrix;
  /// A plain tensor.
  const lapidary::TensorInfo *tensor = nullptr;
  SourceFormat format = SourceFormat::BF16;
  /// A rope table, from when its first chunk is made to when its last one is
  /// written.
  std::vector<float> computed;
  /// Row tiles (packed) or bytes (plain).
  int64_t units = 0;
  int64_t unitsPerChunk = 0;
};

class WeightWriter {
public:
  WeightWriter(std::vector<StoredWeight> &weights,
               const lapidary::Checkpoint &checkpoint,
               const Importance &importance, lapidary::BundleFile &file)
      : weights(weights), checkpoint(checkpoint), importance(importance),
        file(file) {}

  Status prepare();
  Status run(const std::function<bool(uint64_t)> &progress);

private:
  Status process(Chunk &chunk);
  void fail(Status status) {
    std::lock_guard lock(mutex);
    if (error.ok())
      error = std::move(status);
  }

  std::vector<StoredWeight> &weights;
  const lapidary::Checkpoint &checkpoint;
  const Importance &importance;
  lapidary::BundleFile &file;
  std::vector<Source> sources;
  BufferPool pool;
  std::mutex mutex;
  Status error;
};

} // namespace

static std::vector<float> computeTable(RopeTableOp table) {
  if (isEmptyTable(table))
    return {0};
  return computeRopeTable(table.getHeadDim(), table.getRotated(),
                          table.getTheta().convertToDouble(),
                          table.getPositions());
}

Status WeightWriter::prepare() {
  int64_t encoded = 0, important = 0;
  for (StoredWeight &stored : weights) {
    Source source;
    source.units = stored.bytes;
    source.unitsPerChunk = chunkBytes;
    if (auto weight = dyn_cast<WeightOp>(stored.op)) {
      if (weight.getLayout() == Layout::Rows16) {
        source.matrix =
            LAPIDARY_TRY(WeightSource::open(checkpoint, weight, importance));
        source.units = source.matrix->getLayout().tiles;
        if (source.matrix->takesImportance()) {
          ++encoded;
          important += importance.contains(weight.getSymName());
        }
        source.unitsPerChunk =
            std::max<int64_t>(1, chunkBytes / (RowTileLayout::tileRows *
                                               source.matrix->getRowBytes()));
      } else {
        source.tensor = LAPIDARY_TRY(findSource(checkpoint, weight));
        source.format = getSourceFormat(
            cast<RankedTensorType>(weight.getType()).getElementType());
      }
    }
    sources.push_back(std::move(source));
  }
  if (importance.empty() || important)
    return {};
  if (!encoded)
    return lapidary::invalidArgument("the importance is of no use: no matrix "
                                     "is encoded with it; choose a scheme "
                                     "with --quant or --recipe");
  return lapidary::invalidArgument(
      "the importance has none of the " + std::to_string(encoded) +
      " matrices that are encoded: calibrate with the checkpoint that is "
      "compiled");
}

Status WeightWriter::process(Chunk &chunk) {
  const Source &source = sources[chunk.weight];
  // A plain unit is a byte.
  int64_t unitBytes =
      source.matrix ? source.matrix->getLayout().tileBytes : int64_t(1);
  chunk.offset = weights[chunk.weight].offset + chunk.begin * unitBytes;
  chunk.size = chunk.count * unitBytes;
  chunk.bytes = pool.take(chunk.size);
  std::span<uint8_t> bytes(chunk.bytes->data(), chunk.size);
  if (source.matrix) {
    size_t size =
        chunk.count * RowTileLayout::tileRows * source.matrix->getRowBytes();
    std::vector<uint8_t> *read = pool.take(size);
    Status status = source.matrix->packTiles(
        chunk.begin, chunk.count, {read->data(), size}, bytes.data());
    pool.give(read);
    return status;
  }
  if (source.tensor) {
    LAPIDARY_TRY(checkpoint.read(*source.tensor, chunk.begin, bytes));
    return checkFinite(checkpoint, *source.tensor, source.format, bytes,
                       chunk.begin / getSourceBytes(source.format));
  }
  std::memcpy(bytes.data(),
              reinterpret_cast<const uint8_t *>(source.computed.data()) +
                  chunk.begin,
              chunk.count);
  return {};
}

Status WeightWriter::run(const std::function<bool(uint64_t)> &progress) {
  size_t weight = 0;
  int64_t unit = 0;
  uint64_t written = 0;
  XXH3_state_t *hash = XXH3_createState();
  XXH3_128bits_reset(hash);
  auto next = [&](oneapi::tbb::flow_control &flow) -> Chunk {
    {
      std::lock_guard lock(mutex);
      if (!error.ok() || weight == weights.size()) {
        flow.stop();
        return {};
      }
    }
    if (auto table = dyn_cast<RopeTableOp>(weights[weight].op);
        table && unit == 0)
      sources[weight].computed = computeTable(table);
    Chunk chunk;
    chunk.weight = weight;
    chunk.begin = unit;
    chunk.count =
        std::min(sources[weight].unitsPerChunk, sources[weight].units - unit);
    unit += chunk.count;
    chunk.last = unit == sources[weight].units;
    if (chunk.last) {
      ++weight;
      unit = 0;
    }
    return chunk;
  };
  auto work = [&](Chunk chunk) -> Chunk {
    if (Status status = process(chunk); !status.ok())
      fail(std::move(status));
    return chunk;
  };
  // Writing stays with one thread: the system lets no two write a file at once,
  // and threads that wait for each other there do not pack.
  auto finish = [&](Chunk chunk) {
    if (chunk.bytes) {
      std::span<const uint8_t> bytes(chunk.bytes->data(), chunk.size);
      if (Status status = file.write(chunk.offset, bytes); !status.ok())
        fail(std::move(status));
      XXH3_128bits_update(hash, bytes.data(), bytes.size());
      pool.give(chunk.bytes);
    }
    written += chunk.size;
    if (chunk.last) {
      XXH128_hash_t digest = XXH3_128bits_digest(hash);
      weights[chunk.weight].hashLow = digest.low64;
      weights[chunk.weight].hashHigh = digest.high64;
      XXH3_128bits_reset(hash);
      sources[chunk.weight].computed = {};
    }
    if (!progress(written))
      fail(lapidary::cancelled("compiling was interrupted"));
  };
  using oneapi::tbb::filter_mode;
  // Each chunk in flight holds its source and its packed bytes.
  constexpr size_t inFlight = 6;
  oneapi::tbb::parallel_pipeline(
      inFlight,
      oneapi::tbb::make_filter<void, Chunk>(filter_mode::serial_in_order,
                                            next) &
          oneapi::tbb::make_filter<Chunk, Chunk>(filter_mode::parallel, work) &
          oneapi::tbb::make_filter<Chunk, void>(filter_mode::serial_in_order,
                                                finish));
  XXH3_freeState(hash);
  return error;
}

Status mlir::lap::writeWeights(std::vector<StoredWeight> &weights,
                               const lapidary::Checkpoint &checkpoint,
                               const Importance &importance,
                               lapidary::BundleFile &file,
                               const std::function<bool(uint64_t)> &progress) {
  WeightWriter writer(weights, checkpoint, importance, file);
  LAPIDARY_TRY(writer.prepare());
  return writer.run(progress);
}
