// Schemas that must hold at once, as one schema: allOf, $ref beside other
// keywords, anyOf beside others.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace lapidary {

using SchemaJson = nlohmann::ordered_json;

/// Whether a keyword says nothing about instances.
bool isAnnotation(std::string_view keyword);

/// {key: value}.
SchemaJson singleKeyword(const std::string &key, const SchemaJson &value);

/// Resolves references of one schema document and merges its parts.
class SchemaMerger {
public:
  /// The document must live as long.
  explicit SchemaMerger(const SchemaJson &document) : document(document) {}

  /// The schema that "#/..." leads to. `at` is for messages.
  Result<const SchemaJson *> resolve(const SchemaJson &reference,
                                     const std::string &at);
  /// The schema without `$ref` and `allOf`, which are merged into the rest.
  /// Nothing where no instance can satisfy it.
  Result<std::optional<SchemaJson>>
  expand(const SchemaJson &schema, const std::string &at, int depth = 0);
  Result<std::optional<SchemaJson>> merge(const SchemaJson &left,
                                          const SchemaJson &right,
                                          const std::string &at, int depth = 0);

private:
  Result<bool> mergeKeyword(SchemaJson &left, const std::string &key,
                            const SchemaJson &value, const std::string &at,
                            int depth);
  Result<bool> mergeProperties(SchemaJson &result, const SchemaJson &left,
                               const SchemaJson &right, const std::string &at,
                               int depth);
  /// Counts what is copied or looked through against the work that is left.
  Status charge(int64_t work, const std::string &at);
  const SchemaJson &document;
  /// Bounds what references to references, and merging large schemas with many
  /// others, can cost: values of JSON, each of which takes about 100 ns.
  int64_t workLeft = 4000000;
};

/// The names of types that a schema allows, "integer" beside "number" only
/// where it stands alone; empty: no `type`.
Result<std::vector<std::string>> schemaTypes(const SchemaJson &schema,
                                             const std::string &at);

} // namespace lapidary
