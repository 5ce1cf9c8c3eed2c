// Recursive descent: one function a statement, and the checks that need the
// whole template.
#include "frontends/formats/TemplateParser.h"

#include "frontends/formats/TemplateExpressionParser.h"
#include "runtime/chat/TemplateNames.h"

#include <initializer_list>
#include <set>

namespace lapidary {

namespace {

class Parser : public TemplateExpressionParser {
public:
  using TemplateExpressionParser::TemplateExpressionParser;

  Result<TemplateTree> run();

private:
  Node parseBody(std::initializer_list<std::string_view> ends);
  Node parseStatement();
  Node parseIf(const Token &begin);
  Node parseFor(const Token &begin);
  Node parseSet(const Token &begin);
  Node parseMacro(const Token &begin);
  Node parseTarget(bool isSet);
  Node parseTargetItem(bool isSet);
  Status checkCalls() const;
  Status checkFilter(const TemplateTree::Node &filter) const;

  /// Macros and loops around what is read.
  int macros = 0, loops = 0;
  /// Names that the template gives a value.
  std::set<std::string, std::less<>> defined;
};

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

/// What is called is a macro, a method or a function that there is.
/// Arguments that are given by name.
Status Parser::checkFilter(const TemplateTree::Node &filter) const {
  // They may be another filter's, whose name is a value.
  if (filter.text == "map" && filter.children.size() > 1 &&
      tree.nodes[filter.children[1]].kind != Kind::Keyword)
    return {};
  for (const uint32_t child : filter.children) {
    const TemplateTree::Node &argument = tree.nodes[child];
    if (argument.kind == Kind::Keyword &&
        !chat::takesArgument(filter.text, argument.text))
      return error(places[child],
                   concat("the filter '", filter.text, "' has no argument '",
                          argument.text.substr(0, 60), "' here"));
  }
  return {};
}

Status Parser::checkCalls() const {
  for (const TemplateTree::Node &node : tree.nodes) {
    if (node.kind == Kind::Filter)
      LAPIDARY_TRY(checkFilter(node));
    if (node.kind == Kind::Attribute) {
      const TemplateTree::Node &object = tree.nodes[node.children[0]];
      if (object.kind == Kind::Name && object.text == "loop" &&
          !chat::hasName(chat::loopNames, node.text))
        return error(places[node.children[0]],
                     concat("'loop.", node.text.substr(0, 60),
                            "' is not supported; expected one of ",
                            chat::listNames(chat::loopNames)));
    }
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
