// What every production of a template's grammar starts from: the tokens that
// are left, and the tree as far as it is read. Only its parsers include this.
#pragma once

#include "frontends/formats/TemplateLexer.h"
#include "frontends/formats/TemplateParser.h"
#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary {

class TemplateTreeBuilder {
public:
  using Kind = schema::TemplateKind;
  using Token = TemplateToken;
  using Node = Result<uint32_t>;
  using Nodes = std::vector<uint32_t>;

  TemplateTreeBuilder(std::vector<Token> tokens, const std::string &origin)
      : tokens(std::move(tokens)), origin(origin) {}

protected:
  static constexpr uint32_t absent = UINT32_MAX;
  /// Far beyond any template, and far from the end of a thread's stack.
  static constexpr int deepest = 100;

  /// Counts nesting while it lives.
  class Deeper {
  public:
    explicit Deeper(int &depth) : depth(depth) { ++depth; }
    ~Deeper() { --depth; }
    bool isTooDeep() const { return depth > deepest; }

  private:
    int &depth;
  };

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
  Status expected(const std::string &what) const;
  Status expectOperator(const char *text);
  Status expectName(const char *text);
  Result<std::string> expectAnyName(const char *what);
  Status expectBlockEnd();
  Node add(Kind kind, const Token &token, Nodes children,
           std::string text = {});

  size_t at = 0;
  int depth = 0;
  TemplateTree tree;
  /// Of every node, for errors that are found at the end.
  std::vector<Token> places;

private:
  std::vector<Token> tokens;
  const std::string &origin;
  std::vector<uint32_t> levels;
};

} // namespace lapidary
