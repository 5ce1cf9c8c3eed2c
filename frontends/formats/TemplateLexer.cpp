// Tags are found in order; what lies between them is text, whose ends the tags
// on both sides may trim.
#include "frontends/formats/TemplateLexer.h"

#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>

namespace lapidary {

namespace {

using Kind = TemplateToken::Kind;

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool isBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// All line ends are \n, and the last one is dropped.
std::string normalizeLines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n')
      continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n'))
    text.pop_back();
  return text;
}

class Lexer {
public:
  Lexer(std::string_view source, const std::string &origin)
      : text(normalizeLines(source)), origin(origin) {}

  Result<std::vector<TemplateToken>> run();

private:
  Status error(size_t place, const std::string &what) const;
  void add(Kind kind, size_t place, std::string value = {});
  /// Where the next tag begins, or the end.
  size_t findTag(size_t from) const;
  void addData(size_t from, size_t to, bool isBlock);
  Status skipComment();
  Status readTag(char kind);
  Status readToken(char kind);
  Status readString();
  void readNumber();
  /// Whether a raw block begins here; then it is read to its end.
  Result<bool> readRaw(size_t begin);
  bool startsWith(std::string_view what) const {
    return std::string_view(text).substr(at).starts_with(what);
  }
  void skipBlanks() {
    while (at < text.size() && isBlank(text[at]))
      ++at;
  }
  /// Past a tag's end; `sign` is the character before it, if - or +.
  void passEnd(char sign, bool isBlock);

  const std::string text;
  const std::string &origin;
  std::vector<TemplateToken> tokens;
  size_t at = 0;
  /// What the last tag has ended with was a newline, or nothing came yet.
  bool lineStarts = true;
  /// For places: where the line begins, counted once from left to right.
  mutable size_t counted = 0, lineStart = 0;
  mutable uint32_t line = 1;
};

Status Lexer::error(size_t place, const std::string &what) const {
  const std::string_view before = std::string_view(text).substr(0, place);
  const size_t begin = before.rfind('\n') + 1;
  return invalidData(concat(origin, ":", 1 + std::ranges::count(before, '\n'),
                            ":", place - begin + 1, ": ", what));
}

void Lexer::add(Kind kind, size_t place, std::string value) {
  for (; counted < place; ++counted)
    if (text[counted] == '\n') {
      ++line;
      lineStart = counted + 1;
    }
  tokens.push_back({kind, std::move(value), line,
                    static_cast<uint32_t>(place - lineStart + 1)});
}

size_t Lexer::findTag(size_t from) const {
  for (; (from = text.find('{', from)) != std::string::npos; ++from)
    if (from + 1 < text.size() &&
        (text[from + 1] == '%' || text[from + 1] == '{' ||
         text[from + 1] == '#'))
      return from;
  return text.size();
}

void Lexer::addData(size_t from, size_t to, bool isBlock) {
  std::string_view data = std::string_view(text).substr(from, to - from);
  const char sign = to + 2 < text.size() ? text[to + 2] : '\0';
  if (to < text.size() && sign == '-') {
    data = stripRight(data);
  } else if (to < text.size() && sign != '+' && isBlock) {
    const size_t newline = data.rfind('\n');
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if ((begin > 0 || lineStarts) && stripRight(data.substr(begin)).empty())
      data = data.substr(0, begin);
  }
  if (!data.empty())
    add(Kind::Data, from, std::string(data));
}

void Lexer::passEnd(char sign, bool isBlock) {
  const size_t begin = at;
  if (sign == '-') {
    at = text.size() - stripLeft(std::string_view(text).substr(at)).size();
  } else if (sign != '+' && isBlock && at < text.size() && text[at] == '\n') {
    ++at;
  }
  lineStarts = at > begin && text[at - 1] == '\n';
}

Status Lexer::skipComment() {
  const size_t begin = at;
  const size_t end = text.find("#}", at + 2);
  if (end == std::string::npos)
    return error(begin, "this comment has no end, expected #}");
  at = end + 2;
  passEnd(end > begin + 2 ? text[end - 1] : '\0', true);
  return {};
}

Result<bool> Lexer::readRaw(size_t begin) {
  at = begin + 2;
  if (startsWith("-") || startsWith("+"))
    ++at;
  skipBlanks();
  if (!startsWith("raw"))
    return false;
  at += 3;
  skipBlanks();
  const bool trims = startsWith("-%}");
  if (!trims && !startsWith("%}"))
    return false;
  at += trims ? 3 : 2;
  passEnd(trims ? '-' : '+', true);
  const size_t from = at;
  for (size_t end = from; (end = text.find("{%", end)) != std::string::npos;
       ++end) {
    at = end + 2;
    if (startsWith("-") || startsWith("+"))
      ++at;
    skipBlanks();
    if (!startsWith("endraw"))
      continue;
    at += 6;
    skipBlanks();
    const char sign = startsWith("-%}") ? '-' : startsWith("+%}") ? '+' : '\0';
    at += sign ? 1 : 0;
    if (!startsWith("%}"))
      continue;
    at += 2;
    const size_t after = at;
    addData(from, end, true);
    at = after;
    passEnd(sign, true);
    return true;
  }
  return error(begin, "this raw block has no end, expected {% endraw %}");
}

Status Lexer::readString() {
  const size_t begin = at;
  const char quote = text[at++];
  std::string value;
  while (at < text.size() && text[at] != quote) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      value += text[at++];
      continue;
    }
    constexpr std::string_view from = "ntr\\'\"abfv\n";
    constexpr std::string_view to = "\n\t\r\\'\"\a\b\f\v";
    const char escaped = text[at + 1];
    at += 2;
    if (const size_t known = from.find(escaped);
        known != std::string_view::npos) {
      if (known < to.size())
        value += to[known];
      continue;
    }
    const size_t digits = escaped == 'x'   ? 2
                          : escaped == 'u' ? 4
                          : escaped == 'U' ? 8
                                           : 0;
    if (!digits && escaped != 'N' && !isDigit(escaped)) {
      // Not an escape: Python keeps both characters.
      value += '\\';
      --at;
      continue;
    }
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++at) {
      const char c = at < text.size() ? text[at] : '\0';
      const char small = static_cast<char>(c | 32);
      const int digit = isDigit(c)                     ? c - '0'
                        : small >= 'a' && small <= 'f' ? small - 'a' + 10
                                                       : -1;
      if (digit < 0 || code > 0x10FFFF)
        return error(begin, "a string has an escape that is no character");
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    if (!digits || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return error(begin, concat("the escape \\", std::string(1, escaped),
                                 " in a string is not supported here; write "
                                 "the character itself"));
    appendUtf8(value, code);
  }
  if (at == text.size())
    return error(begin, "this string has no end");
  ++at;
  add(Kind::String, begin, std::move(value));
  return {};
}

void Lexer::readNumber() {
  const size_t begin = at;
  const auto digits = [&] {
    while (at < text.size() &&
           (isDigit(text[at]) ||
            (text[at] == '_' && at + 1 < text.size() && isDigit(text[at + 1]))))
      ++at;
  };
  digits();
  Kind kind = Kind::Integer;
  if (at + 1 < text.size() && text[at] == '.' && isDigit(text[at + 1])) {
    kind = Kind::Float;
    ++at;
    digits();
  }
  if (at < text.size() && (text[at] | 32) == 'e') {
    size_t exponent = at + 1;
    if (exponent < text.size() &&
        (text[exponent] == '+' || text[exponent] == '-'))
      ++exponent;
    if (exponent < text.size() && isDigit(text[exponent])) {
      kind = Kind::Float;
      at = exponent;
      digits();
    }
  }
  std::string value = text.substr(begin, at - begin);
  std::erase(value, '_');
  add(kind, begin, std::move(value));
}

/// One token of a tag that ends with `kind` and a brace.
Status Lexer::readToken(char kind) {
  const char c = text[at];
  if (c == '\'' || c == '"')
    return readString();
  if (isDigit(c)) {
    readNumber();
    return {};
  }
  const size_t begin = at;
  if (isNameStart(c)) {
    while (at < text.size() && (isNameStart(text[at]) || isDigit(text[at])))
      ++at;
    add(Kind::Name, begin, text.substr(begin, at - begin));
    return {};
  }
  constexpr std::string_view operators[] = {
      "==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/",
      "%",  "~",  "|",  ".",  ",",  ":",  "(", ")", "[", "]", "{", "}"};
  for (std::string_view each : operators)
    if (startsWith(each)) {
      at += each.size();
      add(Kind::Operator, begin, std::string(each));
      return {};
    }
  return error(begin,
               concat("expected an expression or ", kind == '%' ? "%}" : "}}",
                      ", found '", std::string(1, c), "'"));
}

/// The rest of a tag whose begin has been passed.
Status Lexer::readTag(char kind) {
  const size_t begin = at - 2;
  if (startsWith("-") || startsWith("+"))
    ++at;
  // Braces and brackets that are open: }} may close two mappings.
  size_t open = 0;
  const std::string_view end = kind == '%' ? "%}" : "}}";
  for (skipBlanks(); at < text.size(); skipBlanks()) {
    const char sign = text[at];
    const bool isSigned =
        (sign == '-' || (sign == '+' && kind == '%')) &&
        std::string_view(text).substr(at + 1).starts_with(end);
    if (!open && (isSigned || startsWith(end))) {
      add(kind == '%' ? Kind::BlockEnd : Kind::OutputEnd, at);
      at += isSigned ? 3 : 2;
      passEnd(isSigned ? sign : '\0', kind == '%');
      return {};
    }
    LAPIDARY_TRY(readToken(kind));
    const TemplateToken &last = tokens.back();
    if (last.kind != Kind::Operator)
      continue;
    const char bracket = last.text[0];
    if (bracket == '(' || bracket == '[' || bracket == '{')
      ++open;
    else if (open && (bracket == ')' || bracket == ']' || bracket == '}'))
      --open;
  }
  return error(begin, concat("this tag has no end, expected ", end));
}

Result<std::vector<TemplateToken>> Lexer::run() {
  if (!isValidUtf8(text))
    return invalidData(origin + ": expected UTF-8");
  while (at < text.size()) {
    const size_t from = at, begin = findTag(at);
    const char kind = begin < text.size() ? text[begin + 1] : '\0';
    addData(from, begin, kind != '{');
    at = begin;
    if (begin == text.size())
      break;
    if (kind == '#') {
      LAPIDARY_TRY(skipComment());
      continue;
    }
    if (kind == '%') {
      if (LAPIDARY_TRY(readRaw(begin)))
        continue;
    }
    add(kind == '%' ? Kind::BlockBegin : Kind::OutputBegin, begin);
    at = begin + 2;
    LAPIDARY_TRY(readTag(kind));
  }
  add(Kind::End, text.size());
  return std::move(tokens);
}

} // namespace

Result<std::vector<TemplateToken>> lexTemplate(std::string_view source,
                                               const std::string &origin) {
  return Lexer(source, origin).run();
}

} // namespace lapidary
