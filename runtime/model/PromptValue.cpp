// Values and tool declarations in a prompt. Where the template prints what
// Python makes of a value (numbers, None, the upper case of a list of types),
// so does this.
#include "runtime/model/PromptValue.h"

#include "runtime/model/Unicode.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

namespace lapidary::prompt {

using nlohmann::json;

namespace {

/// Far beyond any real schema, and far from the end of a thread's stack.
constexpr int deepest = 100;

Status checkDepth(int depth, const std::string &path) {
  if (depth <= deepest)
    return {};
  return invalidArgument(path.substr(0, 200) + "...: expected at most " +
                         std::to_string(deepest) + " levels, found more");
}

/// Python's repr of a float: the shortest digits that read back as the same
/// number, with an exponent below 1e-4 and from 1e16 on.
std::string printNumber(double value) {
  if (!std::isfinite(value))
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  char buffer[64];
  double size = std::fabs(value);
  bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  auto format =
      exponent ? std::chars_format::scientific : std::chars_format::fixed;
  char *end =
      std::to_chars(std::begin(buffer), std::end(buffer), value, format).ptr;
  std::string text(buffer, end);
  return exponent || text.find('.') != std::string::npos ? text : text + ".0";
}

std::string upperCase(std::string text) {
  for (char &c : text)
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return text;
}

bool isPlain(const json &value) {
  const auto isSafe = [](char c) {
    return c >= ' ' && c <= '~' && c != '\'' && c != '\\';
  };
  const auto *text = value.get_ptr<const std::string *>();
  return text && std::all_of(text->begin(), text->end(), isSafe);
}

/// A schema's type in capitals. A list of types prints as Python's list of
/// strings does.
Result<std::string> typeName(const json &schema, const std::string &path) {
  const json *type = find(schema, "type");
  if (!type)
    return std::string();
  if (type->is_null())
    return std::string("NONE");
  if (isPlain(*type))
    return upperCase(type->get<std::string>());
  if (!type->is_array() || !std::all_of(type->begin(), type->end(), isPlain))
    return wrongType(path + ".type",
                     "a type's name in ASCII or a list of such names", type);
  std::string text = "[";
  for (const json &name : *type)
    text += (text.size() > 1 ? ", '" : "'") + name.get<std::string>() + "'";
  return upperCase(text + "]");
}

Status appendNames(std::string &text, const json &names,
                   const std::string &path) {
  if (!names.is_array())
    return wrongType(path, "a list of names", &names);
  text += '[';
  for (size_t i = 0; i < names.size(); ++i) {
    if (!names[i].is_string())
      return wrongType(path + "[" + std::to_string(i) + "]", "a string",
                       &names[i]);
    text += (i ? "," : "") + quote(names[i].get_ref<const std::string &>());
  }
  text += ']';
  return {};
}

Status appendProperties(std::string &text, const json &properties,
                        const std::string &path, int depth);

Status appendProperty(std::string &text, const json &schema,
                      const std::string &path, int depth) {
  // JSON Schema writes "anything" as `true`, which has no type to print.
  static const json anything = json::object();
  if (!schema.is_object() && !schema.is_boolean())
    return wrongType(path, "an object", &schema);
  const json &property = schema.is_object() ? schema : anything;
  std::string type = LAPIDARY_TRY(typeName(property, path));
  text += '{';
  if (const json *description = find(property, "description");
      isTrue(description)) {
    if (!description->is_string())
      return wrongType(path + ".description", "a string", description);
    text +=
        "description:" + quote(description->get_ref<const std::string &>()) +
        ",";
  }
  if (const json *values = find(property, "enum");
      type == "STRING" && isTrue(values)) {
    if (!values->is_array())
      return wrongType(path + ".enum", "a list", values);
    text += "enum:";
    LAPIDARY_TRY(appendValue(text, *values, true, path + ".enum"));
    text += ',';
  }
  if (const json *members = find(property, "properties");
      type == "OBJECT" && isTrue(members)) {
    text += "properties:{";
    LAPIDARY_TRY(
        appendProperties(text, *members, path + ".properties", depth + 1));
    text += "},";
    if (const json *required = find(property, "required"); isTrue(required)) {
      text += "required:";
      LAPIDARY_TRY(appendNames(text, *required, path + ".required"));
      text += ',';
    }
  }
  text += "type:" + quote(type) + "}";
  return {};
}

Status appendProperties(std::string &text, const json &properties,
                        const std::string &path, int depth) {
  LAPIDARY_TRY(checkDepth(depth, path));
  if (!properties.is_object())
    return wrongType(path, "an object", &properties);
  bool isFirst = true;
  for (const auto &[key, property] : sortedItems(properties)) {
    text += (isFirst ? "" : ",") + key + ":";
    isFirst = false;
    LAPIDARY_TRY(appendProperty(text, *property, path + "." + key, depth));
  }
  return {};
}

} // namespace

std::string quote(const std::string &text) {
  return "<|\"|>" + text + "<|\"|>";
}

std::string describe(const json &value) {
  switch (value.type()) {
  case json::value_t::object:
    return "an object";
  case json::value_t::array:
    return "a list";
  case json::value_t::string: {
    const auto &text = value.get_ref<const std::string &>();
    return "\"" + (text.size() > 60 ? text.substr(0, 60) + "..." : text) + "\"";
  }
  case json::value_t::binary:
  case json::value_t::discarded:
    return "no JSON value";
  default:
    return value.dump();
  }
}

Status wrongType(const std::string &path, const std::string &expected,
                 const json *found) {
  return invalidArgument(path + ": expected " + expected + ", found " +
                         (found ? describe(*found) : "nothing"));
}

const json *find(const json &object, const char *key) {
  auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

bool isTrue(const json *value) {
  if (!value || value->is_null())
    return false;
  if (value->is_boolean())
    return value->get<bool>();
  if (value->is_number())
    return value->get<double>() != 0;
  return value->is_string() ? !value->get_ref<const std::string &>().empty()
                            : !value->empty();
}

std::vector<std::pair<std::string, const json *>>
sortedItems(const json &object) {
  std::vector<std::tuple<std::string, std::string, const json *>> items;
  for (auto item = object.begin(); item != object.end(); ++item)
    items.emplace_back(lowerCase(item.key()), item.key(), &item.value());
  std::sort(items.begin(), items.end());
  std::vector<std::pair<std::string, const json *>> result;
  for (auto &[lower, key, value] : items)
    result.emplace_back(std::move(key), value);
  return result;
}

Status appendValue(std::string &text, const json &value, bool quoteKeys,
                   const std::string &path, int depth) {
  LAPIDARY_TRY(checkDepth(depth, path));
  bool isFirst = true;
  switch (value.type()) {
  case json::value_t::string:
    text += quote(value.get_ref<const std::string &>());
    return {};
  case json::value_t::boolean:
    text += value.get<bool>() ? "true" : "false";
    return {};
  case json::value_t::object:
    text += '{';
    for (const auto &[key, member] : sortedItems(value)) {
      text += (isFirst ? "" : ",") + (quoteKeys ? quote(key) : key) + ":";
      isFirst = false;
      LAPIDARY_TRY(
          appendValue(text, *member, quoteKeys, path + "." + key, depth + 1));
    }
    text += '}';
    return {};
  case json::value_t::array:
    text += '[';
    for (size_t i = 0; i < value.size(); ++i) {
      text += i ? "," : "";
      LAPIDARY_TRY(appendValue(text, value[i], quoteKeys,
                               path + "[" + std::to_string(i) + "]",
                               depth + 1));
    }
    text += ']';
    return {};
  case json::value_t::null:
    text += "None";
    return {};
  case json::value_t::number_integer:
    text += std::to_string(value.get<int64_t>());
    return {};
  case json::value_t::number_unsigned:
    text += std::to_string(value.get<uint64_t>());
    return {};
  case json::value_t::number_float:
    text += printNumber(value.get<double>());
    return {};
  case json::value_t::binary:
  case json::value_t::discarded:
    break;
  }
  return wrongType(path, "a JSON value", &value);
}

Status appendDeclaration(std::string &text, const json &function,
                         const std::string &path) {
  if (!function.is_object())
    return wrongType(path, "an object", &function);
  const json *name = find(function, "name");
  if (!name || !name->is_string())
    return wrongType(path + ".name", "a string", name);
  const json *description = find(function, "description");
  if (description && !description->is_string() && !description->is_null())
    return wrongType(path + ".description", "a string", description);
  text += "<|tool>declaration:" + name->get<std::string>() + "{description:" +
          quote(!description             ? ""
                : description->is_null() ? "None" // What the template prints.
                                         : description->get<std::string>());
  if (const json *parameters = find(function, "parameters");
      isTrue(parameters)) {
    std::string at = path + ".parameters";
    if (!parameters->is_object())
      return wrongType(at, "an object", parameters);
    text += ",parameters:{";
    if (const json *properties = find(*parameters, "properties");
        isTrue(properties)) {
      text += "properties:{";
      LAPIDARY_TRY(appendProperties(text, *properties, at + ".properties", 0));
      text += "},";
    }
    if (const json *required = find(*parameters, "required");
        isTrue(required)) {
      text += "required:";
      LAPIDARY_TRY(appendNames(text, *required, at + ".required"));
      text += ',';
    }
    text += "type:" + quote(LAPIDARY_TRY(typeName(*parameters, at))) + "}";
  }
  text += "}<tool|>";
  return {};
}

} // namespace lapidary::prompt
