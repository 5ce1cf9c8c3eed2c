// A machine over characters and marks. Commas are written before what they
// separate, so that the text can end anywhere.
#include "runtime/chat/CallArguments.h"

#include "runtime/chat/TemplateText.h"
#include "runtime/model/Unicode.h"

#include <nlohmann/json.hpp>

#include <charconv>

namespace lapidary::chat {

namespace {

/// What is nested deeper is left out.
constexpr size_t deepest = 100;

/// Whether it is a number as JSON writes it, and a double can hold.
bool isNumber(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9')
      ++at;
    return at > begin;
  };
  const bool hasZero = at < text.size() && text[at] == '0';
  const size_t begin = at;
  if (!digits() || (hasZero && at - begin > 1))
    return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (!digits())
      return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-'))
      ++at;
    if (!digits())
      return false;
  }
  // One that is beyond a double, readers of JSON refuse or take for infinite.
  double value = 0;
  return at == text.size() &&
         std::from_chars(text.data(), text.data() + text.size(), value).ec ==
             std::errc();
}

/// A value without marks. The template prints None for null.
std::string bareValue(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> names[] = {
      {"true", "true"},   {"True", "true"}, {"false", "false"},
      {"False", "false"}, {"null", "null"}, {"None", "null"}};
  for (const auto &[name, json] : names)
    if (text == name)
      return std::string(json);
  return isNumber(text) ? std::string(text) : quoteJson(text);
}

/// A string in plain quotes as JSON; one that JSON does not know is taken as it
/// stands.
std::string quotedValue(const std::string &text) {
  const auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_string())
    return quoteJson(parsed.get_ref<const std::string &>());
  std::string_view inner = text;
  inner.remove_prefix(1);
  if (inner.ends_with('"'))
    inner.remove_suffix(1);
  return quoteJson(inner);
}

/// The inside of a JSON string.
std::string escaped(std::string_view text) {
  const std::string quoted = quoteJson(text);
  return quoted.substr(1, quoted.size() - 2);
}

bool isBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

} // namespace

void CallArguments::text(std::string_view piece, std::string &out) {
  if (state == State::Start)
    open(false, out);
  if (state == State::String) {
    out += escaped(piece);
    return;
  }
  if (state == State::MarkedKey) {
    pending += piece;
    return;
  }
  for (char c : piece)
    take(c, out);
}

void CallArguments::take(char c, std::string &out) {
  switch (state) {
  case State::Key:
    return takeKey(c, out);
  case State::Value:
    return takeValue(c, out);
  case State::Quoted:
    return takeQuoted(c, out);
  case State::Bare:
    if (c != ',' && c != '}' && c != ']') {
      pending += c;
      return;
    }
    endBare(out);
    [[fallthrough]];
  case State::After:
    if (c == '}' || c == ']')
      close(c == ']', out);
    else if (c == ',')
      state = containers.back().isList ? State::Value : State::Key;
    return;
  default:
    return;
  }
}

void CallArguments::takeKey(char c, std::string &out) {
  if (c == ':') {
    endKey(out);
    state = State::Value;
  } else if (c == '}' || c == ']') {
    pending.clear();
    close(c == ']', out);
  } else if (c == ',') {
    pending.clear();
  } else {
    pending += c;
  }
}

void CallArguments::takeValue(char c, std::string &out) {
  if (isBlank(c))
    return;
  if (c == '{' || c == '[')
    return open(c == '[', out);
  if (c == '}' || c == ']')
    return close(c == ']', out);
  if (c == ',') {
    // A key without a value.
    if (containers.back().hasKey) {
      beginValue(out);
      out += "null";
      state = State::Key;
    }
    return;
  }
  beginValue(out);
  pending = c;
  isEscaped = false;
  state = c == '"' ? State::Quoted : State::Bare;
}

void CallArguments::takeQuoted(char c, std::string &out) {
  pending += c;
  if (isEscaped) {
    isEscaped = false;
  } else if (c == '\\') {
    isEscaped = true;
  } else if (c == '"') {
    out += quotedValue(pending);
    pending.clear();
    state = State::After;
  }
}

void CallArguments::stringMark(std::string &out) {
  if (state == State::Start)
    open(false, out);
  switch (state) {
  case State::Key:
    pending.clear();
    state = State::MarkedKey;
    return;
  case State::MarkedKey:
    // What follows up to the colon is part of no key that there is.
    state = State::Key;
    return;
  case State::Value:
    beginValue(out);
    out += '"';
    state = State::String;
    return;
  case State::String:
    out += '"';
    state = State::After;
    return;
  case State::Bare:
  case State::Quoted:
    // A mark within a value that began without one: what there is, is it.
    endBare(out);
    return;
  default:
    return;
  }
}

void CallArguments::beginValue(std::string &out) {
  Container &inner = containers.back();
  if (inner.isList && inner.hasItems)
    out += ',';
  inner.hasItems = true;
  inner.hasKey = false;
}

void CallArguments::endKey(std::string &out) {
  Container &inner = containers.back();
  std::string_view key = stripWhiteSpace(pending);
  if (key.size() >= 2 && key.starts_with('"') && key.ends_with('"'))
    key = key.substr(1, key.size() - 2);
  out += (inner.hasItems ? "," : "") + quoteJson(key) + ":";
  inner.hasItems = inner.hasKey = true;
  pending.clear();
}

void CallArguments::endBare(std::string &out) {
  out += state == State::Quoted ? quotedValue(pending)
                                : bareValue(stripWhiteSpace(pending));
  pending.clear();
  state = State::After;
}

void CallArguments::open(bool isList, std::string &out) {
  if (!containers.empty())
    beginValue(out);
  if (containers.size() >= deepest) {
    out += "null";
    finish(out);
    return;
  }
  containers.push_back({isList});
  out += isList ? '[' : '{';
  state = isList ? State::Value : State::Key;
}

void CallArguments::pop(std::string &out) {
  if (containers.back().hasKey)
    out += "null";
  out += containers.back().isList ? ']' : '}';
  containers.pop_back();
  state = containers.empty() ? State::Done : State::After;
}

void CallArguments::close(bool isList, std::string &out) {
  size_t wanted = containers.size();
  while (wanted > 0 && containers[wanted - 1].isList != isList)
    --wanted;
  // One that is not open closes nothing.
  while (wanted > 0 && containers.size() >= wanted)
    pop(out);
}

void CallArguments::finish(std::string &out) {
  if (state == State::Start)
    open(false, out);
  if (state == State::String)
    out += '"';
  if (state == State::Bare || state == State::Quoted)
    endBare(out);
  while (!containers.empty())
    pop(out);
  state = State::Done;
}

} // namespace lapidary::chat
