// Packing of weights into row tiles. The inner loops are plain, so that the
// compiler vectorizes them: packing keeps up with the disk.
#include "compiler/WeightPacking.h"

#include <cstring>
#include <vector>

using namespace mlir;
using namespace mlir::lap;
using lapidary::EncodedRow;

static constexpr int64_t tileRows = RowTileLayout::tileRows;
static constexpr int64_t wordBytes = RowTileLayout::wordBytes;

/// The words of a narrow plane of a row: column 4 k + j of a word is at bit
/// 8 j + bits k. `codes` has a byte a column, and zeros behind the last one.
static void fillWords(const FieldPlane &plane, const uint8_t *codes,
                      int64_t words, uint32_t *out) {
  int64_t steps = 8 / plane.bits;
  uint32_t mask = 0x01010101u * ((1u << plane.bits) - 1);
  for (int64_t word = 0; word < words; ++word) {
    uint32_t packed = 0;
    for (int64_t k = 0; k < steps; ++k) {
      uint32_t four;
      std::memcpy(&four, codes + (word * steps + k) * 4, 4);
      packed |= (four >> plane.shift & mask) << (k * plane.bits);
    }
    out[word] = packed;
  }
}

/// Interleaves the words of 16 rows: out[word][row]. A missing row is null.
static void interleave(const uint32_t *const *rows, int64_t words,
                       uint8_t *out) {
  for (int64_t word = 0; word < words; ++word) {
    uint32_t line[tileRows];
    for (int64_t row = 0; row < tileRows; ++row)
      line[row] = rows[row] ? rows[row][word] : 0;
    std::memcpy(out + word * sizeof line, line, sizeof line);
  }
}

static void packCode(const FieldLayout &layout, size_t field,
                     ArrayRef<const EncodedRow *> rows, uint8_t *out) {
  int64_t bytes = layout.field.elementBytes();
  // The row's own bytes, with zeros up to the last word's end.
  std::vector<uint8_t> codes(layout.count * bytes);
  std::vector<uint32_t> words[tileRows];
  for (const FieldPlane &plane : layout.planes) {
    int64_t count = layout.count * plane.bits / (8 * wordBytes);
    const uint32_t *lines[tileRows] = {};
    for (size_t row = 0; row < rows.size(); ++row) {
      std::span<const uint8_t> source = rows[row]->getBytes(field);
      std::memcpy(codes.data(), source.data(),
                  std::min(source.size(), codes.size()));
      words[row].resize(count);
      if (plane.bits >= 8)
        std::memcpy(words[row].data(), codes.data(), codes.size());
      else
        fillWords(plane, codes.data(), count, words[row].data());
      lines[row] = words[row].data();
    }
    interleave(lines, count, out + plane.offset);
  }
}

static void packOuter(const FieldLayout &layout, size_t field,
                      ArrayRef<const EncodedRow *> rows, uint8_t *out) {
  for (const FieldPlane &plane : layout.planes) {
    uint8_t *at = out + plane.offset;
    uint32_t mask = plane.bits == 32 ? ~0u : (1u << plane.bits) - 1;
    for (int64_t group = 0; group < layout.count; ++group)
      for (size_t row = 0; row < rows.size(); ++row) {
        uint32_t value = rows[row]->get(field, group) >> plane.shift & mask;
        int64_t bit = (group * tileRows + int64_t(row)) * plane.bits;
        if (plane.bits >= 8)
          std::memcpy(at + bit / 8, &value, plane.bits / 8);
        else
          at[bit / 8] |= uint8_t(value << (bit % 8));
      }
  }
}

void mlir::lap::packTile(const RowTileLayout &layout,
                         ArrayRef<const EncodedRow *> rows, uint8_t *out) {
  std::memset(out, 0, layout.tileBytes);
  for (auto [number, field] : llvm::enumerate(layout.fields)) {
    if (number == layout.code)
      packCode(field, number, rows, out);
    else
      packOuter(field, number, rows, out);
  }
}

/// The inverse of `fillWords` for one row of a tile: adds the plane's bits to
/// `codes`, a byte a column.
static void addWords(const FieldPlane &plane, const uint8_t *words,
                     int64_t count, uint8_t *codes) {
  int64_t steps = 8 / plane.bits;
  uint32_t mask = 0x01010101u * ((1u << plane.bits) - 1);
  for (int64_t word = 0; word < count; ++word) {
    uint32_t packed;
    std::memcpy(&packed, words + word * tileRows * wordBytes, wordBytes);
    for (int64_t k = 0; k < steps; ++k) {
      uint8_t *at = codes + (word * steps + k) * 4;
      uint32_t four;
      std::memcpy(&four, at, 4);
      four |= (packed >> (k * plane.bits) & mask) << plane.shift;
      std::memcpy(at, &four, 4);
    }
  }
}

static void unpackCode(const FieldLayout &layout, const uint8_t *tile,
                       int64_t row, std::span<uint8_t> out) {
  int64_t bytes = layout.field.elementBytes();
  std::vector<uint8_t> codes(layout.count * bytes);
  for (const FieldPlane &plane : layout.planes) {
    const uint8_t *words = tile + plane.offset + row * wordBytes;
    int64_t count = layout.count * plane.bits / (8 * wordBytes);
    if (plane.bits < 8) {
      addWords(plane, words, count, codes.data());
      continue;
    }
    for (int64_t word = 0; word < count; ++word)
      std::memcpy(codes.data() + word * wordBytes,
                  words + word * tileRows * wordBytes, wordBytes);
  }
  std::memcpy(out.data(), codes.data(), std::min(out.size(), codes.size()));
}

void mlir::lap::unpackRow(const RowTileLayout &layout, const uint8_t *tile,
                          int64_t row, EncodedRow &out) {
  for (auto [number, field] : llvm::enumerate(layout.fields)) {
    if (number == layout.code) {
      unpackCode(field, tile, row, out.getBytes(number));
      continue;
    }
    for (int64_t i = 0; i < field.count; ++i) {
      uint32_t value = 0;
      for (const FieldPlane &plane : field.planes) {
        int64_t bit = (i * tileRows + row) * plane.bits;
        uint32_t bits = 0;
        std::memcpy(&bits, tile + plane.offset + bit / 8,
                    std::max<int64_t>(plane.bits / 8, 1));
        uint32_t mask = plane.bits == 32 ? ~0u : (1u << plane.bits) - 1;
        value |= (bits >> (bit % 8) & mask) << plane.shift;
      }
      out.set(number, i, value);
    }
  }
}

lapidary::Status mlir::lap::decodeRows(
    const lapidary::Scheme &scheme, const RowTileLayout &layout, int64_t first,
    std::span<float> out,
    llvm::function_ref<lapidary::Status(int64_t tile, const uint8_t *&bytes)>
        getTile) {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  int64_t columns = layout.columns;
  if (first % columns || out.size() % columns)
    return lapidary::internalError("expected whole rows of a packed weight");
  lapidary::EncodedRow encoded(scheme, columns);
  const uint8_t *bytes = nullptr;
  int64_t row = first / columns;
  for (size_t at = 0; at < out.size(); at += columns, ++row) {
    if (at == 0 || row % tileRows == 0)
      LAPIDARY_TRY(getTile(row / tileRows, bytes));
    unpackRow(layout, bytes, row % tileRows, encoded);
    decodeRow(scheme, encoded, out.subspan(at, columns));
  }
  return {};
}

void mlir::lap::packFloatTiles(const RowTileLayout &layout,
                               const uint8_t *source, int64_t rowCount,
                               int64_t tiles, uint8_t *out) {
  const FieldLayout &code = layout.getCode();
  int64_t rowBytes = layout.columns * code.field.elementBytes();
  int64_t words = code.count * code.field.elementBytes() / wordBytes;
  int64_t whole = rowBytes / wordBytes, rest = rowBytes % wordBytes;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    uint8_t *at = out + tile * layout.tileBytes;
    const uint8_t *rows[tileRows] = {};
    for (int64_t i = 0; i < tileRows; ++i)
      if (tile * tileRows + i < rowCount)
        rows[i] = source + (tile * tileRows + i) * rowBytes;
    for (int64_t word = 0; word < words; ++word) {
      uint32_t line[tileRows] = {};
      int64_t bytes = word < whole ? wordBytes : rest;
      for (int64_t row = 0; row < tileRows; ++row)
        if (rows[row])
          std::memcpy(&line[row], rows[row] + word * wordBytes, bytes);
      std::memcpy(at + word * sizeof line, line, sizeof line);
    }
    int64_t written = words * tileRows * wordBytes;
    std::memset(at + written, 0, layout.tileBytes - written);
  }
}
