// Decodes rows of a tile (see the header).
#include "targets/gpu/SchemeReader.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;
using lapidary::FieldKind;
using lapidary::SchemeField;

static constexpr int64_t wordBits = 32;
static constexpr int64_t tileRows = RowTileLayout::tileRows;
/// Columns whose codes lie side by side, one a byte.
static constexpr int64_t quad = RowTileLayout::wordBytes;

FailureOr<SchemeReader> SchemeReader::create(KernelEmitter &e, Type matrix,
                                             Operation *from) {
  FailureOr<SchemeOp> scheme = getSchemeOp(matrix, from);
  FailureOr<RowTileLayout> layout = getRowTileLayout(matrix, from);
  if (failed(scheme) || failed(layout))
    return failure();
  SchemeReader reader(e, std::move(*layout), *scheme);
  if (failed(reader.prepare(from)))
    return failure();
  return reader;
}

static std::vector<uint32_t> getTable(LookupOp lookup) {
  std::vector<uint32_t> table;
  if (auto floats = dyn_cast<DenseF32ArrayAttr>(lookup.getTable()))
    for (float value : floats.asArrayRef())
      table.push_back(llvm::bit_cast<uint32_t>(value));
  else
    llvm::append_range(table,
                       cast<DenseI32ArrayAttr>(lookup.getTable()).asArrayRef());
  return table;
}

LogicalResult SchemeReader::prepare(Operation *from) {
  for (const FieldLayout &field : layout.fields)
    if (field.field.columns > 1)
      groupColumns = std::gcd(groupColumns, field.field.columns);
  if (!scheme)
    return success();
  SmallVector<std::pair<LookupOp, std::vector<uint32_t>>> found;
  int64_t words = 0;
  for (auto op : scheme.getDecode().getOps<LookupOp>()) {
    found.push_back({op, getTable(op)});
    words += static_cast<int64_t>(found.back().second.size());
  }
  if (found.empty())
    return success();
  // What is left is for the kernel.
  if (words > KernelEmitter::mostSharedWords / 4)
    return from->emitOpError("looks up tables of ")
           << words << " numbers, but a GPU kernel has room for "
           << KernelEmitter::mostSharedWords / 4;
  Buffer memory = e->makeShared(words, e->getI32Type());
  int64_t at = 0;
  for (auto &[op, table] : found) {
    tables[op] = {memory, at};
    for (uint32_t entry : table) {
      e->when(e->equal(e->getThread(), e->index(at % KernelEmitter::threads)),
              [&] { e->storeWord(e->word(entry), memory, e->index(at)); });
      ++at;
    }
  }
  e->barrier();
  return success();
}

Value SchemeReader::lookUp(LookupOp op, Value index) {
  auto [memory, at] = tables.at(op);
  auto size = static_cast<uint32_t>(getTable(op).size());
  Value inside = e->toIndex(e->andWord(index, size - 1));
  Value found = e->loadWord(memory, e->add(inside, at));
  return op.getType().isF32() ? e->asFloat(found) : found;
}

DecodeCloner SchemeReader::getCloner() {
  // The cloner refers to it.
  lookup = [this](LookupOp op, Value index) { return lookUp(op, index); };
  return DecodeCloner(*e, e->getLoc(), scheme, /*lanes=*/0, lookup);
}

void SchemeReader::useIntegers() {
  if (isAffine(scheme)) {
    integer = getCenteredCode(scheme).value;
  } else {
    levels = getIntegerLevels(scheme);
    integer = levels->value;
  }
}

bool SchemeReader::hasSmallBytes() const {
  return !levels && layout.getCode().field.bits < 8;
}

Value SchemeReader::loadField(const Row &row, const FieldLayout &field,
                              Value number) {
  Value joined;
  Value place = e->add(e->mul(number, tileRows), row.row);
  for (const FieldPlane &plane : field.planes) {
    int64_t perWord = wordBits / plane.bits;
    Value at =
        e->add(e->add(row.tileAt, e->div(place, perWord)), plane.offset / quad);
    Value bits = e->loadWord(row.words, at);
    if (perWord > 1) {
      Value shift = e->toWord(e->mul(e->rem(place, perWord), plane.bits));
      bits = e->andWord(e->shiftRight(bits, shift), (1U << plane.bits) - 1);
    }
    bits = e->shiftLeft(bits, plane.shift);
    joined = joined ? e->orWord(joined, bits) : bits;
  }
  return widen(field.field, joined);
}

SchemeReader::Group SchemeReader::getGroup(const Row &row, Value column) {
  Group group;
  if (!scheme)
    return group;
  for (auto [number, field] : llvm::enumerate(layout.fields)) {
    if (field.field.isCode())
      continue;
    int64_t period = field.field.columns;
    Value at =
        period == SchemeField::perRow ? e->index(0) : e->div(column, period);
    group.outer.map(scheme.getDecode().getArgument(number),
                    loadField(row, field, at));
  }
  DecodeCloner cloner = getCloner();
  cloner.cloneOuter(group.outer);
  if (integer) {
    auto affine = cloner.cloneAffine(group.outer, integer);
    group.slope = affine.slope;
    group.offset = affine.offset;
    if (levels && levels->unit != 1) {
      Value unit = e->number(levels->unit);
      group.slope = group.slope ? e->mulF(group.slope, unit) : unit;
    }
  }
  return group;
}

SmallVector<Value> SchemeReader::loadQuads(const Row &row, Value column,
                                           int64_t count, int64_t aligned) {
  SmallVector<Value> quads(llvm::divideCeil(count, quad));
  for (const FieldPlane &plane : layout.getCode().planes) {
    int64_t perWord = wordBits / plane.bits;
    auto load = [&](Value first) {
      Value at = e->add(e->mul(e->div(first, perWord), tileRows), row.row);
      return e->loadWord(row.words,
                         e->add(e->add(row.tileAt, at), plane.offset / quad));
    };
    // A word is read once where it is known which columns it has; the k-th four
    // columns of a word are `plane.bits` k up.
    bool isWhole = aligned % perWord == 0;
    Value shared;
    for (auto [number, own] : llvm::enumerate(quads)) {
      int64_t offset = static_cast<int64_t>(number) * quad;
      Value bits;
      if (isWhole) {
        if (offset % perWord == 0)
          shared = load(e->add(column, offset));
        bits = e->shiftRight(shared, offset % perWord / quad * plane.bits);
      } else {
        Value first = e->add(column, offset);
        Value place = e->div(e->rem(first, perWord), quad);
        bits = e->shiftRight(load(first), e->toWord(e->mul(place, plane.bits)));
      }
      if (perWord > quad)
        bits = e->andWord(bits, 0x01010101U * ((1U << plane.bits) - 1));
      bits = e->shiftLeft(bits, plane.shift);
      own = own ? e->orWord(own, bits) : bits;
    }
  }
  return quads;
}

SmallVector<Value> SchemeReader::getBytes(const Row &row, Value column,
                                          int64_t count, int64_t aligned) {
  SmallVector<Value> words;
  for (Value four : loadQuads(row, column, count, aligned))
    words.push_back(toBytes(four));
  return words;
}

Value SchemeReader::toBytes(Value bytes) {
  const SchemeField &code = layout.getCode().field;
  if (levels) {
    // Four bytes of the table a word; an excess of 128 leaves no signs.
    constexpr uint8_t signBit = 0x80;
    SmallVector<uint32_t, 4> table;
    for (auto [i, level] : llvm::enumerate(levels->levels)) {
      if (i % quad == 0)
        table.push_back(0);
      table.back() |= uint32_t(static_cast<uint8_t>(level) ^ signBit)
                      << (8 * (i % quad));
    }
    Value result;
    for (int64_t byte = 0; byte < quad; ++byte) {
      Value index =
          e->andWord(e->shiftRight(bytes, 8 * byte),
                     static_cast<uint32_t>(levels->levels.size() - 1));
      Value entries = e->word(table.back());
      for (int64_t i = static_cast<int64_t>(table.size()) - 2; i >= 0; --i) {
        Value before = arith::CmpIOp::create(
            *e, arith::CmpIPredicate::ult, index,
            e->word(static_cast<uint32_t>((i + 1) * quad)));
        entries = e->select(before, e->word(table[i]), entries);
      }
      Value shift = e->shiftLeft(e->andWord(index, quad - 1), 3);
      Value level = e->andWord(e->shiftRight(entries, shift), 0xff);
      level = e->shiftLeft(level, 8 * byte);
      result = result ? e->orWord(result, level) : level;
    }
    return result;
  }
  // Two's complement to an excess of half the range.
  if (code.kind == FieldKind::Signed)
    bytes = arith::XOrIOp::create(*e, bytes,
                                  e->word(0x01010101U << (code.bits - 1)));
  return bytes;
}

SmallVector<Value> SchemeReader::loadCodes(const Row &row, Value column,
                                           int64_t count, int64_t aligned) {
  SmallVector<Value> codes;
  int64_t bits = layout.getCode().field.bits;
  if (bits <= 8) {
    for (Value four : loadQuads(row, column, count, aligned)) {
      for (int64_t byte = 0; byte < quad; ++byte)
        codes.push_back(e->andWord(e->shiftRight(four, 8 * byte), 0xff));
    }
    return codes;
  }
  int64_t perWord = wordBits / bits;
  for (int64_t i = 0; i < count; i += perWord) {
    Value at = e->div(e->add(column, i), perWord);
    // Nothing is behind the last word.
    if (layout.columns % quad)
      at = e->min(at, e->index((layout.columns - 1) / perWord));
    at = e->add(e->add(row.tileAt, e->add(e->mul(at, tileRows), row.row)),
                layout.getCode().planes[0].offset / quad);
    Value own = e->loadWord(row.words, at);
    if (perWord == 1) {
      codes.push_back(own);
    } else {
      codes.push_back(e->andWord(own, 0xffff));
      codes.push_back(e->shiftRight(own, 16));
    }
  }
  return codes;
}

SmallVector<Value> SchemeReader::getWeights(const Row &row, const Group &group,
                                            Value column, int64_t count,
                                            int64_t aligned) {
  SmallVector<Value> weights;
  for (Value code : loadCodes(row, column, count, aligned)) {
    Value value = widen(layout.getCode().field, code);
    weights.push_back(scheme ? getCloner().cloneInner(group.outer, value)
                             : value);
  }
  return weights;
}

/// A small float by way of f16: sign and magnitude are moved to where an f16
/// has them, and a power of two makes up for the exponents' biases.
Value SchemeReader::widenSmall(Value bits, int64_t exponentBits,
                               int64_t mantissaBits) {
  constexpr int64_t halfMantissa = 10, halfBias = 15, halfSign = 15;
  int64_t sign = exponentBits + mantissaBits;
  Value magnitude = e->shiftLeft(e->andWord(bits, (1U << sign) - 1),
                                 halfMantissa - mantissaBits);
  Value signs = e->shiftLeft(e->andWord(bits, 1U << sign), halfSign - sign);
  int64_t bias = (1 << (exponentBits - 1)) - 1;
  return e->mulF(e->widenHalf(e->orWord(magnitude, signs)),
                 e->number(std::ldexp(1.0F, halfBias - bias)));
}

Value SchemeReader::widen(const SchemeField &field, Value bits) {
  constexpr uint32_t nan = 0x7fc00000;
  auto equals = [&](Value value, uint32_t constant) -> Value {
    return arith::CmpIOp::create(*e, arith::CmpIPredicate::eq, value,
                                 e->word(constant));
  };
  switch (field.kind) {
  case FieldKind::Unsigned:
    return bits;
  case FieldKind::Signed: {
    int64_t unused = wordBits - field.bits;
    return arith::ShRSIOp::create(*e, e->shiftLeft(bits, unused),
                                  e->word(unused));
  }
  case FieldKind::F32:
    return e->asFloat(bits);
  case FieldKind::F16:
    return e->widenHalf(bits);
  case FieldKind::BF16:
    return e->asFloat(e->shiftLeft(bits, 16));
  case FieldKind::F8E4M3: {
    constexpr uint32_t magnitude = 0x7f;
    Value isNan = equals(e->andWord(bits, magnitude), magnitude);
    Value value = e->asWord(widenSmall(bits, 4, 3));
    return e->asFloat(e->select(isNan, e->word(nan), value));
  }
  case FieldKind::F8E5M2: // The upper half of an f16.
    return e->widenHalf(e->shiftLeft(bits, 8));
  case FieldKind::F8E8M0: {
    constexpr uint32_t smallest = 0x00400000, nanCode = 255;
    Value value = e->shiftLeft(bits, 23);
    value = e->select(equals(bits, 0), e->word(smallest), value);
    return e->asFloat(e->select(equals(bits, nanCode), e->word(nan), value));
  }
  case FieldKind::F4E2M1:
    return widenSmall(bits, 2, 1);
  }
  llvm_unreachable("unknown field kind");
}
