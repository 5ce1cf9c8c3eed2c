// Prepares rows and gives them to the encoder that suits the scheme.
#include "compiler/encoder/Encoder.h"

#include "compiler/encoder/AffineEncoder.h"
#include "compiler/encoder/NumericEncoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>

using namespace lapidary;

RowEncoder::RowEncoder(const Scheme &original, int64_t columns)
    : scheme(original), columns(columns) {
  if (std::optional<AffineForm> form = findAffineForm(scheme))
    affine = std::make_unique<AffineEncoder>(scheme, std::move(*form), columns);
  else
    numeric = std::make_unique<NumericEncoder>(scheme, columns);
}

RowEncoder::~RowEncoder() = default;

/// Weights of about 1. Those of no importance still count a little, so that
/// their codes are sensible.
static void setWeights(std::span<const float> importance,
                       std::span<float> weights) {
  float largest = 0;
  for (float value : importance)
    largest = std::isfinite(value) ? std::max(largest, value) : largest;
  if (!(largest > 0)) {
    std::fill(weights.begin(), weights.end(), 1.0f);
    return;
  }
  constexpr float least = 1e-6f;
  for (size_t i = 0; i < importance.size(); ++i)
    weights[i] = importance[i] > 0
                     ? std::clamp(importance[i] / largest, least, 1.0f)
                     : least;
}

void RowEncoder::encode(std::span<const float> values,
                        std::span<const float> importance,
                        SourceFormat rounding, EncodedRow &out) const {
  assert(static_cast<int64_t>(values.size()) == columns &&
         out.getColumns() == columns);
  assert(importance.empty() || importance.size() == values.size());
  int64_t padded = scheme.getPaddedColumns(columns);
  std::vector<float> x(padded), weights(padded);
  std::copy(values.begin(), values.end(), x.begin());
  if (scheme.strategy != EncodeStrategy::Weighted)
    importance = {};
  setWeights(importance, std::span(weights).first(columns));
  if (affine)
    affine->encode(x, weights, rounding, out);
  else
    numeric->encode(x, weights, out);
}
