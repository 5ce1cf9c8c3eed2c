// The tensor types of GGUF files: how a block of each lies in the file, and
// which of our schemes holds the same fields. Blocks are taken apart, never
// quantized again: a row decodes to the same values, bit for bit.
#pragma once

#include "dialects/scheme/Scheme.h"
#include "frontends/formats/Safetensors.h"
#include "runtime/core/Status.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace lapidary {

/// What a field of the scheme must be for a type's blocks to fit it.
struct GgmlField {
  FieldKind kind;
  unsigned bits;
  /// As SchemeField's.
  int64_t columns;
};

struct GgmlType {
  /// The number in the file.
  uint32_t id;
  /// "Q4_K".
  const char *name;
  /// Elements of a block, along a row, and the block's bytes. 1 and the
  /// element's size for a plain type.
  int64_t columns;
  uint64_t bytes;
  /// Of a plain type.
  std::optional<ElementType> element = {};
  /// Of a type of blocks: the scheme's name and its fields, and what takes
  /// block `index` apart; `fields[i]` is where the row's values of field i are.
  const char *scheme = nullptr;
  std::span<const GgmlField> fields = {};
  void (*unpack)(const uint8_t *block, int64_t index,
                 uint8_t *const *fields) = nullptr;
};

/// Null for a type that is not known.
const GgmlType *findGgmlType(uint32_t id);
const GgmlType *findGgmlType(std::string_view name);

/// Whether `scheme`'s fields are those of the type's blocks; the built-in
/// scheme of that name is, but it is a file.
Status checkGgmlScheme(const GgmlType &type, const Scheme &scheme);

/// Takes a row of a type of blocks apart. `row` is of a scheme that
/// checkGgmlScheme has passed. `factor` multiplies all values; only NVFP4 has a
/// place for one that is not 1.
Status unpackGgmlRow(const GgmlType &type, std::span<const uint8_t> blocks,
                     float factor, EncodedRow &row);

} // namespace lapidary
