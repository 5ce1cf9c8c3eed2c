// Recursive descent, one function a level of precedence, as in Jinja, so that
// every text groups as it does there.
#include "frontends/formats/TemplateExpressionParser.h"

#include "runtime/chat/TemplateNames.h"

namespace lapidary {

using Node = TemplateExpressionParser::Node;

bool TemplateExpressionParser::isTupleEnd() const {
  return current().kind == Token::Kind::OutputEnd ||
         current().kind == Token::Kind::BlockEnd || isOperator(")");
}

Node TemplateExpressionParser::parseTuple(bool withConditional,
                                          bool isParenthesized) {
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

Node TemplateExpressionParser::parseConditional() {
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

Node TemplateExpressionParser::parseOr() {
  uint32_t node = LAPIDARY_TRY(parseAnd());
  for (Token token = current(); takeName("or"); token = current())
    node = LAPIDARY_TRY(add(Kind::Or, token, {node, LAPIDARY_TRY(parseAnd())}));
  return node;
}

Node TemplateExpressionParser::parseAnd() {
  uint32_t node = LAPIDARY_TRY(parseNot());
  for (Token token = current(); takeName("and"); token = current())
    node =
        LAPIDARY_TRY(add(Kind::And, token, {node, LAPIDARY_TRY(parseNot())}));
  return node;
}

Node TemplateExpressionParser::parseNot() {
  const Deeper deeper(depth);
  if (deeper.isTooDeep())
    return error(current(), concat("more than ", deepest, " levels"));
  const Token token = current();
  if (!takeName("not"))
    return parseCompare();
  return add(Kind::Not, token, {LAPIDARY_TRY(parseNot())});
}

/// a < b < c is a < b and b < c.
Node TemplateExpressionParser::parseCompare() {
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

Node TemplateExpressionParser::parseSum() {
  uint32_t node = LAPIDARY_TRY(parseConcat());
  for (Token token = current(); isOperator("+") || isOperator("-");
       token = current()) {
    ++at;
    node = LAPIDARY_TRY(add(token.text == "+" ? Kind::Add : Kind::Subtract,
                            token, {node, LAPIDARY_TRY(parseConcat())}));
  }
  return node;
}

Node TemplateExpressionParser::parseConcat() {
  const Token token = current();
  Nodes parts = {LAPIDARY_TRY(parseProduct())};
  while (takeOperator("~"))
    parts.push_back(LAPIDARY_TRY(parseProduct()));
  return parts.size() == 1 ? Node(parts[0])
                           : add(Kind::Concat, token, std::move(parts));
}

Node TemplateExpressionParser::parseProduct() {
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

Node TemplateExpressionParser::parsePower() {
  uint32_t node = LAPIDARY_TRY(parseUnary());
  for (Token token = current(); takeOperator("**"); token = current())
    node = LAPIDARY_TRY(
        add(Kind::Power, token, {node, LAPIDARY_TRY(parseUnary())}));
  return node;
}

Node TemplateExpressionParser::parseUnary(bool withFilter) {
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

Node TemplateExpressionParser::parsePrimary() {
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

Node TemplateExpressionParser::parseDict() {
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

Node TemplateExpressionParser::parsePostfix(uint32_t node) {
  for (;;) {
    if (isOperator(".") || isOperator("["))
      node = LAPIDARY_TRY(parseSubscript(node));
    else if (isOperator("("))
      node = LAPIDARY_TRY(parseCall(node));
    else
      return node;
  }
}

Node TemplateExpressionParser::parseFilters(uint32_t node) {
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

Node TemplateExpressionParser::parseFilter(uint32_t node) {
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

Node TemplateExpressionParser::parseTest(uint32_t node) {
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

Node TemplateExpressionParser::parseSubscript(uint32_t node) {
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
Result<TemplateExpressionParser::Nodes>
TemplateExpressionParser::parseArguments(bool withKeywords) {
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

Node TemplateExpressionParser::parseCall(uint32_t node) {
  const Token token = current();
  Nodes children = {node};
  const Nodes arguments = LAPIDARY_TRY(parseArguments(true));
  children.insert(children.end(), arguments.begin(), arguments.end());
  return add(Kind::Call, token, std::move(children));
}

} // namespace lapidary
