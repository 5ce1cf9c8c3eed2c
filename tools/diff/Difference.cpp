// Compares tensors, some rows at a time.
#include "tools/diff/Difference.h"

#include "compiler/ReferenceMath.h"

#include <oneapi/tbb/parallel_for.h>

#include <cmath>
#include <limits>
#include <mutex>

using namespace mlir;
using namespace mlir::lap;
using lapidary::Status;

/// Of a chunk: a few of them fit into a core's caches.
static constexpr int64_t chunkElements = 64 << 10;

void Difference::add(const Difference &other) {
  errors += other.errors;
  squaresA += other.squaresA;
  squaresB += other.squaresB;
  products += other.products;
  // A NaN stays.
  largest = !(other.largest <= largest) ? other.largest : largest;
  unequal += other.unequal;
}

double Difference::getRelativeRms() const {
  if (errors == 0)
    return 0;
  return squaresA > 0 ? std::sqrt(errors / squaresA)
                      : std::numeric_limits<double>::infinity();
}

double Difference::getCosine() const {
  if (errors == 0)
    return 1;
  double norms = std::sqrt(squaresA) * std::sqrt(squaresB);
  return norms > 0 ? products / norms : 0;
}

static void round(std::optional<SourceFormat> format, std::span<float> values) {
  if (format == SourceFormat::BF16)
    lapidary::roundToBf16(values);
  if (format == SourceFormat::F16)
    for (float &value : values)
      value = halfToFloat(floatToHalf(value));
}

static Difference compareValues(std::span<float> a, std::span<float> b,
                                std::optional<SourceFormat> format) {
  Difference sum;
  for (size_t i = 0; i < a.size(); ++i) {
    double x = a[i], y = b[i], error = x - y;
    sum.errors += error * error;
    sum.squaresA += x * x;
    sum.squaresB += y * y;
    sum.products += x * y;
    sum.largest =
        !(std::fabs(error) <= sum.largest) ? std::fabs(error) : sum.largest;
  }
  round(format, a);
  round(format, b);
  for (size_t i = 0; i < a.size(); ++i)
    sum.unequal += a[i] != b[i];
  return sum;
}

lapidary::Result<Difference>
mlir::lap::compareTensors(const WeightFile &fileA, size_t a,
                          const WeightFile &fileB, size_t b,
                          const std::function<bool(int64_t)> &progress) {
  const StoredTensor &tensor = fileA.getTensors()[a];
  std::optional<SourceFormat> format =
      tensor.format ? tensor.format : fileB.getTensors()[b].format;
  int64_t rows = tensor.rows, columns = tensor.columns;
  int64_t chunkRows =
      llvm::alignTo(std::max<int64_t>(1, chunkElements / columns), int64_t(16));
  int64_t chunks = llvm::divideCeil(rows, chunkRows);
  // Added up in order, so that the same files give the same digits.
  std::vector<Difference> parts(chunks);
  std::mutex mutex;
  Status status;
  oneapi::tbb::parallel_for(int64_t(0), chunks, [&](int64_t chunk) {
    {
      std::lock_guard lock(mutex);
      if (!status.ok())
        return;
    }
    int64_t first = chunk * chunkRows;
    int64_t count = std::min(chunkRows, rows - first) * columns;
    std::vector<float> valuesA(count), valuesB(count);
    Status own = fileA.readRows(a, first, valuesA);
    if (own.ok())
      own = fileB.readRows(b, first, valuesB);
    if (own.ok())
      parts[chunk] = compareValues(valuesA, valuesB, format);
    std::lock_guard lock(mutex);
    if (own.ok() && !progress(count))
      own = lapidary::cancelled("comparing was interrupted");
    if (!own.ok())
      status = std::move(own);
  });
  if (!status.ok())
    return status;
  Difference sum;
  for (const Difference &part : parts)
    sum.add(part);
  return sum;
}
