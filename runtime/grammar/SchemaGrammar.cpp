// From a schema to its rule: references, alternatives, enumerations, types.
#include "runtime/grammar/SchemaGrammar.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lapidary {
namespace {

constexpr int deepestSchema = 64;
constexpr size_t longestSchema = size_t(1) << 20;

/// What asserts something and cannot be kept. With these values they assert
/// nothing.
struct Unsupported {
  std::string_view keyword, harmless;
};
constexpr std::array<Unsupported, 20> unsupportedKeywords = {{
    {"not", ""},
    {"if", ""},
    {"then", ""},
    {"else", ""},
    {"dependentSchemas", "{}"},
    {"dependentRequired", "{}"},
    {"dependencies", "{}"},
    {"patternProperties", "{}"},
    {"contains", ""},
    {"minContains", ""},
    {"maxContains", ""},
    {"unevaluatedProperties", "true"},
    {"unevaluatedItems", "true"},
    {"uniqueItems", "false"},
    {"multipleOf", "1"},
    {"$dynamicRef", ""},
    {"$recursiveRef", ""},
    {"extends", ""},
    {"disallow", ""},
    {"divisibleBy", "1"},
}};

/// The type that a schema without `type` speaks about: of all instances that
/// it allows, those are meant.
const char *impliedType(const SchemaJson &schema) {
  constexpr std::array<std::pair<const char *, const char *>, 20> implied = {{
      {"properties", "object"},
      {"required", "object"},
      {"additionalProperties", "object"},
      {"propertyNames", "object"},
      {"minProperties", "object"},
      {"maxProperties", "object"},
      {"items", "array"},
      {"prefixItems", "array"},
      {"minItems", "array"},
      {"maxItems", "array"},
      {"additionalItems", "array"},
      {"pattern", "string"},
      {"format", "string"},
      {"minLength", "string"},
      {"maxLength", "string"},
      {"minimum", "number"},
      {"maximum", "number"},
      {"exclusiveMinimum", "number"},
      {"exclusiveMaximum", "number"},
      {"multipleOf", "integer"},
  }};
  for (const auto &[keyword, type] : implied)
    if (schema.contains(keyword))
      return type;
  return nullptr;
}

bool onlyAnnotations(const SchemaJson &schema, std::string_view except) {
  for (const auto &[key, value] : schema.items())
    if (key != except && !isAnnotation(key))
      return false;
  return true;
}

std::string toText(const SchemaJson &json) {
  return json.dump(-1, ' ', false, SchemaJson::error_handler_t::replace);
}

/// Deeper ones would exhaust the stack of what follows them.
bool isTooDeep(const SchemaJson &json, int depth = 0) {
  if (depth > deepestSchema)
    return true;
  return json.is_structured() &&
         std::any_of(json.begin(), json.end(), [&](const SchemaJson &part) {
           return isTooDeep(part, depth + 1);
         });
}

/// Whether a value is of a type, as JSON Schema counts: 1.0 is an integer.
bool isOfType(const SchemaJson &value, std::string_view type) {
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number() &&
            value.get<double>() == std::floor(value.get<double>()));
  return type == "object"    ? value.is_object()
         : type == "array"   ? value.is_array()
         : type == "string"  ? value.is_string()
         : type == "number"  ? value.is_number()
         : type == "boolean" ? value.is_boolean()
                             : value.is_null();
}

} // namespace

Result<GrammarBuilder::Rule> SchemaGrammar::compile(const SchemaJson &schema,
                                                    const std::string &at,
                                                    int depth) {
  if (depth > deepestSchema)
    return unsupported(concat("the schema at '", at, "': more than ",
                              deepestSchema, " levels deep"));
  std::string text = toText(schema);
  workLeft -= 1 + static_cast<int64_t>(text.size() / 256);
  if (workLeft < 0 || builder.full())
    return unsupported(concat("the schema at '", at,
                              "': it is too large once its references are "
                              "followed"));
  if (auto found = known.find(text); found != known.end())
    return found->second;
  Rule rule = builder.newRule(at.empty() ? "the schema" : at);
  known.emplace(std::move(text), rule);
  State from = builder.newState(), to = builder.newState();
  LAPIDARY_TRY(addSchema(schema, at, depth, from, to));
  builder.define(rule, from, to);
  return rule;
}

Status SchemaGrammar::addSchema(const SchemaJson &schema, const std::string &at,
                                int depth, State from, State to) {
  if (schema.is_boolean() && !schema.get<bool>())
    return {}; // No way from `from` to `to`: no instance.
  if (!schema.is_boolean() && !schema.is_object())
    return invalidArgument(
        concat("the schema at '", at, "': expected an object or a boolean"));
  const auto has = [&](const char *key) {
    return schema.is_object() && schema.contains(key);
  };
  if (has("$ref") && onlyAnnotations(schema, "$ref")) {
    const SchemaJson *target = LAPIDARY_TRY(merger.resolve(schema["$ref"], at));
    builder.addCall(from,
                    LAPIDARY_TRY(compile(
                        *target, schema["$ref"].get<std::string>(), depth + 1)),
                    to);
    return {};
  }
  if (has("$ref") || has("allOf")) {
    std::optional<SchemaJson> merged = LAPIDARY_TRY(merger.expand(schema, at));
    return merged ? addSchema(*merged, at, depth + 1, from, to) : Status();
  }
  for (const char *keyword : {"anyOf", "oneOf"})
    if (has(keyword))
      return addBranches(schema, keyword, at, depth, from, to);
  if (schema.is_object())
    for (const Unsupported &entry : unsupportedKeywords)
      if (auto found = schema.find(std::string(entry.keyword));
          found != schema.end() && toText(*found) != entry.harmless)
        return unsupported(concat("the schema at '", at, "/", entry.keyword,
                                  "': '", entry.keyword, "' is not supported"));
  std::vector<std::string> types;
  if (schema.is_object())
    types = LAPIDARY_TRY(schemaTypes(schema, at));

  if (has("const") || has("enum")) {
    SchemaJson values = has("enum") ? schema["enum"] : SchemaJson::array();
    if (!values.is_array() || (has("enum") && values.empty()))
      return invalidArgument(
          concat("the schema at '", at, "/enum': expected a list of values"));
    if (has("const")) {
      const SchemaJson &value = schema["const"];
      bool listed = !has("enum") || std::find(values.begin(), values.end(),
                                              value) != values.end();
      values = listed ? SchemaJson::array({value}) : SchemaJson::array();
    }
    Beginnings known;
    for (const SchemaJson &value : values)
      if (LAPIDARY_TRY(allows(schema, types, value, at)))
        builder.addSkip(addListed(from, value, known), to);
    return {};
  }
  if (types.empty() && schema.is_object())
    if (const char *type = impliedType(schema))
      types = {type};
  if (types.empty())
    types = {"object", "array", "string", "number", "boolean", "null"};
  const SchemaJson &keywords =
      schema.is_object() ? schema : SchemaJson::object();
  for (const std::string &type : types)
    LAPIDARY_TRY(addType(type, keywords, at, depth, from, to));
  return {};
}

/// Each alternative together with what stands beside them.
Status SchemaGrammar::addBranches(const SchemaJson &schema, const char *keyword,
                                  const std::string &at, int depth, State from,
                                  State to) {
  const SchemaJson &branches = schema[keyword];
  if (!branches.is_array() || branches.empty())
    return invalidArgument(concat("the schema at '", at, "/", keyword,
                                  "': expected a list of schemas"));
  SchemaJson base = schema;
  base.erase(keyword);
  bool plain = onlyAnnotations(base, "");
  for (size_t index = 0; index < branches.size(); ++index) {
    std::string place = concat(at, "/", keyword, "/", index);
    if (plain) {
      builder.addCall(
          from, LAPIDARY_TRY(compile(branches[index], place, depth + 1)), to);
      continue;
    }
    std::optional<SchemaJson> both =
        LAPIDARY_TRY(merger.merge(base, branches[index], place));
    if (both)
      builder.addCall(from, LAPIDARY_TRY(compile(*both, place, depth + 1)), to);
  }
  return {};
}

Status SchemaGrammar::addType(const std::string &type, const SchemaJson &schema,
                              const std::string &at, int depth, State from,
                              State to) {
  if (type == "object")
    return addObject(schema, at, depth, from, to);
  if (type == "array")
    return addArray(schema, at, depth, from, to);
  if (type == "string")
    return addString(schema, at, from, to);
  if (type == "number" || type == "integer")
    return addNumber(schema, type == "integer" || schema.contains("multipleOf"),
                     at, from, to);
  const auto literal = [&](const char *text) {
    builder.addSkip(builder.addText(from, text), to);
  };
  if (type == "boolean") {
    literal("true");
    literal("false");
  } else {
    literal("null");
  }
  return {};
}

/// Whether a listed value is of the types and within the bounds that stand
/// beside the list.
Result<bool> SchemaGrammar::allows(const SchemaJson &schema,
                                   const std::vector<std::string> &types,
                                   const SchemaJson &value,
                                   const std::string &at) {
  if (!types.empty() &&
      std::none_of(types.begin(), types.end(), [&](const std::string &type) {
        return isOfType(value, type);
      }))
    return false;
  for (const auto &[key, limit] : schema.items()) {
    const char *type = impliedType(singleKeyword(key, true));
    if (!type || !isOfType(value, type))
      continue;
    if (value.is_number() && limit.is_number() && key != "multipleOf") {
      if ((key == "minimum" && value < limit) ||
          (key == "maximum" && value > limit) ||
          (key == "exclusiveMinimum" && value <= limit) ||
          (key == "exclusiveMaximum" && value >= limit))
        return false;
    } else if (key != "format") {
      return unsupported(concat("the schema at '", at, "/", key, "': '", key,
                                "' beside 'enum' or 'const' is not "
                                "supported"));
    }
  }
  return true;
}

Result<GrammarBuilder::Rule> addSchema(GrammarBuilder &builder,
                                       const JsonNotation &notation,
                                       const SchemaJson &schema,
                                       const std::string &pointer) {
  if (isTooDeep(schema))
    return unsupported(concat("the schema at '", pointer, "': more than ",
                              deepestSchema, " levels deep"));
  if (size_t size = toText(schema).size(); size > longestSchema)
    return unsupported(concat("the schema at '", pointer, "' has ", size,
                              " bytes, at most ", longestSchema));
  try {
    return SchemaGrammar(builder, notation, schema).compile(schema, pointer, 0);
  } catch (const SchemaJson::exception &error) {
    return invalidArgument(
        concat("the schema at '", pointer, "': ", error.what()));
  }
}

Result<SchemaJson> parseSchema(std::string_view text) {
  if (text.size() > longestSchema)
    return invalidArgument(concat("the schema has ", text.size(),
                                  " bytes, at most ", longestSchema));
  try {
    bool tooDeep = false;
    SchemaJson schema = SchemaJson::parse(
        text, [&](int depth, SchemaJson::parse_event_t, SchemaJson &) {
          tooDeep |= depth > deepestSchema;
          return !tooDeep;
        });
    if (tooDeep)
      return unsupported(concat("the schema is nested more than ",
                                deepestSchema, " levels deep"));
    return schema;
  } catch (const SchemaJson::exception &error) {
    return invalidArgument(concat("the schema is no JSON: ", error.what()));
  }
}

} // namespace lapidary
