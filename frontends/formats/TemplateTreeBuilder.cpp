// Moves over a template's tokens and adds nodes, within limits: a template
// comes from outside.
#include "frontends/formats/TemplateTreeBuilder.h"

#include "runtime/chat/TemplateNames.h"

namespace lapidary {

namespace {

using Token = TemplateTreeBuilder::Token;

constexpr size_t mostNodes = 1 << 20;
/// Of the tree: chains such as a + b + c are deep without nesting. The runtime
/// takes no deeper one.
constexpr uint32_t deepestTree = chat::deepestTree;

std::string describe(const Token &token) {
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

} // namespace

Status TemplateTreeBuilder::expected(const std::string &what) const {
  return error(current(),
               concat("expected ", what, ", found ", describe(current())));
}

Status TemplateTreeBuilder::expectOperator(const char *text) {
  return takeOperator(text) ? Status() : expected(concat("'", text, "'"));
}

Status TemplateTreeBuilder::expectName(const char *text) {
  return takeName(text) ? Status() : expected(concat("'", text, "'"));
}

Result<std::string> TemplateTreeBuilder::expectAnyName(const char *what) {
  if (current().kind != Token::Kind::Name)
    return expected(what);
  return tokens[at++].text;
}

Status TemplateTreeBuilder::expectBlockEnd() {
  if (current().kind != Token::Kind::BlockEnd)
    return expected("%}");
  ++at;
  return {};
}

TemplateTreeBuilder::Node TemplateTreeBuilder::add(Kind kind,
                                                   const Token &token,
                                                   Nodes children,
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

} // namespace lapidary
