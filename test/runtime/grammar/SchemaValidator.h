// Whether JSON satisfies a schema: the tests' own reading of JSON Schema,
// keyword by keyword and without a grammar.
#pragma once

#include "runtime/model/Unicode.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <regex>

namespace lapidary::test {

class SchemaValidator {
public:
  using Json = nlohmann::ordered_json;
  explicit SchemaValidator(const Json &document) : document(document) {}

  bool allows(const Json &value) const { return allows(document, value); }

private:
  static bool isOfType(const Json &value, const std::string &type) {
    if (type == "integer")
      return value.is_number() &&
             value.get<double>() == std::floor(value.get<double>());
    return type == "object"    ? value.is_object()
           : type == "array"   ? value.is_array()
           : type == "string"  ? value.is_string()
           : type == "number"  ? value.is_number()
           : type == "boolean" ? value.is_boolean()
                               : value.is_null();
  }
  static size_t countCharacters(const std::string &text) {
    size_t count = 0;
    for (size_t at = 0; at < text.size(); ++count)
      at += readUtf8(std::string_view(text).substr(at)).size;
    return count;
  }

  bool allows(const Json &schema, const Json &value) const {
    if (schema.is_boolean())
      return schema.get<bool>();
    return std::all_of(
        schema.items().begin(), schema.items().end(), [&](const auto &keyword) {
          return holds(keyword.key(), keyword.value(), schema, value);
        });
  }

  bool holds(const std::string &key, const Json &limit, const Json &schema,
             const Json &value) const {
    const auto matches = [&](const Json &one) { return allows(one, value); };
    if (key == "type") {
      if (value.is_null() && schema.value("nullable", false))
        return true;
      if (limit.is_string())
        return isOfType(value, limit);
      return std::any_of(limit.begin(), limit.end(), [&](const Json &type) {
        return isOfType(value, type);
      });
    }
    if (key == "$ref")
      return allows(
          document.at(Json::json_pointer(limit.get<std::string>().substr(1))),
          value);
    if (key == "allOf")
      return std::all_of(limit.begin(), limit.end(), matches);
    if (key == "anyOf")
      return std::any_of(limit.begin(), limit.end(), matches);
    if (key == "oneOf")
      return std::count_if(limit.begin(), limit.end(), matches) == 1;
    if (key == "const")
      return value == limit;
    if (key == "enum")
      return std::find(limit.begin(), limit.end(), value) != limit.end();
    if (value.is_number()) {
      if (key == "minimum")
        return schema.value("exclusiveMinimum", Json()) == true
                   ? value > limit
                   : value >= limit;
      if (key == "maximum")
        return value <= limit;
      if (key == "exclusiveMinimum" && limit.is_number())
        return value > limit;
      if (key == "exclusiveMaximum")
        return value < limit;
    }
    if (value.is_string()) {
      const auto &text = value.get_ref<const std::string &>();
      if (key == "minLength")
        return countCharacters(text) >= limit;
      if (key == "maxLength")
        return countCharacters(text) <= limit;
      if (key == "pattern")
        return std::regex_search(
            text, std::regex(limit.get<std::string>(), std::regex::ECMAScript));
    }
    if (value.is_array()) {
      if (key == "minItems")
        return value.size() >= limit;
      if (key == "maxItems")
        return value.size() <= limit;
      size_t listed = schema.value("prefixItems", Json::array()).size();
      if (key == "prefixItems") {
        for (size_t i = 0; i < std::min(value.size(), listed); ++i)
          if (!allows(limit[i], value[i]))
            return false;
      }
      if (key == "items")
        return value.size() <= listed ||
               std::all_of(
                   value.begin() + listed, value.end(),
                   [&](const Json &item) { return allows(limit, item); });
    }
    if (value.is_object()) {
      if (key == "required")
        return std::all_of(limit.begin(), limit.end(), [&](const Json &name) {
          return value.contains(name.get<std::string>());
        });
      if (key == "minProperties")
        return value.size() >= limit;
      if (key == "maxProperties")
        return value.size() <= limit;
      for (const auto &[name, part] : value.items()) {
        bool declared =
            schema.value("properties", Json::object()).contains(name);
        if (key == "properties" && declared && !allows(limit[name], part))
          return false;
        if (key == "additionalProperties" && !declared && !allows(limit, part))
          return false;
        if (key == "propertyNames" && !allows(limit, Json(name)))
          return false;
      }
    }
    return true;
  }

  const Json &document;
};

} // namespace lapidary::test
