// Recursive descent into a tree, and Thompson's construction from it: a tree,
// because a quantifier repeats what it stands behind.
#include "runtime/grammar/Regex.h"

#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace lapidary {
namespace {

constexpr int deepestGroup = 100;

struct Node;
using NodePtr = std::unique_ptr<Node>;
struct Node {
  enum class Kind : uint8_t {
    Characters,
    Sequence,
    Choice,
    Repeat,
    Begin,
    End
  };
  Kind kind;
  CharSet characters;
  std::vector<NodePtr> parts;
  int64_t least = 0, most = 0; // of Repeat; most < 0: no end
};

NodePtr makeNode(Node::Kind kind) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  return node;
}

const CharSet &digits() {
  static const CharSet set({{'0', '9'}});
  return set;
}
const CharSet &wordCharacters() {
  static const CharSet set({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}});
  return set;
}
/// ECMA 262's white space and line ends.
const CharSet &whiteSpace() {
  static const CharSet set({{9, 13},
                            {' ', ' '},
                            {0xA0, 0xA0},
                            {0x1680, 0x1680},
                            {0x2000, 0x200A},
                            {0x2028, 0x2029},
                            {0x202F, 0x202F},
                            {0x205F, 0x205F},
                            {0x3000, 0x3000},
                            {0xFEFF, 0xFEFF}});
  return set;
}

class Parser {
public:
  explicit Parser(std::string_view pattern) : text(pattern) {}

  Result<NodePtr> parse() {
    if (!isValidUtf8(text))
      return invalidData("the pattern is not valid UTF-8");
    NodePtr node = LAPIDARY_TRY(parseChoice(0));
    if (at < text.size())
      return fail("there is a ')' without a '('");
    return node;
  }

private:
  Status fail(std::string_view what) const {
    return unsupported(
        concat("the pattern '", text, "', byte ", at, ": ", what));
  }
  bool take(char c) {
    if (at >= text.size() || text[at] != c)
      return false;
    ++at;
    return true;
  }
  uint32_t takeCharacter() {
    Utf8Character c = readUtf8(text.substr(at));
    at += c.size;
    return c.value;
  }

  Result<NodePtr> parseChoice(int depth) {
    if (depth > deepestGroup)
      return fail("groups are nested too deeply");
    NodePtr choice = makeNode(Node::Kind::Choice);
    do {
      NodePtr sequence = makeNode(Node::Kind::Sequence);
      while (at < text.size() && text[at] != '|' && text[at] != ')')
        sequence->parts.push_back(LAPIDARY_TRY(parseQuantified(depth)));
      choice->parts.push_back(std::move(sequence));
    } while (take('|'));
    return choice;
  }

  Result<NodePtr> parseQuantified(int depth) {
    NodePtr atom = LAPIDARY_TRY(parseAtom(depth));
    size_t before = at;
    NodePtr repeat = makeNode(Node::Kind::Repeat);
    if (take('*')) {
      repeat->most = -1;
    } else if (take('+')) {
      repeat->least = 1;
      repeat->most = -1;
    } else if (take('?')) {
      repeat->most = 1;
    } else if (!LAPIDARY_TRY(parseCounts(*repeat))) {
      return atom;
    }
    if (atom->kind == Node::Kind::Begin || atom->kind == Node::Kind::End) {
      at = before;
      return fail("an anchor cannot be repeated");
    }
    take('?'); // Lazy ones match the same texts.
    if (at < text.size() && std::strchr("*+?{", text[at]))
      return fail("a quantifier follows a quantifier");
    repeat->parts.push_back(std::move(atom));
    return repeat;
  }

  /// {2}, {2,} or {2,5}; any other brace is a character.
  Result<bool> parseCounts(Node &repeat) {
    size_t start = at;
    const auto number = [&]() -> std::optional<int64_t> {
      size_t first = at;
      int64_t value = 0;
      while (at < text.size() && text[at] >= '0' && text[at] <= '9')
        value = std::min<int64_t>(value * 10 + (text[at++] - '0'), 1 << 20);
      return at > first ? std::optional(value) : std::nullopt;
    };
    if (take('{')) {
      if (std::optional<int64_t> least = number()) {
        repeat.least = repeat.most = *least;
        if (take(',')) {
          std::optional<int64_t> most = number();
          repeat.most = most ? *most : -1;
        }
        if (take('}')) {
          if (repeat.most >= 0 && repeat.most < repeat.least)
            return fail("the counts are the wrong way round");
          return true;
        }
      }
    }
    at = start;
    return false;
  }

  Result<NodePtr> parseAtom(int depth) {
    if (take('('))
      return parseGroup(depth);
    if (take('^'))
      return makeNode(Node::Kind::Begin);
    if (take('$'))
      return makeNode(Node::Kind::End);
    NodePtr node = makeNode(Node::Kind::Characters);
    if (take('[')) {
      node->characters = LAPIDARY_TRY(parseClass());
    } else if (take('.')) {
      node->characters =
          CharSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).complement();
    } else if (take('\\')) {
      node->characters = LAPIDARY_TRY(parseEscape(false));
    } else if (std::strchr("*+?", text[at])) {
      return fail("there is nothing to repeat");
    } else {
      node->characters = CharSet::of(takeCharacter());
    }
    return node;
  }

  Result<NodePtr> parseGroup(int depth) {
    if (take('?')) {
      if (take('<')) {
        if (at < text.size() && (text[at] == '=' || text[at] == '!'))
          return fail("look-behind is not supported");
        size_t end = text.find('>', at);
        if (end == std::string_view::npos)
          return fail("a group's name has no end");
        at = end + 1;
      } else if (!take(':')) {
        return fail("look-ahead and flags are not supported");
      }
    }
    NodePtr group = LAPIDARY_TRY(parseChoice(depth + 1));
    if (!take(')'))
      return fail("a ')' is missing");
    return group;
  }

  Result<CharSet> parseClass() {
    bool negated = take('^');
    std::vector<CharRange> ranges;
    while (!take(']')) {
      if (at >= text.size())
        return fail("a ']' is missing");
      CharSet first = LAPIDARY_TRY(parseClassAtom());
      if (at + 1 < text.size() && text[at] == '-' && text[at + 1] != ']') {
        ++at;
        CharSet last = LAPIDARY_TRY(parseClassAtom());
        const auto single = [](const CharSet &set) {
          return set.ranges().size() == 1 &&
                 set.ranges()[0].first == set.ranges()[0].last;
        };
        if (!single(first) || !single(last) ||
            first.ranges()[0].first > last.ranges()[0].first)
          return fail("a range in a class is not from a lower to a higher "
                      "character");
        ranges.push_back({first.ranges()[0].first, last.ranges()[0].first});
        continue;
      }
      ranges.insert(ranges.end(), first.ranges().begin(), first.ranges().end());
    }
    CharSet set(std::move(ranges));
    return negated ? set.complement() : set;
  }
  Result<CharSet> parseClassAtom() {
    if (take('\\'))
      return parseEscape(true);
    if (at >= text.size())
      return fail("a ']' is missing");
    return CharSet::of(takeCharacter());
  }

  Result<uint32_t> parseHex(int length) {
    uint32_t value = 0;
    for (int i = 0; i < length; ++i, ++at) {
      char c = at < text.size() ? text[at] : '?';
      int digit = c >= '0' && c <= '9'                 ? c - '0'
                  : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                       : -1;
      if (digit < 0)
        return fail(concat("expected ", length, " hexadecimal digits"));
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    return value;
  }

  Result<CharSet> parseEscape(bool inClass) {
    if (at >= text.size())
      return fail("it ends with a backslash");
    char c = text[at];
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 's':
    case 'S': {
      ++at;
      const CharSet &set = (c | 32) == 'd'   ? digits()
                           : (c | 32) == 'w' ? wordCharacters()
                                             : whiteSpace();
      return c >= 'a' ? set : set.complement();
    }
    case 't':
      return ++at, CharSet::of('\t');
    case 'n':
      return ++at, CharSet::of('\n');
    case 'r':
      return ++at, CharSet::of('\r');
    case 'f':
      return ++at, CharSet::of('\f');
    case 'v':
      return ++at, CharSet::of('\v');
    case '0':
      return ++at, CharSet::of(0);
    case 'x':
      ++at;
      return CharSet::of(LAPIDARY_TRY(parseHex(2)));
    case 'u': {
      ++at;
      uint32_t value = LAPIDARY_TRY(parseHex(4));
      if (value >= 0xD800 && value < 0xDC00 && text.substr(at, 2) == "\\u") {
        at += 2;
        uint32_t low = LAPIDARY_TRY(parseHex(4));
        if (low < 0xDC00 || low > 0xDFFF)
          return fail("half of a surrogate pair is no character");
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
      CharSet set = CharSet::of(value);
      if (set.empty())
        return fail("half of a surrogate pair is no character");
      return set;
    }
    case 'b':
      if (inClass)
        return ++at, CharSet::of('\b');
      [[fallthrough]];
    default:
      // The punctuation characters stand for themselves; letters and digits
      // mean something else.
      if (wordCharacters().contains(static_cast<uint8_t>(c)))
        return fail(concat("\\", std::string_view(&c, 1), " is not supported"));
      return CharSet::of(takeCharacter());
    }
  }

  std::string_view text;
  size_t at = 0;
};

/// Anchors hold only where nothing but what may stand before a start, or after
/// an end, is around them: as the first or last part of a whole alternative.
class Builder {
public:
  explicit Builder(std::string_view pattern) : pattern(pattern) {}

  Result<CharNfa> build(const Node &choice) {
    uint32_t start = nfa.addState(), end = nfa.addState();
    nfa.states[end].accepts = true;
    LAPIDARY_TRY(buildTop(choice, start, end, true, true));
    return std::move(nfa);
  }

private:
  void loop(uint32_t state) {
    nfa.states[state].edges.push_back({CharSet::any(), state});
  }
  void skip(uint32_t from, uint32_t to) {
    nfa.states[from].skips.push_back(to);
  }
  static bool isAnchor(const Node &node) {
    return node.kind == Node::Kind::Begin || node.kind == Node::Kind::End;
  }

  /// The alternatives of the whole pattern, or of a group that is all of one.
  Status buildTop(const Node &choice, uint32_t from, uint32_t to, bool atBegin,
                  bool atEnd) {
    for (const NodePtr &sequence : choice.parts) {
      auto first = sequence->parts.begin(), last = sequence->parts.end();
      bool begins = !atBegin, ends = !atEnd;
      for (; first != last && (*first)->kind == Node::Kind::Begin; ++first)
        begins = true;
      for (; first != last && (*(last - 1))->kind == Node::Kind::End; --last)
        ends = true;
      if (last - first == 1 && (*first)->kind == Node::Kind::Choice) {
        LAPIDARY_TRY(buildTop(**first, from, to, !begins, !ends));
        continue;
      }
      uint32_t state = nfa.addState();
      skip(from, state);
      if (!begins)
        loop(state);
      for (; first != last; ++first)
        state = LAPIDARY_TRY(build(**first, state));
      uint32_t tail = nfa.addState();
      skip(state, tail);
      if (!ends)
        loop(tail);
      skip(tail, to);
    }
    return {};
  }

  /// Returns the state behind the node.
  Result<uint32_t> build(const Node &node, uint32_t from) {
    if (nfa.states.size() > CharNfa::maxStates)
      return unsupported(concat("the pattern '", pattern, "' needs more than ",
                                CharNfa::maxStates,
                                " states; make its counts smaller"));
    switch (node.kind) {
    case Node::Kind::Begin:
    case Node::Kind::End:
      return unsupported(concat("the pattern '", pattern,
                                "': an anchor within it is not supported, "
                                "only ^ first and $ last"));
    case Node::Kind::Characters: {
      uint32_t to = nfa.addState();
      // Each repetition has its own copy.
      ranges += node.characters.ranges().size();
      if (ranges > mostRanges)
        return unsupported(concat("the pattern '", pattern,
                                  "' repeats classes "
                                  "of more than ",
                                  mostRanges,
                                  " ranges; make its counts smaller"));
      if (!node.characters.empty())
        nfa.states[from].edges.push_back({node.characters, to});
      return to;
    }
    case Node::Kind::Sequence:
      for (const NodePtr &part : node.parts)
        from = LAPIDARY_TRY(build(*part, from));
      return from;
    case Node::Kind::Choice: {
      uint32_t to = nfa.addState();
      for (const NodePtr &part : node.parts) {
        uint32_t start = nfa.addState();
        skip(from, start);
        uint32_t end = LAPIDARY_TRY(build(*part, start));
        skip(end, to);
      }
      return to;
    }
    case Node::Kind::Repeat:
      break;
    }
    const Node &part = *node.parts[0];
    for (int64_t i = 0; i < node.least; ++i)
      from = LAPIDARY_TRY(build(part, from));
    uint32_t end = nfa.addState();
    if (node.most < 0) {
      uint32_t start = nfa.addState();
      skip(from, start);
      uint32_t back = LAPIDARY_TRY(build(part, start));
      skip(back, start);
      skip(start, end);
      return end;
    }
    for (int64_t i = node.least; i < node.most; ++i) {
      skip(from, end);
      uint32_t start = nfa.addState();
      skip(from, start);
      from = LAPIDARY_TRY(build(part, start));
    }
    skip(from, end);
    return end;
  }

  /// Some MB.
  static constexpr size_t mostRanges = size_t(1) << 19;
  std::string_view pattern;
  CharNfa nfa;
  size_t ranges = 0;
};

} // namespace

Result<CharNfa> parseRegex(std::string_view pattern) {
  // Its tree takes some hundred bytes a character.
  constexpr size_t longestPattern = 16384;
  if (pattern.size() > longestPattern)
    return unsupported(concat("the pattern has ", pattern.size(),
                              " bytes, at most ", longestPattern));
  NodePtr tree = LAPIDARY_TRY(Parser(pattern).parse());
  return Builder(pattern).build(*tree);
}

} // namespace lapidary
