// Streams the weights of a module from the checkpoint into the bundle.
#include "compiler/WeightWriter.h"

#include "compiler/WeightPacking.h"
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
  const lapidary::TensorInfo *tensor = nullptr;
  SourceFormat format = SourceFormat::BF16;
  std::optional<RowTileLayout> layout;
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
               lapidary::BundleFile &file)
      : weights(weights), checkpoint(checkpoint), file(file) {}

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
  for (StoredWeight &stored : weights) {
    Source source;
    if (isa<RopeTableOp>(stored.op)) {
      source.units = stored.bytes;
      source.unitsPerChunk = chunkBytes;
    } else {
      auto weight = cast<WeightOp>(stored.op);
      source.tensor = checkpoint.find(weight.getSymName());
      if (!source.tensor)
        return lapidary::notFound("the checkpoint has no tensor " +
                                  weight.getSymName().str());
      auto type = cast<RankedTensorType>(weight.getType());
      source.format = getSourceFormat(type.getElementType());
      if (weight.getLayout() == Layout::Rows16) {
        source.layout = *getRowTileLayout(weight.getValueType(), weight);
        source.units = source.layout->tiles;
        int64_t tileSource =
            16 * source.layout->columns * type.getElementTypeBitWidth() / 8;
        source.unitsPerChunk = std::max<int64_t>(1, chunkBytes / tileSource);
      } else {
        source.units = stored.bytes;
        source.unitsPerChunk = chunkBytes;
      }
    }
    sources.push_back(std::move(source));
  }
  return {};
}

Status WeightWriter::process(Chunk &chunk) {
  const Source &source = sources[chunk.weight];
  // A plain unit is a byte.
  chunk.offset = weights[chunk.weight].offset +
                 chunk.begin * (source.layout ? source.layout->tileBytes : 1);
  auto checkFinite = [&](std::span<const uint8_t> bytes,
                         int64_t firstByte) -> Status {
    int64_t size = source.format == SourceFormat::F32 ? 4 : 2;
    int64_t bad =
        findNonFinite(source.format, bytes.data(), bytes.size() / size);
    if (bad < 0)
      return {};
    return lapidary::invalidData(
        source.tensor->name + " in " + checkpoint.fileOf(*source.tensor) +
        " has a value that is not finite (NaN or infinity) at element " +
        std::to_string(firstByte / size + bad) +
        ": the checkpoint is damaged, fetch it again");
  };
  auto allocate = [&](size_t size) {
    chunk.bytes = pool.take(size);
    chunk.size = size;
    return std::span(chunk.bytes->data(), size);
  };
  if (!source.layout) {
    std::span<uint8_t> bytes = allocate(chunk.count);
    if (source.tensor) {
      LAPIDARY_TRY(checkpoint.read(*source.tensor, chunk.begin, bytes));
      LAPIDARY_TRY(checkFinite(bytes, chunk.begin));
    } else {
      std::memcpy(bytes.data(),
                  reinterpret_cast<const uint8_t *>(source.computed.data()) +
                      chunk.begin,
                  chunk.count);
    }
    return {};
  }
  const RowTileLayout &layout = *source.layout;
  int64_t rowBytes =
      layout.columns * (source.format == SourceFormat::F32 ? 4 : 2);
  int64_t firstRow = chunk.begin * RowTileLayout::tileRows;
  int64_t rows =
      std::min(chunk.count * RowTileLayout::tileRows, layout.rows - firstRow);
  std::vector<uint8_t> *read = pool.take(rows * rowBytes);
  std::span<uint8_t> raw(read->data(), rows * rowBytes);
  LAPIDARY_TRY(checkpoint.read(*source.tensor, firstRow * rowBytes, raw));
  LAPIDARY_TRY(checkFinite(raw, firstRow * rowBytes));
  std::span<uint8_t> packed = allocate(chunk.count * layout.tileBytes);
  packTiles(layout, source.format, raw.data(), rows, chunk.count,
            packed.data());
  pool.give(read);
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
                               lapidary::BundleFile &file,
                               const std::function<bool(uint64_t)> &progress) {
  WeightWriter writer(weights, checkpoint, file);
  LAPIDARY_TRY(writer.prepare());
  return writer.run(progress);
}
