// Typed access to the metadata of a GGUF file; errors name file, key, expected
// and found.
#include "frontends/formats/GgufKeys.h"

#include <cmath>
#include <sstream>

namespace lapidary {

namespace {

std::string describe(const GgufValue *value) {
  if (!value)
    return "no such key";
  std::string text = ggufTypeName(value->valueType());
  if (value->isArray())
    return "an array of " + std::to_string(value->count) + " " + text;
  std::ostringstream out;
  if (auto whole = value->integer())
    out << *whole;
  else if (auto number = value->number())
    out << *number;
  else if (auto flag = value->flag())
    out << (*flag ? "true" : "false");
  else if (auto string = value->string())
    out << quoteName(*string);
  return text + " " + out.str();
}

} // namespace

const GgufValue *GgufKeys::get(std::string_view key) {
  std::string whole = prefix + std::string(key);
  const GgufValue *value = file.get(whole);
  known.insert(std::move(whole));
  return value;
}

Status GgufKeys::wrong(std::string_view key,
                       const std::string &expected) const {
  std::string whole = prefix + std::string(key);
  return invalidData(file.path() + ": " + whole + ": expected " + expected +
                     ", found " + describe(file.get(whole)));
}

Result<int64_t> GgufKeys::integer(std::string_view key) {
  const GgufValue *value = get(key);
  std::optional<int64_t> found;
  if (value && !value->isArray())
    found = value->integer();
  if (!found)
    return wrong(key, "an integer");
  return *found;
}

Result<double> GgufKeys::number(std::string_view key) {
  const GgufValue *value = get(key);
  std::optional<double> found;
  if (value && !value->isArray())
    found = value->number();
  if (!found || !std::isfinite(*found))
    return wrong(key, "a finite number");
  return *found;
}

Result<std::string_view> GgufKeys::string(std::string_view key) {
  const GgufValue *value = get(key);
  std::optional<std::string_view> found;
  if (value && !value->isArray())
    found = value->string();
  if (!found)
    return wrong(key, "a string");
  return *found;
}

Result<std::vector<bool>> GgufKeys::flags(std::string_view key, size_t count) {
  const GgufValue *value = get(key);
  std::vector<bool> flags;
  for (size_t i = 0; value && value->isArray() && i < count; ++i)
    if (std::optional<bool> flag = value->flag(i))
      flags.push_back(*flag);
  if (flags.size() != count || value->count != count)
    return wrong(key, "an array of " + std::to_string(count) + " bool");
  return flags;
}

Result<std::vector<int64_t>> GgufKeys::integers(std::string_view key,
                                                size_t count) {
  const GgufValue *value = get(key);
  if (value && !value->isArray())
    if (std::optional<int64_t> one = value->integer())
      return std::vector<int64_t>(count, *one);
  if (!value || !value->isArray() || value->count != count)
    return wrong(key, "an integer or an array of " + std::to_string(count));
  return integers(key);
}

Result<std::vector<int64_t>> GgufKeys::integers(std::string_view key) {
  const GgufValue *value = get(key);
  if (!value || !value->isArray() || value->element == GgufType::Array)
    return wrong(key, "an array of integers");
  std::vector<int64_t> list;
  for (uint64_t i = 0; i < value->count; ++i) {
    std::optional<int64_t> number = value->integer(i);
    if (!number)
      return wrong(key, "an array of integers");
    list.push_back(*number);
  }
  return list;
}

Status GgufKeys::expectInteger(std::string_view key, int64_t value) {
  const GgufValue *found = get(key);
  if (found && (found->isArray() || found->integer() != value))
    return wrong(key, std::to_string(value));
  return {};
}

Status GgufKeys::expectFlag(std::string_view key, bool value) {
  const GgufValue *found = get(key);
  if (found && (found->isArray() || found->flag() != value))
    return wrong(key, value ? "true" : "false");
  return {};
}

Status GgufKeys::expectString(std::string_view key, std::string_view value) {
  const GgufValue *found = get(key);
  if (found && (found->isArray() || found->string() != value))
    return wrong(key, quoteName(value));
  return {};
}

Status GgufKeys::expectNumbers(std::string_view key, double value) {
  const GgufValue *found = get(key);
  for (uint64_t i = 0; found && i < found->count; ++i)
    if (found->number(i) != value)
      return wrong(key, "numbers that are " + std::to_string(value));
  return {};
}

void GgufKeys::ignore(std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys)
    known.insert(prefix + std::string(key));
}

Status GgufKeys::finish() const {
  for (auto found = file.metadata().lower_bound(prefix);
       found != file.metadata().end() && found->first.starts_with(prefix);
       ++found)
    if (!known.contains(found->first))
      return unsupported(file.path() + ": " + found->first.substr(0, 200) +
                         ": expected no such key, found " +
                         describe(&found->second));
  return {};
}

} // namespace lapidary
