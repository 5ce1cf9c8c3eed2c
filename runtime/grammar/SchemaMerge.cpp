// Merging, keyword by keyword: what both demand is demanded.
#include "runtime/grammar/SchemaMerge.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

namespace lapidary {
namespace {

constexpr int deepestMerge = 64;

Status cannotMerge(const std::string &at, std::string_view key) {
  return unsupported(concat("the schema at '", at, "': two values of '", key,
                            "' must hold at once, which is not supported"));
}

/// Says `nullable` by `type`, so that merging needs to know one of them.
Status sayNull(SchemaJson &schema, const std::string &at) {
  if (!schema.contains("nullable"))
    return {};
  std::vector<std::string> types = LAPIDARY_TRY(schemaTypes(schema, at));
  schema.erase("nullable");
  if (!types.empty())
    schema["type"] = types;
  return {};
}

/// True: any instance; false: none.
bool isTrue(const SchemaJson &schema) {
  return schema.is_boolean() ? schema.get<bool>() : schema.empty();
}

/// The values in it, itself included, and its text in units that cost as much.
int64_t workOf(const SchemaJson &json) {
  int64_t work = 1;
  if (json.is_string())
    work +=
        static_cast<int64_t>(json.get_ref<const std::string &>().size()) / 64;
  if (json.is_structured())
    for (const auto &[key, value] : json.items())
      work += workOf(value);
  return work;
}

/// Schemas' values as keys of a set. Numbers that are equal have equal texts:
/// whether one was written as 1 or 1.0 does not count.
std::string keyOf(const SchemaJson &value) {
  if (value.is_number_float() && std::fabs(value.get<double>()) < 0x1p62 &&
      value.get<double>() == std::floor(value.get<double>()))
    return std::to_string(value.get<int64_t>());
  return value.dump(-1, ' ', false, SchemaJson::error_handler_t::replace);
}

} // namespace

Status SchemaMerger::charge(int64_t work, const std::string &at) {
  workLeft -= work;
  if (workLeft >= 0)
    return {};
  return unsupported(concat("the schema at '", at,
                            "': $ref and allOf lead to each other too often, "
                            "or to too much, to be merged"));
}

SchemaJson singleKeyword(const std::string &key, const SchemaJson &value) {
  SchemaJson schema = SchemaJson::object();
  schema[key] = value;
  return schema;
}

bool isAnnotation(std::string_view keyword) {
  constexpr std::array<std::string_view, 17> names = {"title",
                                                      "description",
                                                      "default",
                                                      "examples",
                                                      "example",
                                                      "deprecated",
                                                      "readOnly",
                                                      "writeOnly",
                                                      "$comment",
                                                      "$schema",
                                                      "$id",
                                                      "$defs",
                                                      "definitions",
                                                      "contentMediaType",
                                                      "contentEncoding",
                                                      "contentSchema",
                                                      "$anchor"};
  return std::find(names.begin(), names.end(), keyword) != names.end() ||
         keyword.starts_with("x-");
}

Result<std::vector<std::string>> schemaTypes(const SchemaJson &schema,
                                             const std::string &at) {
  std::vector<std::string> types;
  auto type = schema.find("type");
  if (type == schema.end())
    return types;
  const auto add = [&](const SchemaJson &name) -> Status {
    constexpr std::array<std::string_view, 7> known = {
        "object", "array", "string", "number", "integer", "boolean", "null"};
    if (!name.is_string() || std::find(known.begin(), known.end(),
                                       name.get<std::string>()) == known.end())
      return invalidArgument(
          concat("the schema at '", at,
                 "/type': expected object, array, string, "
                 "number, integer, boolean or null, or a list of them"));
    if (std::find(types.begin(), types.end(), name.get<std::string>()) ==
        types.end())
      types.push_back(name.get<std::string>());
    return {};
  };
  if (!type->is_array()) {
    LAPIDARY_TRY(add(*type));
  } else {
    for (const SchemaJson &name : *type)
      LAPIDARY_TRY(add(name));
    if (types.empty())
      return invalidArgument(
          concat("the schema at '", at, "/type': the list is empty"));
  }
  if (std::find(types.begin(), types.end(), "number") != types.end())
    std::erase(types, "integer");
  // OpenAPI's way to say it.
  auto nullable = schema.find("nullable");
  if (nullable != schema.end() && *nullable == true &&
      std::find(types.begin(), types.end(), "null") == types.end())
    types.push_back("null");
  return types;
}

Result<const SchemaJson *> SchemaMerger::resolve(const SchemaJson &reference,
                                                 const std::string &at) {
  const auto fail = [&](std::string_view why) {
    return unsupported(concat("the schema at '", at, "/$ref': ", why));
  };
  if (!reference.is_string())
    return fail("expected text");
  std::string text = reference.get<std::string>();
  if (text == "#")
    return &document;
  if (!text.starts_with("#/"))
    return fail(concat("'", text,
                       "' leads out of the schema; only '#' and '#/...' are "
                       "supported"));
  // Percent signs stand for bytes in the fragment of an address.
  std::string pointer;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && std::isxdigit(text[i + 1]) &&
        std::isxdigit(text[i + 2])) {
      pointer +=
          static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      pointer += text[i];
    }
  }
  try {
    SchemaJson::json_pointer path(pointer);
    if (document.contains(path))
      return &document.at(path);
  } catch (const SchemaJson::exception &) {
    return fail(concat("'", text, "' is no JSON pointer"));
  }
  return fail(concat("there is no '", text, "' in the schema"));
}

Result<std::optional<SchemaJson>> SchemaMerger::expand(const SchemaJson &schema,
                                                       const std::string &at,
                                                       int depth) {
  if (depth > deepestMerge)
    return unsupported(concat("the schema at '", at,
                              "': $ref and allOf lead to each other too often "
                              "to be merged"));
  // Besides, a step through `allOf` or `$ref` takes some hundred of these.
  LAPIDARY_TRY(charge(200 + workOf(schema), at));
  if (schema.is_boolean())
    return schema.get<bool>() ? std::optional(SchemaJson::object())
                              : std::nullopt;
  if (!schema.is_object())
    return invalidArgument(
        concat("the schema at '", at, "': expected an object or a boolean"));
  if (!schema.contains("$ref") && !schema.contains("allOf"))
    return std::optional(schema);
  SchemaJson rest = schema;
  rest.erase("$ref");
  rest.erase("allOf");
  std::optional<SchemaJson> result = std::move(rest);
  if (auto reference = schema.find("$ref"); reference != schema.end())
    result = LAPIDARY_TRY(
        merge(*LAPIDARY_TRY(resolve(*reference, at)), *result, at, depth + 1));
  auto all = schema.find("allOf");
  if (all == schema.end() || !result)
    return result;
  if (!all->is_array() || all->empty())
    return invalidArgument(
        concat("the schema at '", at, "/allOf': expected a list of schemas"));
  for (size_t index = 0; index < all->size() && result; ++index)
    if ((*all)[index] != SchemaJson::object())
      result = LAPIDARY_TRY(merge(*result, (*all)[index],
                                  concat(at, "/allOf/", index), depth + 1));
  return result;
}

Result<std::optional<SchemaJson>> SchemaMerger::merge(const SchemaJson &left,
                                                      const SchemaJson &right,
                                                      const std::string &at,
                                                      int depth) {
  std::optional<SchemaJson> a = LAPIDARY_TRY(expand(left, at, depth + 1));
  std::optional<SchemaJson> b = LAPIDARY_TRY(expand(right, at, depth + 1));
  if (!a || !b)
    return std::optional<SchemaJson>();
  // Each look for a keyword goes through all of them.
  LAPIDARY_TRY(charge(static_cast<int64_t>(a->size() * b->size() / 32), at));
  LAPIDARY_TRY(sayNull(*a, at));
  LAPIDARY_TRY(sayNull(*b, at));
  SchemaJson result = *a;
  for (const auto &[key, value] : b->items()) {
    if (key == "properties" || key == "additionalProperties")
      continue;
    if (!result.contains(key))
      result[key] = value;
    else if (!LAPIDARY_TRY(mergeKeyword(result, key, value, at, depth)))
      return std::optional<SchemaJson>();
  }
  if (!LAPIDARY_TRY(mergeProperties(result, *a, *b, at, depth)))
    return std::optional<SchemaJson>();
  return std::optional(std::move(result));
}

/// False where nothing satisfies both.
Result<bool> SchemaMerger::mergeKeyword(SchemaJson &left,
                                        const std::string &key,
                                        const SchemaJson &value,
                                        const std::string &at, int depth) {
  SchemaJson &mine = left[key];
  if (mine == value || isAnnotation(key))
    return true;
  const auto oneOfKeys = [&](std::initializer_list<std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  if (key == "type") {
    // "integer" is a "number".
    std::vector<std::string> a = LAPIDARY_TRY(
                                 schemaTypes(singleKeyword("type", mine), at)),
                             b = LAPIDARY_TRY(
                                 schemaTypes(singleKeyword("type", value), at));
    const auto has = [](const std::vector<std::string> &list,
                        std::string_view name) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    SchemaJson both = SchemaJson::array();
    for (const std::string &name : a)
      if (has(b, name) || (name == "integer" && has(b, "number")))
        both.push_back(name);
    if (has(a, "number") && has(b, "integer"))
      both.push_back("integer");
    if (both.empty())
      return false;
    mine = both.size() == 1 ? both[0] : both;
    return true;
  }
  if (key == "required" && mine.is_array() && value.is_array()) {
    std::unordered_set<std::string> names;
    for (const SchemaJson &name : mine)
      names.insert(keyOf(name));
    for (const SchemaJson &name : value)
      if (names.insert(keyOf(name)).second)
        mine.push_back(name);
    return true;
  }
  if (key == "enum" && mine.is_array() && value.is_array()) {
    // Structured values are few; that two of them are equal does not show in
    // their texts, since numbers within them may be written differently.
    std::unordered_set<std::string> texts;
    std::vector<const SchemaJson *> structured;
    for (const SchemaJson &entry : value)
      if (entry.is_structured())
        structured.push_back(&entry);
      else
        texts.insert(keyOf(entry));
    SchemaJson both = SchemaJson::array();
    for (const SchemaJson &entry : mine) {
      if (!entry.is_structured()) {
        if (texts.contains(keyOf(entry)))
          both.push_back(entry);
        continue;
      }
      LAPIDARY_TRY(charge(static_cast<int64_t>(structured.size()), at));
      if (std::any_of(structured.begin(), structured.end(),
                      [&](const SchemaJson *other) { return *other == entry; }))
        both.push_back(entry);
    }
    mine = both;
    return !both.empty();
  }
  if (key == "const")
    return false;
  if (key == "uniqueItems" && mine.is_boolean() && value.is_boolean()) {
    mine = true;
    return true;
  }
  if (mine.is_number() && value.is_number()) {
    bool least = oneOfKeys({"minimum", "exclusiveMinimum", "minLength",
                            "minItems", "minProperties"});
    bool most = oneOfKeys({"maximum", "exclusiveMaximum", "maxLength",
                           "maxItems", "maxProperties"});
    if (least || most) {
      if (least == (value > mine))
        mine = value;
      return true;
    }
  }
  if (key == "items" && mine.is_array() == value.is_array() &&
      !mine.is_array()) {
    std::optional<SchemaJson> both =
        LAPIDARY_TRY(merge(mine, value, at + "/items", depth + 1));
    mine = both ? *both : SchemaJson(false);
    return true;
  }
  if (oneOfKeys({"anyOf", "oneOf"}) && mine.is_array() && value.is_array() &&
      mine.size() * value.size() <= 64) {
    SchemaJson pairs = SchemaJson::array();
    for (const SchemaJson &a : mine) {
      for (const SchemaJson &b : value) {
        std::optional<SchemaJson> both =
            LAPIDARY_TRY(merge(a, b, at + "/" + key, depth + 1));
        if (both)
          pairs.push_back(*std::move(both));
      }
    }
    mine = pairs;
    return !pairs.empty();
  }
  return cannotMerge(at, key);
}

/// A property that one side does not declare is for that side's
/// additionalProperties to judge.
Result<bool> SchemaMerger::mergeProperties(SchemaJson &result,
                                           const SchemaJson &left,
                                           const SchemaJson &right,
                                           const std::string &at, int depth) {
  const auto speaks = [](const SchemaJson &schema) {
    return schema.contains("properties") ||
           schema.contains("additionalProperties");
  };
  if (!speaks(right))
    return true;
  if (!speaks(left)) {
    for (const char *key : {"properties", "additionalProperties"})
      if (right.contains(key))
        result[key] = right[key];
    return true;
  }
  const SchemaJson none = SchemaJson::object(), all = true;
  const auto partOf = [](const SchemaJson &schema, const char *key,
                         const SchemaJson &otherwise) -> const SchemaJson & {
    auto found = schema.find(key);
    return found == schema.end() ? otherwise : *found;
  };
  const SchemaJson &mine = partOf(left, "properties", none),
                   &theirs = partOf(right, "properties", none),
                   &myRest = partOf(left, "additionalProperties", all),
                   &theirRest = partOf(right, "additionalProperties", all);
  if (!mine.is_object() || !theirs.is_object())
    return invalidArgument(
        concat("the schema at '", at, "/properties': expected an object"));
  // Each look for a name goes through all of them.
  const auto names = static_cast<int64_t>(mine.size() + theirs.size());
  LAPIDARY_TRY(charge(names * names / 32, at));
  SchemaJson properties = SchemaJson::object();
  const auto add = [&](const std::string &name, const SchemaJson &a,
                       const SchemaJson &b) -> Status {
    if (isTrue(a) || isTrue(b)) {
      properties[name] = isTrue(a) ? b : a;
      return {};
    }
    std::optional<SchemaJson> both =
        LAPIDARY_TRY(merge(a, b, at + "/properties/" + name, depth + 1));
    properties[name] = both ? *std::move(both) : SchemaJson(false);
    return {};
  };
  for (const auto &[name, schema] : mine.items())
    LAPIDARY_TRY(add(name, schema, partOf(theirs, name.c_str(), theirRest)));
  for (const auto &[name, schema] : theirs.items())
    if (!mine.contains(name))
      LAPIDARY_TRY(add(name, myRest, schema));
  if (!properties.empty() || left.contains("properties") ||
      right.contains("properties"))
    result["properties"] = properties;
  if (left.contains("additionalProperties") &&
      right.contains("additionalProperties")) {
    std::optional<SchemaJson> both = LAPIDARY_TRY(
        merge(myRest, theirRest, at + "/additionalProperties", depth + 1));
    result["additionalProperties"] =
        both ? *std::move(both) : SchemaJson(false);
  } else if (right.contains("additionalProperties")) {
    result["additionalProperties"] = theirRest;
  }
  return true;
}

} // namespace lapidary
