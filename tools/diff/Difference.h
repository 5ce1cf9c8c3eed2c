// How far the values of two tensors are apart.
#pragma once

#include "compiler/WeightFile.h"

#include <cstdint>

namespace mlir::lap {

/// Sums over elements; several can be added up.
struct Difference {
  /// Of (a - b)^2.
  double errors = 0;
  /// Of a^2, of b^2 and of a * b.
  double squaresA = 0;
  double squaresB = 0;
  double products = 0;
  /// The largest |a - b|; in units of the weights, as they are used.
  double largest = 0;
  /// Elements that differ when both are rounded to the checkpoint's type.
  int64_t unequal = 0;

  void add(const Difference &other);
  /// sqrt(sum (a - b)^2 / sum a^2)
  double getRelativeRms() const;
  double getCosine() const;
};

/// Compares tensor `a` of a file with tensor `b` of another one of the same
/// shape, on all threads. `progress` gets the elements done; false stops it.
lapidary::Result<Difference>
compareTensors(const WeightFile &fileA, size_t a, const WeightFile &fileB,
               size_t b, const std::function<bool(int64_t)> &progress);

} // namespace mlir::lap
