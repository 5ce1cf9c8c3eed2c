// Recursive descent, one function a level of precedence, as in Jinja, so that
// every text groups as it does there.
#include "frontends/formats/TemplateParser.h"

#include "frontends/formats/TemplateLexer.h"
#include "runtime/chat/TemplateNames.h"
#include "runtime/core/Text.h"

#include <initializer_list>
#include <set>

namespace lapidary {

namespace {

using Kind = schema::TemplateKind;
using Token = TemplateToken;

constexpr uint32_t absent = UINT32_MAX;
/// Far beyond any template, and far from the end of a thread's stack.
constexpr int deepest = 100;
constexpr size_t mostNodes = 1 << 20;
/// Of the tree: chains such as a + b + c are deep without nesting. The runtime
/// takes no deeper one.
constexpr uint32_t deepestTree = chat::deepestTree;

class Parser {
public:
  Parser(std::vector<Token> tokens, const std::string &origin)
      : tokens(std::move(tokens)), origin(origin) {}

  Result<TemplateTree> run();

private:
  using Node = Result<uint32_t>;
  using Nodes = std::vector<uint32_t>;

  const Token &current() const { return tokens[at]; }
  const Token &following() const {
    return tokens[std::min(at + 1, tokens.size() - 1)];
  }
  bool isOperator(std::string_view text) const {
    return current().kind == Token::Kind::Operator && current().text == text;
  }
  bool isName(std::string_view text) const {
    return current().kind == Token::Kind::Name && current().text == text;
  }
  bool takeOperator(std::string_view text) {
    const bool is = isOperator(text);
    at += is;
    return is;
  }
  bool takeName(std::string_view text) {
    const bool is = isName(text);
    at += is;
    return is;
  }
  Status error(const Token &token, const std::string &what) const {
    return unsupported(
        concat(origin, ":", token.line, ":", token.column, ": ", what));
  }
  static std::string describe(const Token &token);
  Status expected(const std::string &what) const {
    return error(current(),
                 concat("expected ", what, ", found ", describe(current())));
  }
  Status expectOperator(const char *text);
  Status expectName(const char *text);
  Result<std::string> expectAnyName(const char *what);
  Status expectBlockEnd();
  Node add(Kind kind, const Token &token, Nodes children,
           std::string text = {});

  Node parseBody(std::initializer_list<std::string_view> ends);
  Node parseStatement();
  Node parseIf(const Token &begin);
  Node parseFor(const Token &begin);
  Node parseSet(const Token &begin);
  Node parseMacro(const Token &begin);
  Node parseTarget(bool isSet);
  Node parseTargetItem(bool isSet);

  Node parseTuple(bool withConditional, bool isParenthesized = false);
  bool isTupleEnd() const;
  Node parseExpression(bool withConditional = true) {
    return withConditional ? parseConditional() : parseOr();
  }
  Node parseConditional();
  Node parseOr();
  Node parseAnd();
  Node parseNot();
  Node parseCompare();
  Node parseSum();
  Node parseConcat();
  Node parseProduct();
  Node parsePower();
  Node parseUnary(bool withFilter = true);
  Node parsePrimary();
  Node parsePostfix(uint32_t node);
  Node parseFilters(uint32_t node);
  Node parseFilter(uint32_t node);
  Node parseTest(uint32_t node);
  Node parseSubscript(uint32_t node);
  Node parseCall(uint32_t node);
  Result<Nodes> parseArguments(bool withKeywords);
  Node parseDict();
  Status checkCalls() const;

  std::vector<Token> tokens;
  const std::string &origin;
  size_t at = 0;
  int depth = 0;
  /// Macros and loops around what is read.
  int macros = 0, loops = 0;
  TemplateTree tree;
  /// Of every node, for errors that are found at the end.
  std::vector<Token> places;
  std::vector<uint32_t> levels;
  /// Names that the template gives a value.
  std::set<std::string, std::less<>> defined;
};

/// Counts nesting while it lives.
class Deeper {
public:
  explicit Deeper(int &depth) : depth(depth) { ++depth; }
  ~Deeper() { --depth; }
  bool isTooDeep() const { return depth > deepest; }

private:
  int &depth;
};

std::string Parser::describe(const Token &token) {
  switch (token.kind) {
  case Token::Kind::Data:
    return "text";
  case Token::Kind::BlockBegin:
    return "{%";
  case Token::Kind::BlockEnd:
    return "%}";
  case Token::Kind::OutputBegin:
    return "{{";
  case Token::Kind::OutputEnd:
    return "}}";
  case Token::Kind::String:
    return "a string";
  case Token::Kind::End:
    return "the end of the template";
  default:
    return "'" + token.text.substr(0, 60) + "'";
  }
}

Status Parser::expectOperator(const char *text) {
  return takeOperator(text) ? Status() : expected(concat("'", text, "'"));
}

Status Parser::expectName(const char *text) {
  return takeName(text) ? Status() : expected(concat("'", text, "'"));
}

Result<std::string> Parser::expectAnyName(const char *what) {
  if (current().kind != Token::Kind::Name)
    return expected(what);
  return tokens[at++].text;
}

Status Parser::expectBlockEnd() {
  if (current().kind != Token::Kind::BlockEnd)
    return expected("%}");
  ++at;
  return {};
}

Parser::Node Parser::add(Kind kind, const Token &token, Nodes children,
                         std::string text) {
  if (tree.nodes.size() >= mostNodes)
    return error(token,
                 concat("the template has more than ", mostNodes, " nodes"));
  uint32_t level = 1;
  for (uint32_t child : children)
    if (child != absent)
      level = std::max(level, levels[child] + 1);
  if (level > deepestTree)
    return error(token, concat("more than ", deepestTree, " levels"));
  levels.push_back(level);
  tree.nodes.push_back(
      {kind, token.line, std::move(text), std::move(children)});
  places.push_back({token.kind, {}, token.line, token.column});
  return static_cast<uint32_t>(tree.nodes.size() - 1);
}

/// Statements up to a tag that begins with one of `ends`, whose name is next
/// then; without ends, up to the end of the template.
Parser::Node Parser::parseBody(std::initializer_list<std::string_view> ends) {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(current(), concat("more than ", deepest, " levels"));
  const Token begin = current();
  Nodes statements;
  for (;;) {
    const Token token = current();
    switch (token.kind) {
    case Token::Kind::Data:
      ++at;
      statements.push_back(
          LAPIDARY_TRY(add(Kind::Text, token, {}, token.text)));
      continue;
    case Token::Kind::OutputBegin: {
      ++at;
      const uint32_t value = LAPIDARY_TRY(parseTuple(true));
      if (current().kind != Token::Kind::OutputEnd)
        return expected("}}");
      ++at;
      statements.push_back(LAPIDARY_TRY(add(Kind::Output, token, {value})));
      continue;
    }
    case Token::Kind::BlockBegin: {
      ++at;
      for (std::string_view end : ends)
        if (isName(end))
          return add(Kind::Block, begin, std::move(statements));
      statements.push_back(LAPIDARY_TRY(parseStatement()));
      LAPIDARY_TRY(expectBlockEnd());
      continue;
    }
    case Token::Kind::End:
      if (ends.size() > 0)
        return expected(concat("{% ", *(ends.end() - 1), " %}"));
      return add(Kind::Block, begin, std::move(statements));
    default:
      return expected("text or a tag");
    }
  }
}

Parser::Node Parser::parseStatement() {
  const Token begin = current();
  const std::string name = LAPIDARY_TRY(expectAnyName("a statement's name"));
  if (name == "if")
    return parseIf(begin);
  if (name == "for")
    return parseFor(begin);
  if (name == "set")
    return parseSet(begin);
  if (name == "macro")
    return parseMacro(begin);
  if (name == "generation") {
    // What a trainer asks for; the text is that of the body.
    LAPIDARY_TRY(expectBlockEnd());
    const uint32_t body = LAPIDARY_TRY(parseBody({"endgeneration"}));
    ++at;
    return body;
  }
  if (name == "break" || name == "continue") {
    if (loops == 0)
      return error(begin, concat("'", name, "' outside of a loop"));
    return add(name == "break" ? Kind::Break : Kind::Continue, begin, {});
  }
  return error(begin, concat("the statement '", name.substr(0, 60),
                             "' is not supported; expected if, for, set, "
                             "macro, break, continue or generation"));
}

Parser::Node Parser::parseIf(const Token &begin) {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(begin, concat("more than ", deepest, " levels"));
  const uint32_t condition = LAPIDARY_TRY(parseTuple(false));
  LAPIDARY_TRY(expectBlockEnd());
  const uint32_t then = LAPIDARY_TRY(parseBody({"elif", "else", "endif"}));
  uint32_t otherwise = absent;
  const Token next = current();
  if (takeName("elif")) {
    otherwise = LAPIDARY_TRY(parseIf(next));
  } else if (takeName("else")) {
    LAPIDARY_TRY(expectBlockEnd());
    otherwise = LAPIDARY_TRY(parseBody({"endif"}));
    ++at;
  } else {
    ++at;
  }
  return add(Kind::If, begin, {condition, then, otherwise});
}

Parser::Node Parser::parseFor(const Token &begin) {
  const uint32_t target = LAPIDARY_TRY(parseTarget(false));
  LAPIDARY_TRY(expectName("in"));
  const uint32_t iterable = LAPIDARY_TRY(parseTuple(false));
  uint32_t filter = absent;
  if (takeName("if"))
    filter = LAPIDARY_TRY(parseExpression());
  if (isName("recursive"))
    return error(current(), "recursive loops are not supported");
  LAPIDARY_TRY(expectBlockEnd());
  ++loops;
  const uint32_t body = LAPIDARY_TRY(parseBody({"else", "endfor"}));
  --loops;
  uint32_t otherwise = absent;
  if (takeName("else")) {
    LAPIDARY_TRY(expectBlockEnd());
    otherwise = LAPIDARY_TRY(parseBody({"endfor"}));
  }
  ++at;
  return add(Kind::For, begin, {target, iterable, filter, body, otherwise});
}

Parser::Node Parser::parseSet(const Token &begin) {
  const uint32_t target = LAPIDARY_TRY(parseTarget(true));
  if (takeOperator("=")) {
    const uint32_t value = LAPIDARY_TRY(parseTuple(true));
    return add(Kind::Set, begin, {target, value});
  }
  if (isOperator("|"))
    return error(current(), "a filter of a set block is not supported");
  LAPIDARY_TRY(expectBlockEnd());
  const uint32_t body = LAPIDARY_TRY(parseBody({"endset"}));
  ++at;
  return add(Kind::SetBlock, begin, {target, body});
}

Parser::Node Parser::parseMacro(const Token &begin) {
  if (macros || loops)
    return error(begin, "a macro in a macro or in a loop is not supported");
  const std::string name = LAPIDARY_TRY(expectAnyName("a macro's name"));
  defined.insert(name);
  LAPIDARY_TRY(expectOperator("("));
  Nodes parameters;
  bool hasDefault = false;
  while (!isOperator(")")) {
    if (!parameters.empty())
      LAPIDARY_TRY(expectOperator(","));
    const Token token = current();
    std::string parameter = LAPIDARY_TRY(expectAnyName("a parameter's name"));
    defined.insert(parameter);
    Nodes value;
    if (takeOperator("="))
      value.push_back(LAPIDARY_TRY(parseExpression()));
    else if (hasDefault)
      return error(token, "a parameter without a default after one with it");
    hasDefault = !value.empty();
    if (value.empty())
      value.push_back(absent);
    parameters.push_back(LAPIDARY_TRY(
        add(Kind::Parameter, token, std::move(value), std::move(parameter))));
  }
  ++at;
  LAPIDARY_TRY(expectBlockEnd());
  ++macros;
  const uint32_t body = LAPIDARY_TRY(parseBody({"endmacro"}));
  --macros;
  ++at;
  parameters.insert(parameters.begin(), body);
  return add(Kind::Macro, begin, std::move(parameters), name);
}

Parser::Node Parser::parseTargetItem(bool isSet) {
  const Token token = current();
  std::string name = LAPIDARY_TRY(expectAnyName("a name to set"));
  if (name == "true" || name == "false" || name == "none" || name == "True" ||
      name == "False" || name == "None" || name == "loop")
    return error(token, concat("'", name, "' cannot be set"));
  if (!isSet || !isOperator(".")) {
    defined.insert(name);
    return add(Kind::Name, token, {}, std::move(name));
  }
  const uint32_t object =
      LAPIDARY_TRY(add(Kind::Name, token, {}, std::move(name)));
  ++at;
  return add(Kind::Attribute, token, {object},
             LAPIDARY_TRY(expectAnyName("an attribute's name")));
}

Parser::Node Parser::parseTarget(bool isSet) {
  const Token token = current();
  const bool isParenthesized = takeOperator("(");
  Nodes items = {LAPIDARY_TRY(parseTargetItem(isSet))};
  bool isTuple = false;
  while (takeOperator(",")) {
    isTuple = true;
    if (current().kind == Token::Kind::Name && !isName("in"))
      items.push_back(LAPIDARY_TRY(parseTargetItem(isSet)));
  }
  if (isParenthesized)
    LAPIDARY_TRY(expectOperator(")"));
  if (!isTuple)
    return items[0];
  return add(Kind::Tuple, token, std::move(items));
}

bool Parser::isTupleEnd() const {
  return current().kind == Token::Kind::OutputEnd ||
         current().kind == Token::Kind::BlockEnd || isOperator(")");
}

Parser::Node Parser::parseTuple(bool withConditional, bool isParenthesized) {
  const Token token = current();
  Nodes items;
  bool isTuple = false;
  while (!isTupleEnd()) {
    items.push_back(LAPIDARY_TRY(parseExpression(withConditional)));
    if (!takeOperator(","))
      break;
    isTuple = true;
  }
  if (!isTuple && items.size() == 1)
    return items[0];
  if (items.empty() && !isParenthesized)
    return expected("an expression");
  return add(Kind::Tuple, token, std::move(items));
}

Parser::Node Parser::parseConditional() {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(current(), concat("more than ", deepest, " levels"));
  uint32_t node = LAPIDARY_TRY(parseOr());
  for (Token token = current(); takeName("if"); token = current()) {
    const uint32_t condition = LAPIDARY_TRY(parseOr());
    uint32_t otherwise = absent;
    if (takeName("else"))
      otherwise = LAPIDARY_TRY(parseConditional());
    node = LAPIDARY_TRY(
        add(Kind::Conditional, token, {condition, node, otherwise}));
  }
  return node;
}

Parser::Node Parser::parseOr() {
  uint32_t node = LAPIDARY_TRY(parseAnd());
  for (Token token = current(); takeName("or"); token = current())
    node = LAPIDARY_TRY(add(Kind::Or, token, {node, LAPIDARY_TRY(parseAnd())}));
  return node;
}

Parser::Node Parser::parseAnd() {
  uint32_t node = LAPIDARY_TRY(parseNot());
  for (Token token = current(); takeName("and"); token = current())
    node =
        LAPIDARY_TRY(add(Kind::And, token, {node, LAPIDARY_TRY(parseNot())}));
  return node;
}

Parser::Node Parser::parseNot() {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(current(), concat("more than ", deepest, " levels"));
  const Token token = current();
  if (!takeName("not"))
    return parseCompare();
  return add(Kind::Not, token, {LAPIDARY_TRY(parseNot())});
}

/// a < b < c is a < b and b < c.
Parser::Node Parser::parseCompare() {
  constexpr std::pair<std::string_view, Kind> kinds[] = {
      {"==", Kind::Equal},  {"!=", Kind::NotEqual},
      {"<", Kind::Less},    {"<=", Kind::LessEqual},
      {">", Kind::Greater}, {">=", Kind::GreaterEqual}};
  uint32_t left = LAPIDARY_TRY(parseSum()), result = absent;
  for (;;) {
    const Token token = current();
    Kind kind = Kind::Block;
    for (const auto &[text, each] : kinds)
      if (isOperator(text))
        kind = each;
    if (isName("in"))
      kind = Kind::In;
    else if (isName("not") && following().kind == Token::Kind::Name &&
             following().text == "in")
      kind = Kind::NotIn;
    if (kind == Kind::Block)
      return result == absent ? left : result;
    at += kind == Kind::NotIn ? 2 : 1;
    const uint32_t right = LAPIDARY_TRY(parseSum());
    const uint32_t compared = LAPIDARY_TRY(add(kind, token, {left, right}));
    result = result == absent
                 ? compared
                 : LAPIDARY_TRY(add(Kind::And, token, {result, compared}));
    left = right;
  }
}

Parser::Node Parser::parseSum() {
  uint32_t node = LAPIDARY_TRY(parseConcat());
  for (Token token = current(); isOperator("+") || isOperator("-");
       token = current()) {
    ++at;
    node = LAPIDARY_TRY(add(token.text == "+" ? Kind::Add : Kind::Subtract,
                            token, {node, LAPIDARY_TRY(parseConcat())}));
  }
  return node;
}

Parser::Node Parser::parseConcat() {
  const Token token = current();
  Nodes parts = {LAPIDARY_TRY(parseProduct())};
  while (takeOperator("~"))
    parts.push_back(LAPIDARY_TRY(parseProduct()));
  return parts.size() == 1 ? Node(parts[0])
                           : add(Kind::Concat, token, std::move(parts));
}

Parser::Node Parser::parseProduct() {
  uint32_t node = LAPIDARY_TRY(parsePower());
  for (;;) {
    const Token token = current();
    const Kind kind = isOperator("*")    ? Kind::Multiply
                      : isOperator("/")  ? Kind::Divide
                      : isOperator("//") ? Kind::FloorDivide
                      : isOperator("%")  ? Kind::Modulo
                                         : Kind::Block;
    if (kind == Kind::Block)
      return node;
    ++at;
    node = LAPIDARY_TRY(add(kind, token, {node, LAPIDARY_TRY(parsePower())}));
  }
}

Parser::Node Parser::parsePower() {
  uint32_t node = LAPIDARY_TRY(parseUnary());
  for (Token token = current(); takeOperator("**"); token = current())
    node = LAPIDARY_TRY(
        add(Kind::Power, token, {node, LAPIDARY_TRY(parseUnary())}));
  return node;
}

Parser::Node Parser::parseUnary(bool withFilter) {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(current(), concat("more than ", deepest, " levels"));
  const Token token = current();
  uint32_t node = absent;
  if (takeOperator("-"))
    node = LAPIDARY_TRY(
        add(Kind::Negative, token, {LAPIDARY_TRY(parseUnary(false))}));
  else if (takeOperator("+"))
    node = LAPIDARY_TRY(
        add(Kind::Positive, token, {LAPIDARY_TRY(parseUnary(false))}));
  else
    node = LAPIDARY_TRY(parsePrimary());
  node = LAPIDARY_TRY(parsePostfix(node));
  return withFilter ? parseFilters(node) : Node(node);
}

Parser::Node Parser::parsePrimary() {
  const Token token = current();
  switch (token.kind) {
  case Token::Kind::Name: {
    ++at;
    if (token.text == "true" || token.text == "True")
      return add(Kind::True, token, {});
    if (token.text == "false" || token.text == "False")
      return add(Kind::False, token, {});
    if (token.text == "none" || token.text == "None")
      return add(Kind::None, token, {});
    return add(Kind::Name, token, {}, token.text);
  }
  case Token::Kind::String: {
    // Strings side by side are one.
    std::string text;
    for (; current().kind == Token::Kind::String; ++at)
      text += current().text;
    return add(Kind::String, token, {}, std::move(text));
  }
  case Token::Kind::Integer:
    if (token.text.size() > 18)
      return error(token, "an integer of more than 18 digits");
    ++at;
    return add(Kind::Integer, token, {}, token.text);
  case Token::Kind::Float:
    ++at;
    return add(Kind::Float, token, {}, token.text);
  default:
    break;
  }
  if (takeOperator("(")) {
    const uint32_t node = LAPIDARY_TRY(parseTuple(true, true));
    LAPIDARY_TRY(expectOperator(")"));
    return node;
  }
  if (takeOperator("[")) {
    Nodes items;
    while (!isOperator("]")) {
      items.push_back(LAPIDARY_TRY(parseExpression()));
      if (!isOperator("]"))
        LAPIDARY_TRY(expectOperator(","));
    }
    ++at;
    return add(Kind::List, token, std::move(items));
  }
  if (isOperator("{"))
    return parseDict();
  return expected("an expression");
}

Parser::Node Parser::parseDict() {
  const Token token = current();
  ++at;
  Nodes items;
  while (!isOperator("}")) {
    items.push_back(LAPIDARY_TRY(parseExpression()));
    LAPIDARY_TRY(expectOperator(":"));
    items.push_back(LAPIDARY_TRY(parseExpression()));
    if (!isOperator("}"))
      LAPIDARY_TRY(expectOperator(","));
  }
  ++at;
  return add(Kind::Dict, token, std::move(items));
}

Parser::Node Parser::parsePostfix(uint32_t node) {
  for (;;) {
    if (isOperator(".") || isOperator("["))
      node = LAPIDARY_TRY(parseSubscript(node));
    else if (isOperator("("))
      node = LAPIDARY_TRY(parseCall(node));
    else
      return node;
  }
}

Parser::Node Parser::parseFilters(uint32_t node) {
  for (;;) {
    if (isOperator("|"))
      node = LAPIDARY_TRY(parseFilter(node));
    else if (isName("is"))
      node = LAPIDARY_TRY(parseTest(node));
    else if (isOperator("("))
      node = LAPIDARY_TRY(parseCall(node));
    else
      return node;
  }
}

Parser::Node Parser::parseFilter(uint32_t node) {
  ++at;
  const Token token = current();
  std::string name = LAPIDARY_TRY(expectAnyName("a filter's name"));
  if (!chat::hasName(chat::filterNames, name))
    return error(token, concat("the filter '", name.substr(0, 60),
                               "' is not supported; expected one of ",
                               chat::listNames(chat::filterNames)));
  Nodes children = {node};
  if (isOperator("(")) {
    const Nodes arguments = LAPIDARY_TRY(parseArguments(true));
    children.insert(children.end(), arguments.begin(), arguments.end());
  }
  return add(Kind::Filter, token, std::move(children), std::move(name));
}

Parser::Node Parser::parseTest(uint32_t node) {
  ++at;
  const Token negation = current();
  const bool isNegated = takeName("not");
  const Token token = current();
  std::string name = LAPIDARY_TRY(expectAnyName("a test's name"));
  if (!chat::hasName(chat::testNames, name))
    return error(token, concat("the test '", name.substr(0, 60),
                               "' is not supported; expected one of ",
                               chat::listNames(chat::testNames)));
  Nodes children = {node};
  if (isOperator("(")) {
    const Nodes arguments = LAPIDARY_TRY(parseArguments(false));
    children.insert(children.end(), arguments.begin(), arguments.end());
  } else if ((current().kind == Token::Kind::Name && !isName("else") &&
              !isName("or") && !isName("and") && !isName("if")) ||
             current().kind == Token::Kind::String ||
             current().kind == Token::Kind::Integer ||
             current().kind == Token::Kind::Float || isOperator("[") ||
             isOperator("{")) {
    if (isName("is"))
      return error(current(), "a test of a test's result needs parentheses");
    children.push_back(
        LAPIDARY_TRY(parsePostfix(LAPIDARY_TRY(parsePrimary()))));
  }
  node = LAPIDARY_TRY(
      add(Kind::Test, token, std::move(children), std::move(name)));
  return isNegated ? add(Kind::Not, negation, {node}) : Node(node);
}

Parser::Node Parser::parseSubscript(uint32_t node) {
  const Token token = current();
  if (takeOperator(".")) {
    const Token name = current();
    if (name.kind == Token::Kind::Integer) {
      const uint32_t index = LAPIDARY_TRY(parsePrimary());
      return add(Kind::Item, token, {node, index});
    }
    return add(Kind::Attribute, token, {node},
               LAPIDARY_TRY(expectAnyName("an attribute's name")));
  }
  ++at;
  Nodes parts = {node, absent, absent, absent};
  size_t part = 1;
  if (!isOperator(":"))
    parts[1] = LAPIDARY_TRY(parseExpression());
  for (; part < 3 && takeOperator(":"); ++part)
    if (!isOperator(":") && !isOperator("]"))
      parts[part + 1] = LAPIDARY_TRY(parseExpression());
  LAPIDARY_TRY(expectOperator("]"));
  if (part > 1)
    return add(Kind::Slice, token, std::move(parts));
  return add(Kind::Item, token, {node, parts[1]});
}

/// In parentheses.
Result<Parser::Nodes> Parser::parseArguments(bool withKeywords) {
  ++at;
  Nodes nodes;
  bool hasKeyword = false;
  while (!isOperator(")")) {
    const Token token = current();
    if (isOperator("*") || isOperator("**"))
      return error(token, "arguments from a list are not supported");
    if (token.kind == Token::Kind::Name &&
        following().kind == Token::Kind::Operator && following().text == "=") {
      if (!withKeywords)
        return error(token, "an argument by name is not supported here");
      at += 2;
      const uint32_t value = LAPIDARY_TRY(parseExpression());
      nodes.push_back(
          LAPIDARY_TRY(add(Kind::Keyword, token, {value}, token.text)));
      hasKeyword = true;
    } else if (hasKeyword) {
      return error(token, "an argument without a name after one with a name");
    } else {
      nodes.push_back(LAPIDARY_TRY(parseExpression()));
    }
    if (!isOperator(")"))
      LAPIDARY_TRY(expectOperator(","));
  }
  ++at;
  return nodes;
}

Parser::Node Parser::parseCall(uint32_t node) {
  const Token token = current();
  Nodes children = {node};
  const Nodes arguments = LAPIDARY_TRY(parseArguments(true));
  children.insert(children.end(), arguments.begin(), arguments.end());
  return add(Kind::Call, token, std::move(children));
}

/// What is called is a macro, a method or a function that there is.
Status Parser::checkCalls() const {
  for (const TemplateTree::Node &node : tree.nodes) {
    if (node.kind != Kind::Call)
      continue;
    const TemplateTree::Node &callee = tree.nodes[node.children[0]];
    const Token &place = places[node.children[0]];
    if (callee.kind == Kind::Name && !defined.contains(callee.text) &&
        !chat::hasName(chat::functionNames, callee.text))
      return error(place, concat("the function '", callee.text.substr(0, 60),
                                 "' is not supported; expected a macro or one "
                                 "of ",
                                 chat::listNames(chat::functionNames)));
    if (callee.kind == Kind::Attribute &&
        !chat::hasName(chat::methodNames, callee.text))
      return error(place, concat("the method '", callee.text.substr(0, 60),
                                 "' is not supported; expected one of ",
                                 chat::listNames(chat::methodNames)));
    if (callee.kind != Kind::Name && callee.kind != Kind::Attribute)
      return error(place, "only macros, functions and methods can be called");
  }
  return {};
}

Result<TemplateTree> Parser::run() {
  LAPIDARY_TRY(parseBody({}));
  LAPIDARY_TRY(checkCalls());
  return std::move(tree);
}

} // namespace

Result<TemplateTree> parseTemplate(std::string_view source,
                                   const std::string &origin) {
  return Parser(LAPIDARY_TRY(lexTemplate(source, origin)), origin).run();
}

} // namespace lapidary
