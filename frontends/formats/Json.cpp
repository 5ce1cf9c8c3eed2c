// Bounded JSON, and objects read field by field.
#include "frontends/formats/Json.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lapidary {

using nlohmann::json;

namespace {

struct FileHandle {
  int handle;
  ~FileHandle() { ::close(handle); }
};

/// Counts brackets outside strings, so that no parser meets a deeper nesting.
bool isTooDeep(std::string_view text, int maxDepth) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      i += c == '\\';
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > maxDepth)
        return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

void describe(const json &value, int depth, std::string &out) {
  constexpr size_t longest = 120;
  if (out.size() > longest)
    return;
  if (value.is_structured() && depth == 0) {
    out += value.is_array() ? "[...]" : "{...}";
  } else if (value.is_array()) {
    out += '[';
    for (size_t i = 0; i < value.size() && out.size() <= longest; ++i) {
      out += i ? ", " : "";
      describe(value[i], depth - 1, out);
    }
    out += ']';
  } else if (value.is_object()) {
    out += value.empty() ? "{}" : "an object";
  } else if (value.is_string()) {
    const auto &text = value.get_ref<const std::string &>();
    out += '"' +
           (text.size() > longest ? text.substr(0, longest) + "..." : text) +
           '"';
  } else {
    out += value.dump();
  }
}

} // namespace

Result<std::string> readTextFile(const std::string &path, uint64_t limit) {
  // Non-blocking, so that a pipe in a file's place cannot make us wait.
  int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (handle < 0) {
    std::string message = path + ": cannot be opened: " + std::strerror(errno);
    return errno == ENOENT ? notFound(std::move(message))
                           : ioError(std::move(message));
  }
  FileHandle file{handle};
  struct stat info;
  if (::fstat(handle, &info) != 0)
    return ioError(path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return invalidData(path + ": expected a regular file");
  if (uint64_t(info.st_size) > limit)
    return invalidData(path + ": expected at most " + std::to_string(limit) +
                       " bytes, found " + std::to_string(info.st_size));
  std::string text(size_t(info.st_size), '\0');
  size_t done = 0;
  while (done < text.size()) {
    ssize_t count = ::read(handle, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return ioError(path + ": " + std::strerror(errno));
    if (count == 0)
      break;
    done += size_t(count);
  }
  text.resize(done);
  return text;
}

template <typename Json>
static Result<Json> parseAs(std::string_view text, const std::string &origin,
                            int maxDepth) {
  if (isTooDeep(text, maxDepth))
    return invalidData(origin + ": expected JSON nested at most " +
                       std::to_string(maxDepth) +
                       " deep, found deeper nesting");
  try {
    return Json::parse(text);
  } catch (const json::exception &error) {
    return invalidData(origin + ": expected JSON: " + error.what());
  }
}

Result<json> parseJson(std::string_view text, const std::string &origin,
                       int maxDepth) {
  return parseAs<json>(text, origin, maxDepth);
}

Result<nlohmann::ordered_json> parseOrderedJson(std::string_view text,
                                                const std::string &origin,
                                                int maxDepth) {
  return parseAs<nlohmann::ordered_json>(text, origin, maxDepth);
}

Result<json> parseJsonObject(std::string_view text, const std::string &origin) {
  json root = LAPIDARY_TRY(parseJson(text, origin));
  if (!root.is_object())
    return invalidData(origin + ": expected an object, found " +
                       describeJson(&root));
  return root;
}

std::string describeJson(const json *value) {
  if (!value)
    return "nothing";
  std::string out;
  describe(*value, 3, out);
  return out;
}

Status JsonFields::wrong(const char *key, const std::string &expected,
                         const json *found) const {
  return invalidData(where(key) + ": expected " + expected + ", found " +
                     describeJson(found));
}

const json *JsonFields::get(const char *key) {
  known.insert(key);
  auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<int64_t> JsonFields::integer(const char *key, int64_t fallback,
                                    int64_t least, int64_t most) {
  const json *value = get(key);
  if (!value)
    return fallback;
  std::string expected =
      "an integer in " + std::to_string(least) + ".." + std::to_string(most);
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() &&
       value->get<uint64_t>() > uint64_t(INT64_MAX)))
    return wrong(key, expected, value);
  auto number = value->get<int64_t>();
  if (number < least || number > most)
    return wrong(key, expected, value);
  return number;
}

Result<double> JsonFields::number(const char *key, double fallback,
                                  double least, double most) {
  const json *value = get(key);
  if (!value)
    return fallback;
  double found = value->is_number() ? value->get<double>() : NAN;
  if (!(found >= least && found <= most))
    return wrong(key,
                 "a number in " + json(least).dump() + ".." + json(most).dump(),
                 value);
  return found;
}

Result<bool> JsonFields::flag(const char *key, bool fallback) {
  const json *value = get(key);
  if (value && !value->is_boolean())
    return wrong(key, "true or false", value);
  return value ? value->get<bool>() : fallback;
}

Result<std::string> JsonFields::string(const char *key,
                                       const std::string &fallback) {
  const json *value = get(key);
  if (value && !value->is_string())
    return wrong(key, "a string", value);
  return value ? value->get<std::string>() : fallback;
}

Result<std::optional<std::vector<int64_t>>>
JsonFields::integers(const char *key, int64_t least, int64_t most) {
  using List = std::optional<std::vector<int64_t>>;
  const json *value = get(key);
  if (!value)
    return List();
  std::vector<int64_t> list;
  auto add = [&](const json &item) {
    bool fits = item.is_number_integer() &&
                !(item.is_number_unsigned() &&
                  item.get<uint64_t>() > uint64_t(INT64_MAX)) &&
                item.get<int64_t>() >= least && item.get<int64_t>() <= most;
    if (fits)
      list.push_back(item.get<int64_t>());
    return fits;
  };
  bool good = value->is_array() ? std::all_of(value->begin(), value->end(), add)
                                : add(*value);
  if (!good)
    return wrong(key,
                 "integers in " + std::to_string(least) + ".." +
                     std::to_string(most),
                 value);
  return List(std::move(list));
}

Result<const json *> JsonFields::child(const char *key) {
  const json *value = get(key);
  if (value && !value->is_object())
    return wrong(key, "an object", value);
  return value;
}

Status JsonFields::expect(const char *key, std::initializer_list<json> values) {
  const json *found = get(key);
  if (!found)
    return {};
  std::string expected;
  for (const json &value : values) {
    if (*found == value)
      return {};
    expected += (expected.empty() ? "" : " or ") + describeJson(&value);
  }
  expected = expected.empty() ? "nothing" : expected;
  return unsupported(where(key) + ": expected " + expected + ", found " +
                     describeJson(found));
}

void JsonFields::ignore(std::initializer_list<const char *> keys) {
  known.insert(keys.begin(), keys.end());
}

Status JsonFields::finish() const {
  for (const auto &item : object.items())
    if (!known.contains(item.key()))
      return unsupported(
          where(item.key().substr(0, 100).c_str()) +
          ": expected no such field (its meaning is unknown), found " +
          describeJson(&item.value()));
  return {};
}

} // namespace lapidary
