// What each model level op means; the formulas are in LapModelOps.td, the loops
// in ReferenceMath.cpp.
#include "compiler/Reference.h"
#include "compiler/ReferenceMath.h"
#include "compiler/SourceFormat.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace mlir::lap;

FailureOr<WeightOp> ReferenceInterpreter::findWeight(Operation *user,
                                                     Value value) {
  auto weight = dyn_cast_or_null<WeightOp>(slots.lookup(value).symbol);
  if (!weight)
    return user->emitOpError("expected a lap.weight as its weight");
  return weight;
}

static ArrayRef<int64_t> getShape(WeightOp weight) {
  return cast<RankedTensorType>(weight.getType()).getShape();
}

FailureOr<std::vector<float>> ReferenceInterpreter::loadWeight(Operation *user,
                                                               Value value) {
  std::vector<float> values;
  if (!value)
    return values;
  auto weight = findWeight(user, value);
  if (failed(weight))
    return failure();
  values.resize(size_t(ShapedType::getNumElements(getShape(*weight))));
  lapidary::Status status = weights.read(*weight, 0, values);
  if (!status.ok())
    return user->emitOpError(status.message());
  return values;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(EmbeddingOp op) {
  auto table = findWeight(op, op.getTable());
  if (failed(table))
    return failure();
  const std::vector<int32_t> &ids = get(op.getIds()).indices;
  int64_t rows = getShape(*table)[0], width = getShape(*table)[1];
  std::vector<float> values(ids.size() * size_t(width));
  for (auto [t, id] : llvm::enumerate(ids)) {
    if (id < 0 || id >= rows)
      return op.emitOpError("expected ids below ") << rows << ", found " << id;
    auto row = std::span(values).subspan(t * size_t(width), size_t(width));
    lapidary::Status status = weights.read(*table, int64_t(id) * width, row);
    if (!status.ok())
      return op.emitOpError(status.message());
    for (float &value : row)
      value *= op.getScale().convertToFloat();
  }
  return ReferenceTensor::ofValues({int64_t(ids.size()), width},
                                   std::move(values));
}

FailureOr<ReferenceTensor>
ReferenceInterpreter::compute(ScatterEmbeddingsOp op) {
  ReferenceTensor result = get(op.getEmbeddings());
  const ReferenceTensor &media = get(op.getMedia());
  auto width = size_t(result.shape[1]);
  for (auto [t, row] : llvm::enumerate(get(op.getRows()).indices)) {
    if (row >= media.shape[0])
      return op.emitOpError("expected rows below ")
             << media.shape[0] << ", found " << row;
    if (row >= 0)
      std::copy_n(media.values.begin() + int64_t(size_t(row) * width), width,
                  result.values.begin() + int64_t(t * width));
  }
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(RmsNormOp op) {
  auto weight = loadWeight(op, op.getWeight());
  if (failed(weight))
    return failure();
  ReferenceTensor result = get(op.getInput());
  lapidary::rmsNorm(result.values, int64_t(op.getGroup()), *weight,
                    op.getEps().convertToFloat());
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(LayerNormOp op) {
  auto weight = loadWeight(op, op.getWeight()),
       bias = loadWeight(op, op.getBias());
  if (failed(weight) || failed(bias))
    return failure();
  ReferenceTensor result = get(op.getInput());
  lapidary::layerNorm(result.values, *weight, *bias,
                      op.getEps().convertToFloat());
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(LinearOp op) {
  auto weight = findWeight(op, op.getWeight());
  auto bias = loadWeight(op, op.getBias());
  if (failed(weight) || failed(bias))
    return failure();
  const ReferenceTensor &input = get(op.getInput());
  if (linearObserver)
    linearObserver(op, input);
  int64_t tokens = input.shape[0], rows = getShape(*weight)[0],
          columns = getShape(*weight)[1];
  std::vector<float> rounded = input.values;
  auto rounding = activations.find(weight->getSymName());
  switch (rounding == activations.end() ? Activations::F32 : rounding->second) {
  case Activations::F32:
    break;
  case Activations::BF16:
    lapidary::roundToBf16(rounded);
    break;
  case Activations::Int8Block:
    lapidary::roundToInt8(rounded, columns, lapidary::int8BlockColumns);
    break;
  case Activations::Int8Token:
    lapidary::roundToInt8(rounded, columns, columns);
    break;
  }
  std::vector<float> values(size_t(tokens * rows));
  lapidary::Status status = lapidary::multiplyStreamed(
      rows, columns,
      [&](int64_t first, std::span<float> out) {
        return weights.read(*weight, first * columns, out);
      },
      rounded, tokens, *bias, values);
  if (!status.ok())
    return op.emitOpError(status.message());
  return ReferenceTensor::ofValues({tokens, rows}, std::move(values));
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(RopeOp op) {
  auto table =
      dyn_cast_or_null<RopeTableOp>(slots.lookup(op.getTable()).symbol);
  if (!table || table.getHeadDim() != op.getHeadDim())
    return op.emitOpError("expected a lap.rope_table of its head_dim");
  ReferenceTensor result = get(op.getInput());
  int64_t past = slots[op.getPast()].index + int64_t(op.getAhead()),
          positions = int64_t(table.getPositions());
  if (past > positions - result.shape[0])
    return op.emitOpError("expected positions below ")
           << positions << ", found " << past + result.shape[0] - 1;
  lapidary::rotate(result.values, result.shape[0], int64_t(table.getHeadDim()),
                   int64_t(table.getRotated()),
                   table.getTheta().convertToDouble(), past);
  return result;
}

/// Rounds heads of `width` elements to a format of caches.
static void roundHeads(KvFormat format, int64_t width,
                       std::span<float> values) {
  switch (format) {
  case KvFormat::F32:
    return;
  case KvFormat::F16:
    for (float &value : values)
      value = halfToFloat(floatToHalf(value));
    return;
  case KvFormat::BF16:
    return lapidary::roundToBf16(values);
  case KvFormat::Q8_0:
    for (size_t head = 0; head < values.size(); head += size_t(width))
      for (int64_t first = 0; first < width; first += KvCacheType::scaleGroup) {
        auto run = values.subspan(
            head + size_t(first),
            size_t(std::min(KvCacheType::scaleGroup, width - first)));
        float largest = 0;
        for (float value : run)
          largest = std::max(largest, std::fabs(value));
        float scale = halfToFloat(floatToHalf(largest / 127));
        float inverse = scale > 0 ? 1 / scale : 0;
        for (float &value : run)
          value = std::nearbyint(std::clamp(value * inverse, -127.0f, 127.0f)) *
                  scale;
      }
  }
}

/// Elements of keys that do not turn, where keys are their values times a
/// weight, are made of the rounded values: see `rotated` of !lap.kv_cache.
LogicalResult ReferenceInterpreter::roundRows(KvUpdateOp op,
                                              std::span<float> keys,
                                              std::span<float> values) {
  if (caches == KvFormat::F32)
    return success();
  int64_t width = op.getCache().getType().getHeadDim(), half = width / 2;
  roundHeads(caches, width, values);
  auto rope = op.getKeys().getDefiningOp<RopeOp>();
  auto keyNorm =
      rope ? rope.getInput().getDefiningOp<RmsNormOp>() : RmsNormOp();
  auto valueNorm = op.getValues().getDefiningOp<RmsNormOp>();
  int64_t rotated =
      rope ? cast<RankedTensorType>(rope.getTable().getType()).getDimSize(1) / 2
           : 0;
  bool shared = keyNorm && valueNorm && keyNorm.getWeight() &&
                !valueNorm.getWeight() && rotated > 0 && rotated < half &&
                keyNorm.getInput() == valueNorm.getInput();
  if (!shared) {
    roundHeads(caches, width, keys);
    return success();
  }
  // The norm was its last use, perhaps: look it up once more.
  if (auto read = keyNorm.getWeight().getDefiningOp<GetWeightOp>())
    slots[read.getResult()].symbol = module.lookupSymbol(read.getWeightAttr());
  auto weight = loadWeight(op, keyNorm.getWeight());
  if (failed(weight))
    return failure();
  std::vector<float> turned(size_t(2 * rotated));
  for (size_t head = 0; head < keys.size(); head += size_t(width)) {
    std::span<float> key = keys.subspan(head, size_t(width));
    for (int64_t i = 0; i < rotated; ++i) {
      turned[size_t(i)] = key[size_t(i)];
      turned[size_t(rotated + i)] = key[size_t(half + i)];
    }
    roundHeads(caches, 2 * rotated, turned);
    for (int64_t i = 0; i < width; ++i)
      key[size_t(i)] = (*weight)[size_t(i)] * values[head + size_t(i)];
    for (int64_t i = 0; i < rotated; ++i) {
      key[size_t(i)] = turned[size_t(i)];
      key[size_t(half + i)] = turned[size_t(rotated + i)];
    }
  }
  return success();
}

LogicalResult ReferenceInterpreter::update(KvUpdateOp op) {
  auto symbol = dyn_cast_or_null<KvCacheOp>(slots.lookup(op.getCache()).symbol);
  if (!symbol)
    return op.emitOpError("expected a lap.kv_cache");
  Cache &cache = contents[symbol.getSymName()];
  const ReferenceTensor &keys = get(op.getKeys()),
                        &values = get(op.getValues());
  int64_t past = slots[op.getPast()].index;
  if (past > cache.positions)
    return op.emitOpError("expected past of at most the cache's ")
           << cache.positions << " positions, found " << past;
  auto kept = size_t(past * keys.shape[1]);
  cache.keys.resize(kept);
  cache.keys.insert(cache.keys.end(), keys.values.begin(), keys.values.end());
  cache.values.resize(kept);
  cache.values.insert(cache.values.end(), values.values.begin(),
                      values.values.end());
  if (failed(roundRows(op, std::span(cache.keys).subspan(kept),
                       std::span(cache.values).subspan(kept))))
    return failure();
  cache.positions = past + keys.shape[0];
  return success();
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(AttentionOp op) {
  auto symbol = dyn_cast_or_null<KvCacheOp>(slots.lookup(op.getCache()).symbol);
  if (!symbol)
    return op.emitOpError("expected a lap.kv_cache");
  const Cache &cache = contents[symbol.getSymName()];
  const ReferenceTensor &query = get(op.getQuery());
  KvCacheType type = symbol.getType();
  int64_t past = slots[op.getPast()].index, tokens = query.shape[0];
  if (past + tokens > cache.positions)
    return op.emitOpError("expected a cache of ")
           << past + tokens << " positions, found " << cache.positions;
  std::vector<int32_t> ends(size_t(tokens), 0);
  for (int64_t t = 0; t < tokens; ++t) {
    ends[size_t(t)] =
        int32_t(op.getVisibleEnd() ? get(op.getVisibleEnd()).indices[size_t(t)]
                                   : past + t + 1);
    if (ends[size_t(t)] > cache.positions)
      return op.emitOpError("expected visible ends of at most ")
             << cache.positions << ", found " << ends[size_t(t)]
             << " for token " << t;
  }
  lapidary::AttentionShape shape{query.shape[1] / type.getHeadDim(),
                                 type.getHeads(), type.getHeadDim(),
                                 type.getWindow()};
  std::vector<float> values(query.values.size());
  lapidary::attend(shape, query.values, cache.keys, cache.values, past, ends,
                   values);
  return ReferenceTensor::ofValues(query.shape, std::move(values));
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(GeluOp op) {
  ReferenceTensor result = get(op.getInput());
  lapidary::gelu(result.values);
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(AddOp op) {
  ReferenceTensor result = get(op.getLhs());
  for (auto [value, other] :
       llvm::zip_equal(result.values, get(op.getRhs()).values))
    value += other;
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(MultiplyOp op) {
  ReferenceTensor result = get(op.getLhs());
  for (auto [value, other] :
       llvm::zip_equal(result.values, get(op.getRhs()).values))
    value *= other;
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(ConcatOp op) {
  const ReferenceTensor &lhs = get(op.getLhs()), &rhs = get(op.getRhs());
  std::vector<float> values;
  for (int64_t t = 0; t < lhs.shape[0]; ++t)
    for (const ReferenceTensor *part : {&lhs, &rhs})
      values.insert(values.end(), part->values.begin() + t * part->shape[1],
                    part->values.begin() + (t + 1) * part->shape[1]);
  return ReferenceTensor::ofValues({lhs.shape[0], lhs.shape[1] + rhs.shape[1]},
                                   std::move(values));
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(ScaleOp op) {
  auto scalar = loadWeight(op, op.getScalar());
  if (failed(scalar))
    return failure();
  ReferenceTensor result = get(op.getInput());
  for (float &value : result.values)
    value *= scalar->front();
  return result;
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(SoftcapOp op) {
  ReferenceTensor result = get(op.getInput());
  lapidary::softcap(result.values, op.getCap().convertToFloat());
  return result;
}

FailureOr<ReferenceTensor>
ReferenceInterpreter::compute(PositionEmbeddingOp op) {
  auto table = loadWeight(op, op.getTable());
  if (failed(table))
    return failure();
  ArrayRef<int64_t> shape =
      cast<RankedTensorType>(op.getTable().getType()).getShape();
  const ReferenceTensor &positions = get(op.getPositions());
  int64_t tokens = positions.shape[0], width = shape[2];
  std::vector<float> values(size_t(tokens * width), 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t axis = 0; axis < 2; ++axis) {
      int32_t place = positions.indices[size_t(2 * t + axis)];
      if (place < 0 || place >= shape[0])
        return op.emitOpError("expected positions below ")
               << shape[0] << ", found " << place;
      for (int64_t i = 0; i < width; ++i)
        values[size_t(t * width + i)] +=
            (*table)[size_t((place * 2 + axis) * width + i)];
    }
  }
  return ReferenceTensor::ofValues({tokens, width}, std::move(values));
}
