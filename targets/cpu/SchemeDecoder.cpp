// Decodes row tiles (see the header).
#include "targets/cpu/SchemeDecoder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;
using lapidary::SchemeField;

static constexpr int64_t lanes = KernelEmitter::lanes;
static constexpr int64_t wordBits = 32;
/// Columns whose codes lie side by side, one a byte.
static constexpr int64_t quad = RowTileLayout::wordBytes;

/// The low bits of each byte of a word.
static uint32_t byteMask(int64_t bits) {
  return 0x01010101u * ((1u << bits) - 1);
}

FailureOr<SchemeDecoder> SchemeDecoder::create(KernelEmitter &e, Type matrix,
                                               Operation *from) {
  FailureOr<SchemeOp> scheme = getSchemeOp(matrix, from);
  FailureOr<RowTileLayout> layout = getRowTileLayout(matrix, from);
  if (failed(scheme) || failed(layout))
    return failure();
  return SchemeDecoder(e, std::move(*layout), *scheme);
}

static Value emitLookup(KernelEmitter &e, LookupOp lookup, Value index) {
  std::vector<uint32_t> table;
  bool isFloat = lookup.getType().isF32();
  if (isFloat)
    for (float value : cast<DenseF32ArrayAttr>(lookup.getTable()).asArrayRef())
      table.push_back(llvm::bit_cast<uint32_t>(value));
  else
    llvm::append_range(table,
                       cast<DenseI32ArrayAttr>(lookup.getTable()).asArrayRef());
  Value words = lookupWords(e, table, index);
  return isFloat ? asFloats(e, words) : words;
}

SchemeDecoder::SchemeDecoder(KernelEmitter &e, RowTileLayout numbers,
                             SchemeOp op)
    : e(&e), layout(std::move(numbers)), scheme(op),
      lookup(
          [&e](LookupOp op, Value index) { return emitLookup(e, op, index); }) {
  for (const FieldLayout &field : layout.fields)
    if (field.field.columns > 1) {
      groupColumns = std::gcd(groupColumns, field.field.columns);
      blockColumns = std::max(blockColumns, field.field.columns);
    }
  if (!scheme) {
    linear = true;
    return;
  }
  codeValues = getCodeValues(scheme);
  linear = codeValues.size() == 1 && isAffineIn(scheme, codeValues.front());
  if (linear)
    offset = hasAffineOffset(scheme, codeValues.front());
  const SchemeField &code = layout.getCode().field;
  if (prefersTables(code))
    for (Value value : codeValues)
      tables.push_back(getTable(value));
}

/// A table in a register costs a shift and a permutation a column, whatever
/// the region makes of a code. Where it takes two registers, plain conversions
/// of integers are better.
bool SchemeDecoder::prefersTables(const SchemeField &code) {
  constexpr unsigned tableBits = 4;
  if (code.bits > tableBits)
    return false;
  int64_t bits = e->getVariant().vectorBits;
  bool oneRegister = bits == 512 || (bits == 256 && code.bits < tableBits);
  return oneRegister || code.isFloat() ||
         !scheme.getDecode().getOps<LookupOp>().empty();
}

/// What a code value is for each code; in the linear form as f32.
std::vector<uint32_t> SchemeDecoder::getTable(Value codeValue) {
  std::vector<uint32_t> table = getCodeTable(scheme, codeValue);
  if (linear && codeValue.getType().isInteger(32))
    for (uint32_t &word : table)
      word = llvm::bit_cast<uint32_t>(
          static_cast<float>(static_cast<int32_t>(word)));
  return table;
}

int64_t SchemeDecoder::getSpanColumns(int64_t least, int64_t most) const {
  int64_t span = std::clamp(layout.getUnitColumns(), least, most);
  return groupColumns ? std::gcd(groupColumns, span) : span;
}

DecodeCloner SchemeDecoder::getCloner() {
  return DecodeCloner(*e, e->getLoc(), scheme, lanes, lookup);
}

int64_t SchemeDecoder::getColumnsOfBytes(int64_t bytes) const {
  return bytes * 8 / (lanes * layout.getCode().field.bits);
}

void SchemeDecoder::prefetch(const Stream &stream, Value at,
                             int64_t bytesAhead) {
  if (!prefetchColumns)
    return;
  // The second cache: it has room for more lines on their way than the first.
  constexpr unsigned secondCache = 2;
  memref::PrefetchOp::create(*e, stream.bytes.memref,
                             ValueRange{e->add(at, bytesAhead)},
                             /*isWrite=*/false, secondCache,
                             /*isDataCache=*/true);
}

Value SchemeDecoder::loadField(const Stream &stream, const FieldLayout &field,
                               Value index) {
  Value joined;
  for (const FieldPlane &plane : field.planes) {
    int64_t bytes = lanes * plane.bits / 8;
    Value at =
        e->add(e->add(stream.tileAt, e->mul(index, bytes)), plane.offset);
    if (int64_t period = field.field.columns)
      prefetch(stream, at, llvm::divideCeil(prefetchColumns, period) * bytes);
    Value words = shiftLeft(*e, loadPacked(*e, stream.bytes, at, plane.bits),
                            plane.shift);
    joined = joined ? orWords(*e, joined, words) : words;
  }
  return widenWords(*e, field.field, joined);
}

void SchemeDecoder::load(Group &group, const Stream &stream, Level level,
                         Value column) {
  for (auto [number, field] : llvm::enumerate(layout.fields)) {
    int64_t period = field.field.columns;
    Level own = period == SchemeField::perRow ? Level::Row
                : period == blockColumns && period != groupColumns
                    ? Level::Block
                    : Level::Group;
    if (field.field.isCode() || own != level)
      continue;
    Value index = own == Level::Row ? e->index(0) : e->div(column, period);
    group.outer.map(scheme.getDecode().getArgument(number),
                    loadField(stream, field, index));
  }
}

void SchemeDecoder::finish(Group &group) {
  if (!scheme)
    return;
  DecodeCloner cloner = getCloner();
  cloner.cloneOuter(group.outer);
  if (linear) {
    auto affine = cloner.cloneAffine(group.outer, codeValues.front());
    group.slope = affine.slope;
    group.offset = affine.offset;
    if (levels && levels->unit != 1) {
      Value unit = e->splat(levels->unit);
      group.slope = group.slope ? e->mulF(group.slope, unit) : unit;
    }
  }
}

SmallVector<Value> SchemeDecoder::walkGroups(ArrayRef<Stream> streams,
                                             SmallVector<Value> values,
                                             GroupBody body) {
  return walkGroups(streams, e->index(0), layout.columns, std::move(values),
                    body);
}

SmallVector<Value> SchemeDecoder::walkGroups(ArrayRef<Stream> streams,
                                             Value begin, int64_t columns,
                                             SmallVector<Value> values,
                                             GroupBody body) {
  int64_t group = groupColumns, block = blockColumns;
  using Groups = SmallVector<Group, 2>;
  auto load = [&](Groups &groups, Level level, Value column) {
    for (auto [own, stream] : llvm::zip(groups, streams))
      this->load(own, stream, level, column);
  };
  auto run = [&](Groups &groups, Value first, int64_t count,
                 ValueRange carried) {
    for (Group &own : groups)
      finish(own);
    return body(groups, first, count, carried);
  };
  Groups rows(streams.size());
  load(rows, Level::Row, {});
  if (!group)
    return run(rows, begin, columns, values);

  // `count` columns in steps: a loop over the whole ones, then the rest.
  using Part = function_ref<SmallVector<Value>(Value, int64_t, ValueRange)>;
  auto steps = [&](Value first, int64_t count, int64_t step, ValueRange initial,
                   Part part) {
    SmallVector<Value> carried(initial);
    int64_t whole = count / step * step;
    if (whole == step)
      carried = part(first, step, carried);
    else if (whole)
      carried = e->loop(
          first, e->add(first, whole), step, carried,
          [&](Value at, ValueRange next) { return part(at, step, next); });
    if (whole < count)
      carried = part(e->add(first, whole), count - whole, carried);
    return carried;
  };
  auto walkBlock = [&](const Groups &outer, Value first, int64_t count,
                       ValueRange carried) {
    return steps(first, count, group, carried,
                 [&](Value at, int64_t size, ValueRange next) {
                   Groups groups = outer;
                   load(groups, Level::Group, at);
                   return run(groups, at, size, next);
                 });
  };
  if (block == group)
    return walkBlock(rows, begin, columns, values);
  return steps(begin, columns, block, values,
               [&](Value at, int64_t size, ValueRange next) {
                 Groups blocks = rows;
                 load(blocks, Level::Block, at);
                 return walkBlock(blocks, at, size, next);
               });
}

SmallVector<SmallVector<Value>> SchemeDecoder::loadWords(const Stream &stream,
                                                         Value column,
                                                         int64_t count,
                                                         int64_t span) {
  constexpr int64_t vectorBytes = lanes * RowTileLayout::wordBytes;
  SmallVector<SmallVector<Value>> words;
  for (const FieldPlane &plane : layout.getCode().planes) {
    int64_t perWord = wordBits / plane.bits;
    Value first = e->div(column, perWord);
    SmallVector<Value> &own = words.emplace_back();
    for (int64_t i = 0; i < count; i += perWord) {
      Value at = e->mul(e->add(first, i / perWord), vectorBytes);
      at = e->add(e->add(stream.tileAt, at), plane.offset);
      prefetch(stream, at, prefetchColumns / perWord * vectorBytes);
      own.push_back(
          loadRaw(*e, stream.bytes, at, vectorBytes, e->getI32Type()));
    }
    if (span % perWord == 0)
      continue;
    Value quads = e->div(e->rem(column, perWord), quad);
    Value shift = arith::IndexCastOp::create(*e, e->getI32Type(),
                                             e->mul(quads, plane.bits));
    own[0] =
        arith::ShRUIOp::create(*e, own[0], e->broadcast(shift)).getResult();
  }
  return words;
}

SmallVector<SchemeDecoder::Placed>
SchemeDecoder::loadQuads(const Stream &stream, Value column, int64_t count,
                         int64_t span) {
  ArrayRef<FieldPlane> planes = layout.getCode().planes;
  auto words = loadWords(stream, column, count, span);
  SmallVector<Placed> quads;
  for (int64_t at = 0; at < count; at += quad) {
    Placed &four = quads.emplace_back();
    for (auto [plane, own] : llvm::zip(planes, words)) {
      int64_t perWord = wordBits / plane.bits;
      Placed bits = {own[at / perWord], at % perWord / quad * plane.bits};
      if (planes.size() > 1) {
        Value part = andWords(*e, shiftRight(*e, bits.words, bits.bit),
                              byteMask(plane.bits));
        part = shiftLeft(*e, part, plane.shift);
        bits = {four.words ? orWords(*e, four.words, part) : part, 0};
      }
      four = bits;
    }
  }
  return quads;
}

SmallVector<SchemeDecoder::Placed>
SchemeDecoder::loadCodes(const Stream &stream, Value column, int64_t count,
                         int64_t span) {
  SmallVector<Placed> codes;
  int64_t bits = layout.getCode().field.bits;
  if (bits > 8) {
    int64_t perWord = wordBits / bits;
    auto words = loadWords(stream, column, count, span);
    for (int64_t i = 0; i < count; ++i)
      codes.push_back({words[0][i / perWord], i % perWord * bits});
    return codes;
  }
  auto quads = loadQuads(stream, column, count, span);
  for (int64_t i = 0; i < count; ++i) {
    const Placed &four = quads[i / quad];
    codes.push_back({four.words, four.bit + 8 * (i % quad)});
  }
  return codes;
}

void SchemeDecoder::useIntegers() {
  integer = linear = true;
  tables.clear();
  if (!isAffine(scheme)) {
    levels = getIntegerLevels(scheme);
    codeValues = {levels->value};
  } else {
    codeValues = {getCenteredCode(scheme).value};
  }
  offset = hasAffineOffset(scheme, codeValues.front());
}

DotKind SchemeDecoder::getDotKind() const {
  constexpr unsigned levelBits = 8;
  if (levels)
    return cpu::getDotKind(e->getVariant(), /*isSigned=*/true, levelBits);
  const SchemeField &code = layout.getCode().field;
  return cpu::getDotKind(e->getVariant(),
                         code.kind == lapidary::FieldKind::Signed, code.bits);
}

SmallVector<Value> SchemeDecoder::getBytes(const Stream &stream, Value column,
                                           int64_t count, int64_t span) {
  const SchemeField &code = layout.getCode().field;
  SmallVector<Value> bytes;
  for (Placed four : loadQuads(stream, column, count, span)) {
    Value words = shiftRight(*e, four.words, four.bit);
    if (code.bits < 8)
      words = andWords(*e, words, byteMask(code.bits));
    if (levels) {
      constexpr uint8_t signBit = 0x80;
      SmallVector<uint8_t, 16> table;
      for (int8_t level : levels->levels)
        table.push_back(takesSignedBytes(getDotKind())
                            ? static_cast<uint8_t>(level)
                            : static_cast<uint8_t>(level) ^ signBit);
      bytes.push_back(lookupBytes(*e, table, words));
      continue;
    }
    // Two's complement to an excess of half the range.
    if (code.kind == lapidary::FieldKind::Signed &&
        !takesSignedBytes(getDotKind()))
      words = arith::XOrIOp::create(
          *e, words, splatWord(*e, 0x01010101u << (code.bits - 1)));
    bytes.push_back(words);
  }
  return bytes;
}

Value SchemeDecoder::widenCode(Placed code) {
  const SchemeField &field = layout.getCode().field;
  int64_t above = wordBits - code.bit - field.bits;
  if (field.kind == lapidary::FieldKind::Signed)
    return arith::ShRSIOp::create(*e, shiftLeft(*e, code.words, above),
                                  splatWord(*e, wordBits - field.bits));
  // bf16 is the upper half of an f32.
  if (field.kind == lapidary::FieldKind::BF16 && above == 0)
    return asFloats(*e, andWords(*e, code.words, 0xffff0000));
  Value words = shiftRight(*e, code.words, code.bit);
  // Conversions of 16 bits take those alone.
  if (above && field.bits < 16)
    words = andWords(*e, words, (1u << field.bits) - 1);
  return widenWords(*e, field, words);
}

SmallVector<Value> SchemeDecoder::getValues(const Stream &stream, Value column,
                                            int64_t count, int64_t span) {
  SmallVector<Value> values;
  for (Placed code : loadCodes(stream, column, count, span)) {
    if (!tables.empty()) {
      // A table repeats itself: bits above the code do not matter.
      Value words = shiftRight(*e, code.words, code.bit);
      values.push_back(linear ? asFloats(*e, lookupWords(*e, tables[0], words))
                              : words);
      continue;
    }
    Value value = widenCode(code);
    if (linear && scheme) {
      IRMapping mapping;
      mapping.map(scheme.getDecode().getArgument(scheme.getCode()), value);
      value = getCloner().cloneValue(mapping, codeValues.front());
      if (!codeValues.front().getType().isF32())
        value = arith::SIToFPOp::create(*e, e->vectorType(), value);
    }
    values.push_back(value);
  }
  return values;
}

Value SchemeDecoder::getWeight(const Group &group, Value value) {
  if (linear) {
    if (group.slope && group.offset)
      return e->fma(group.slope, value, group.offset);
    if (group.slope)
      return e->mulF(group.slope, value);
    return group.offset ? e->addF(value, group.offset) : value;
  }
  if (tables.empty())
    return getCloner().cloneInner(group.outer, value);
  IRMapping mapping = group.outer;
  for (auto [codeValue, table] : llvm::zip(codeValues, tables)) {
    Value words = lookupWords(*e, table, value);
    Type type = codeValue.getType();
    if (type.isInteger(1))
      words = arith::CmpIOp::create(*e, arith::CmpIPredicate::ne, words,
                                    splatWord(*e, 0));
    mapping.map(codeValue, type.isF32() ? asFloats(*e, words) : words);
  }
  auto weight = cast<YieldOp>(scheme.getDecode().front().back()).getValue();
  return getCloner().cloneValue(mapping, weight);
}
