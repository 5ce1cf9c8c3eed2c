// Outer fields start with values that suit the whole row and are then improved
// one by one; a candidate costs the squared error of its columns with the
// nearest codes.
#include "compiler/encoder/NumericEncoder.h"

#include "compiler/encoder/FieldDomain.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <tuple>

using namespace lapidary;

struct NumericEncoder::Row {
  std::span<const float> x, weights;
  /// Raw values by field, as in an EncodedRow.
  std::vector<std::vector<uint32_t>> raws;
  // Scratch.
  std::vector<std::vector<uint32_t>> words;
  std::vector<float> decoded;
  std::vector<float> nearest;
};

static float toFloat(uint32_t bits) { return std::bit_cast<float>(bits); }

NumericEncoder::NumericEncoder(const Scheme &scheme, int64_t columns)
    : scheme(scheme), columns(columns),
      padded(scheme.getPaddedColumns(columns)), code(scheme.getCode()),
      wideCode(scheme.fields[code].bits > 8),
      plain(wideCode && scheme.decode.result == code), cellColumns(0) {
  if (!wideCode)
    codes = FieldDomain::listRaws(scheme.fields[code]);
  levels.resize(scheme.fields.size());
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &field = scheme.fields[f];
    if (f == code)
      continue;
    int64_t period =
        field.columns == SchemeField::perRow ? padded : field.columns;
    cellColumns = std::gcd(cellColumns, period);
    if (field.bits <= 8) {
      levels[f] = FieldDomain::listRaws(field);
      auto value = [&](uint32_t raw) {
        uint32_t word = widenField(field, raw);
        return field.isFloat() ? toFloat(word)
                               : float(static_cast<int32_t>(word));
      };
      std::sort(levels[f].begin(), levels[f].end(),
                [&](uint32_t a, uint32_t b) {
                  return value(a) != value(b) ? value(a) < value(b) : a < b;
                });
    }
    // A field that the program does not read has nothing to find.
    if (!scheme.decode.dependsOn(scheme.decode.result,
                                 static_cast<uint32_t>(f)))
      continue;
    for (int64_t begin = 0, i = 0; begin < padded; begin += period, ++i)
      instances.push_back({f, i, begin, begin + period});
  }
  if (cellColumns == 0)
    cellColumns = padded;
  // Fields of long periods first.
  std::sort(instances.begin(), instances.end(),
            [](const Instance &a, const Instance &b) {
              int64_t aLength = a.end - a.begin, bLength = b.end - b.begin;
              return std::tie(bLength, a.field, a.begin) <
                     std::tie(aLength, b.field, b.begin);
            });
}

void NumericEncoder::encode(std::span<const float> values,
                            std::span<const float> weights,
                            EncodedRow &out) const {
  if (plain)
    return encodePlain(values, out);
  Row row{values, weights, {}, {}, {}, {}};
  size_t fields = scheme.fields.size();
  row.words.resize(fields);
  row.raws.resize(fields);
  for (size_t f = 0; f < fields; ++f) {
    uint32_t neutral = levels[f].empty() ? narrowField(scheme.fields[f], 1.0f)
                                         : levels[f][levels[f].size() / 2];
    row.raws[f].assign(scheme.getCount(scheme.fields[f], columns), neutral);
  }
  chooseShared(row);
  bool search = scheme.strategy == EncodeStrategy::Search ||
                scheme.strategy == EncodeStrategy::Weighted;
  // A wide code makes up for what outer fields leave.
  if (!wideCode)
    improve(row, search ? 4 : 1);
  for (size_t f = 0; f < fields; ++f)
    for (int64_t i = 0; f != code && i < out.getCount(f); ++i)
      out.set(f, i, row.raws[f][i]);
  writeCodes(row, out);
}

void NumericEncoder::encodePlain(std::span<const float> values,
                                 EncodedRow &out) const {
  for (int64_t i = 0; i < padded; ++i)
    out.set(code, i, narrowField(scheme.fields[code], values[i]));
  for (size_t f = 0; f < scheme.fields.size(); ++f)
    for (int64_t i = 0; f != code && i < out.getCount(f); ++i)
      out.set(f, i, levels[f].empty() ? 0 : levels[f][0]);
}

/// For all values of a field at once: any magnitude, but one in four when each
/// costs an inversion of a wide code.
std::vector<uint32_t> NumericEncoder::listShared(size_t f) const {
  if (!levels[f].empty())
    return listCoarse(f, levels[f][0], 1);
  std::vector<uint32_t> out;
  for (int exponent = -24; exponent <= 24; exponent += wideCode ? 4 : 1)
    for (float sign : {1.0f, -1.0f})
      out.push_back(
          narrowField(scheme.fields[f], sign * std::ldexp(1.0f, exponent)));
  return out;
}

/// Values all over a field's range, those near `reach` for a wide float.
std::vector<uint32_t> NumericEncoder::listCoarse(size_t f, uint32_t current,
                                                 float reach) const {
  std::vector<uint32_t> out;
  constexpr size_t most = 24;
  if (!levels[f].empty()) {
    size_t count = std::min(levels[f].size(), most);
    for (size_t i = 0; i < count; ++i)
      out.push_back(levels[f][i * (levels[f].size() - 1) /
                              std::max<size_t>(count - 1, 1)]);
    return out;
  }
  const SchemeField &field = scheme.fields[f];
  float value = toFloat(widenField(field, current));
  for (int exponent = -9; exponent <= 2; ++exponent)
    for (float base : {reach, -reach, value})
      out.push_back(narrowField(field, std::ldexp(base, exponent)));
  out.push_back(narrowField(field, 0.0f));
  return out;
}

/// Values around the current one, closer with every sweep.
std::vector<uint32_t> NumericEncoder::listFine(size_t f, uint32_t current,
                                               int sweep) const {
  std::vector<uint32_t> out;
  const std::vector<uint32_t> &all = levels[f];
  if (!all.empty()) {
    auto at = std::find(all.begin(), all.end(), current) - all.begin();
    for (int64_t step : {-8, -4, -2, -1, 1, 2, 4, 8})
      if (int64_t to = at + step;
          to >= 0 && to < static_cast<int64_t>(all.size()))
        out.push_back(all[to]);
    return out;
  }
  const SchemeField &field = scheme.fields[f];
  float value = toFloat(widenField(field, current));
  for (float step : {-3.0f, -2.0f, -1.0f, 1.0f, 2.0f, 3.0f})
    out.push_back(narrowField(
        field, value + step * std::ldexp(std::fabs(value), -1 - 2 * sweep)));
  return out;
}

/// Gives all values of a field the same raw value, the one that suits a sample
/// of the row best; a few times over all fields, from a few starts.
void NumericEncoder::chooseShared(Row &row) const {
  if (instances.empty())
    return;
  auto extreme = std::max_element(row.x.begin(), row.x.end(),
                                  [](float a, float b) {
                                    return std::fabs(a) < std::fabs(b);
                                  }) -
                 row.x.begin();
  float reach = std::fabs(row.x[extreme]);
  // Cells, spread over the row, and the largest magnitude.
  int64_t cells = padded / cellColumns;
  int64_t used = std::min<int64_t>(cellColumns, 256);
  int64_t sampled = std::clamp<int64_t>(256 / cellColumns, 1, cells);
  auto evaluate = [&](size_t f, uint32_t raw) {
    int64_t cell = extreme / cellColumns * cellColumns;
    int64_t near =
        std::clamp(extreme - used / 2, cell, cell + cellColumns - used);
    double error = evaluateColumns(row, near, near + used, f, raw);
    for (int64_t i = 0; i < sampled; ++i) {
      int64_t begin = i * cells / sampled * cellColumns;
      error += evaluateColumns(row, begin, begin + used, f, raw);
    }
    return error;
  };
  std::vector<std::vector<uint32_t>> best;
  double bestError = INFINITY;
  const int starts = wideCode ? 1 : 3;
  for (int start = 0; start < starts; ++start) {
    for (size_t f = 0; f < scheme.fields.size(); ++f) {
      uint32_t raw =
          levels[f].empty()
              ? narrowField(scheme.fields[f], start == 0   ? 1.0f
                                              : start == 1 ? reach
                                                           : reach / 16)
              : levels[f][start * (levels[f].size() - 1) / 2];
      std::fill(row.raws[f].begin(), row.raws[f].end(), raw);
    }
    double error = INFINITY;
    for (int sweep = 0; sweep < starts; ++sweep) {
      size_t previous = scheme.fields.size();
      for (const Instance &instance : instances) {
        size_t f = instance.field;
        if (f == previous)
          continue;
        previous = f;
        uint32_t current = row.raws[f][0], chosen = current;
        std::vector<uint32_t> candidates =
            sweep == 0 ? listShared(f) : listCoarse(f, current, reach);
        candidates.push_back(current);
        for (uint32_t raw : candidates)
          if (double now = evaluate(f, raw); now < error) {
            error = now;
            chosen = raw;
          }
        std::fill(row.raws[f].begin(), row.raws[f].end(), chosen);
      }
    }
    if (error < bestError || best.empty()) {
      bestError = error;
      best = row.raws;
    }
  }
  row.raws = std::move(best);
}

void NumericEncoder::improve(Row &row, int sweeps) const {
  for (int sweep = 0; sweep < sweeps; ++sweep)
    for (const Instance &instance : instances) {
      size_t f = instance.field;
      uint32_t current = row.raws[f][instance.index];
      float reach = 0;
      for (int64_t i = instance.begin; i < instance.end; ++i)
        reach = std::max(reach, std::fabs(row.x[i]));
      std::vector<uint32_t> candidates = sweep == 0
                                             ? listCoarse(f, current, reach)
                                             : listFine(f, current, sweep);
      candidates.insert(candidates.begin(), current);
      tryCandidates(row, instance, candidates);
    }
}

/// Decodes all codes for each candidate of a field, in one cell.
void NumericEncoder::decodeCell(Row &row, int64_t begin, size_t field,
                                std::span<const uint32_t> candidates) const {
  size_t lanes = candidates.size() * codes.size();
  std::vector<const uint32_t *> inputs(scheme.fields.size());
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &it = scheme.fields[f];
    std::vector<uint32_t> &words = row.words[f];
    words.resize(lanes);
    int64_t index = it.columns == SchemeField::perRow ? 0 : begin / it.columns;
    for (size_t c = 0; c < candidates.size(); ++c) {
      uint32_t *to = words.data() + c * codes.size();
      if (f == code)
        for (size_t k = 0; k < codes.size(); ++k)
          to[k] = widenField(it, codes[k]);
      else
        std::fill_n(
            to, codes.size(),
            widenField(it, f == field ? candidates[c] : row.raws[f][index]));
    }
    inputs[f] = words.data();
  }
  row.decoded.resize(lanes);
  scheme.decode.run(inputs, static_cast<int64_t>(lanes), row.decoded.data());
}

/// Squared error of columns with the nearest of a cell's decoded values.
static double measure(std::span<const float> x, std::span<const float> weights,
                      std::span<const float> decoded,
                      std::vector<float> &nearest) {
  // Not a number and infinity are nearer to nothing.
  constexpr float far = 3e38f;
  nearest.assign(x.size(), far);
  for (float value : decoded)
    for (size_t i = 0; i < x.size(); ++i) {
      float distance = std::fabs(x[i] - value);
      nearest[i] = distance < nearest[i] ? distance : nearest[i];
    }
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i)
    error += double(weights[i]) * nearest[i] * nearest[i];
  return error;
}

void NumericEncoder::tryCandidates(Row &row, const Instance &instance,
                                   std::span<const uint32_t> candidates) const {
  std::vector<double> errors(candidates.size(), 0.0);
  for (int64_t begin = instance.begin; begin < instance.end;
       begin += cellColumns) {
    decodeCell(row, begin, instance.field, candidates);
    for (size_t c = 0; c < candidates.size(); ++c)
      errors[c] += measure(row.x.subspan(begin, cellColumns),
                           row.weights.subspan(begin, cellColumns),
                           std::span<const float>(row.decoded)
                               .subspan(c * codes.size(), codes.size()),
                           row.nearest);
  }
  size_t best = 0;
  for (size_t c = 1; c < candidates.size(); ++c)
    if (errors[c] < errors[best])
      best = c;
  row.raws[instance.field][instance.index] = candidates[best];
}

double NumericEncoder::evaluateColumns(Row &row, int64_t begin, int64_t end,
                                       size_t field, uint32_t raw) const {
  if (wideCode)
    return chooseWide(row, begin, end, field, raw, nullptr);
  uint32_t candidate[] = {raw};
  decodeCell(row, begin, field, candidate);
  return measure(row.x.subspan(begin, end - begin),
                 row.weights.subspan(begin, end - begin), row.decoded,
                 row.nearest);
}

/// Decodes one code a column.
void NumericEncoder::decodeCodes(Row &row, int64_t begin, int64_t end,
                                 size_t field, uint32_t raw,
                                 std::span<const uint32_t> raws) const {
  std::vector<const uint32_t *> inputs(scheme.fields.size());
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &it = scheme.fields[f];
    std::vector<uint32_t> &words = row.words[f];
    words.resize(end - begin);
    int64_t index = it.columns == SchemeField::perRow ? 0 : begin / it.columns;
    if (f == code)
      for (int64_t i = 0; i < end - begin; ++i)
        words[i] = widenField(it, raws[i]);
    else
      std::fill(words.begin(), words.end(),
                widenField(it, f == field ? raw : row.raws[f][index]));
    inputs[f] = words.data();
  }
  row.decoded.resize(end - begin);
  scheme.decode.run(inputs, end - begin, row.decoded.data());
}

/// Codes that are wide floats: the nearest of a grid over their range, then
/// steps that halve, all columns of a cell at once.
double NumericEncoder::chooseWide(Row &row, int64_t begin, int64_t end,
                                  size_t field, uint32_t raw,
                                  uint32_t *chosen) const {
  const SchemeField &it = scheme.fields[code];
  auto count = static_cast<size_t>(end - begin);
  constexpr float far = 3e38f;
  std::vector<uint32_t> best(count, 0), tried(count);
  std::vector<float> distances(count, far);
  auto attempt = [&] {
    decodeCodes(row, begin, end, field, raw, tried);
    for (size_t i = 0; i < count; ++i)
      if (float distance = std::fabs(row.x[begin + i] - row.decoded[i]);
          distance < distances[i]) {
        distances[i] = distance;
        best[i] = tried[i];
      }
  };
  uint32_t sign = 1u << (it.bits - 1);
  // Ordered as the values are: -1 for the most negative.
  int64_t largest = narrowField(it, std::numeric_limits<float>::max());
  auto fromOrder = [&](int64_t order) {
    order = std::clamp(order, -largest, largest);
    return static_cast<uint32_t>(order < 0 ? -order | sign : order);
  };
  auto toOrder = [&](uint32_t bits) {
    int64_t magnitude = bits & (sign - 1);
    return bits & sign ? -magnitude : magnitude;
  };
  for (size_t i = 0; i < count; ++i)
    tried[i] = narrowField(it, row.x[begin + i]);
  attempt();
  constexpr int64_t grid = 24;
  for (int64_t g = -grid; g <= grid; ++g) {
    std::fill(tried.begin(), tried.end(), fromOrder(largest / grid * g));
    attempt();
  }
  for (int64_t step = largest / grid; step > 0; step /= 2)
    for (int64_t direction : {-step, step}) {
      std::vector<uint32_t> from = best;
      for (size_t i = 0; i < count; ++i)
        tried[i] = fromOrder(toOrder(from[i]) + direction);
      attempt();
    }
  double error = 0;
  for (size_t i = 0; i < count; ++i)
    error += double(row.weights[begin + i]) * distances[i] * distances[i];
  if (chosen)
    std::copy(best.begin(), best.end(), chosen);
  return error;
}

void NumericEncoder::writeCodes(Row &row, EncodedRow &out) const {
  size_t none = scheme.fields.size();
  std::vector<uint32_t> chosen(cellColumns);
  for (int64_t begin = 0; begin < padded; begin += cellColumns) {
    if (wideCode) {
      chooseWide(row, begin, begin + cellColumns, none, 0, chosen.data());
    } else {
      uint32_t unused[] = {0};
      decodeCell(row, begin, none, unused);
      for (int64_t i = 0; i < cellColumns; ++i) {
        size_t best = 0;
        float least = INFINITY;
        for (size_t k = 0; k < codes.size(); ++k)
          if (float distance = std::fabs(row.x[begin + i] - row.decoded[k]);
              distance < least) {
            least = distance;
            best = k;
          }
        chosen[i] = codes[best];
      }
    }
    for (int64_t i = 0; i < cellColumns; ++i)
      out.set(code, begin + i, chosen[i]);
  }
}
