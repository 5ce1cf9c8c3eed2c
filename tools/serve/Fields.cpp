// Depth and members are counted on the text, before anything is allocated for
// them.
#include "tools/serve/Fields.h"

#include "runtime/core/Text.h"

#include <cmath>
#include <vector>

namespace lapidary::serve {

namespace {

/// What is wrong with a text's shape; empty where nothing is. Strings are
/// skipped; whether all of it is JSON is the parser's to say. `values`: how
/// many there are at most.
std::string checkShape(std::string_view text, size_t &values) {
  std::vector<size_t> members;
  bool quoted = false;
  size_t comparisons = 0, begin = 0, end = 0;
  values = 1;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\')
        ++at;
      else if (c == '"') {
        quoted = false;
        end = at;
      }
      continue;
    }
    values += c == ',' || c == '{' || c == '[';
    if (c == '"') {
      quoted = true;
      begin = at;
    } else if (c == '{' || c == '[') {
      if (members.size() == maxRequestDepth)
        return concat("the request is nested deeper than ", maxRequestDepth);
      members.push_back(0);
    } else if (c == '}' || c == ']') {
      if (!members.empty())
        members.pop_back();
    } else if (c == ':' && !members.empty()) {
      if (++members.back() > maxObjectMembers)
        return concat("an object of the request has more than ",
                      maxObjectMembers, " members");
      // Keys that differ at their ends only are read all through.
      comparisons += members.back() * (1 + (end - begin) / 32);
      if (comparisons > maxKeyComparisons)
        return "the request's objects have too many members";
    }
  }
  return {};
}

const char *typeOf(int status) {
  switch (status) {
  case 401:
    return "authentication_error";
  case 403:
    return "permission_error";
  case 404:
    return "not_found_error";
  case 413:
    return "request_too_large";
  case 429:
    return "rate_limit_error";
  case 500:
    return "server_error";
  case 501:
    return "not_supported_error";
  case 503:
    return "unavailable_error";
  default:
    return "invalid_request_error";
  }
}

} // namespace

Json ApiError::toJson() const {
  return {{"error",
           {{"message", message},
            {"type", typeOf(status)},
            {"param", param.empty() ? Json() : Json(param)},
            {"code", code.empty() ? Json(status) : Json(code)}}}};
}

Json ApiError::toAnthropic() const {
  const char *name = status == 429   ? "rate_limit_error"
                     : status == 503 ? "overloaded_error"
                     : status >= 500 ? "api_error"
                     : status == 401 ? "authentication_error"
                     : status == 413 ? "request_too_large"
                                     : "invalid_request_error";
  return {{"type", "error"},
          {"error",
           {{"type", name},
            {"message", param.empty() ? message : param + ": " + message}}}};
}

std::optional<Json> parseRequest(std::string_view text, ApiError &error,
                                 const std::function<bool(size_t)> &take) {
  size_t values = 0;
  if (std::string shape = checkShape(text, values); !shape.empty()) {
    error = {400, std::move(shape)};
    return std::nullopt;
  }
  if (take && !take(values * parsedValueBytes)) {
    error = {429, "the requests at hand take too much memory"};
    return std::nullopt;
  }
  try {
    Json value = Json::parse(text);
    if (value.is_object())
      return value;
    error = {400, concat("the body must be a JSON object, but it is ",
                         kindOf(value))};
  } catch (const nlohmann::json::exception &exception) {
    // What the library says after its own prefix.
    const std::string_view what = exception.what();
    const size_t end = what.find("] ");
    error = {
        400,
        concat("the body is not JSON: ",
               what.substr(end == what.npos ? 0 : end + 2).substr(0, 300))};
  }
  return std::nullopt;
}

std::string dumpJson(const Json &value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char *kindOf(const Json &value) {
  switch (value.type()) {
  case Json::value_t::null:
    return "null";
  case Json::value_t::object:
    return "an object";
  case Json::value_t::array:
    return "an array";
  case Json::value_t::string:
    return "a string";
  case Json::value_t::boolean:
    return "a boolean";
  default:
    return "a number";
  }
}

const Json *Fields::get(const char *key) const {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

void Fields::wrong(const char *key, const std::string &expected,
                   const Json &found) const {
  std::string shown = kindOf(found);
  if (found.is_number() || found.is_boolean())
    shown = found.dump();
  fail(key,
       concat("'", where(key), "' must be ", expected, ", but it is ", shown));
}

std::optional<double> Fields::number(const char *key, double least,
                                     double most) const {
  const Json *value = get(key);
  if (!value)
    return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= least && number <= most)
      return number;
  }
  auto show = [](double bound) {
    return bound == std::floor(bound) && std::abs(bound) < 1e15
               ? std::to_string(static_cast<int64_t>(bound))
               : std::to_string(bound);
  };
  wrong(key, concat("a number from ", show(least), " to ", show(most)), *value);
  return std::nullopt;
}

std::optional<int64_t> Fields::integer(const char *key, int64_t least,
                                       int64_t most) const {
  const Json *value = get(key);
  if (!value)
    return std::nullopt;
  // 2^63 and more do not fit, whatever the bounds.
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number == std::floor(number) && std::abs(number) < 9e15 &&
        number >= static_cast<double>(least) &&
        number <= static_cast<double>(most))
      return static_cast<int64_t>(number);
  } else if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (most >= 0 && number <= static_cast<uint64_t>(most) &&
        (least < 0 || number >= static_cast<uint64_t>(least)))
      return static_cast<int64_t>(number);
  } else if (value->is_number_integer()) {
    const auto number = value->get<int64_t>();
    if (number >= least && number <= most)
      return number;
  }
  wrong(key, concat("a whole number from ", least, " to ", most), *value);
  return std::nullopt;
}

bool Fields::flag(const char *key, bool fallback) const {
  const Json *value = get(key);
  if (!value)
    return fallback;
  if (value->is_boolean())
    return value->get<bool>();
  wrong(key, "true or false", *value);
  return fallback;
}

std::optional<std::string> Fields::string(const char *key) const {
  const Json *value = get(key);
  if (!value)
    return std::nullopt;
  if (value->is_string())
    return value->get<std::string>();
  wrong(key, "a string", *value);
  return std::nullopt;
}

std::string Fields::required(const char *key) const {
  std::optional<std::string> value = string(key);
  if (!value)
    fail(key, concat("'", where(key), "' is missing"));
  return value.value_or("");
}

const Json *Fields::array(const char *key) const {
  const Json *value = get(key);
  if (value && !value->is_array()) {
    wrong(key, "an array", *value);
    return nullptr;
  }
  return value;
}

const Json *Fields::child(const char *key) const {
  const Json *value = get(key);
  if (value && !value->is_object()) {
    wrong(key, "an object", *value);
    return nullptr;
  }
  return value;
}

} // namespace lapidary::serve
