// Expressions of a template, from a tuple down to a literal. What stands around
// them, statements and text, is TemplateParser.cpp's.
#pragma once

#include "frontends/formats/TemplateTreeBuilder.h"

namespace lapidary {

class TemplateExpressionParser : public TemplateTreeBuilder {
public:
  using TemplateTreeBuilder::TemplateTreeBuilder;

protected:
  Node parseTuple(bool withConditional, bool isParenthesized = false);
  Node parseExpression(bool withConditional = true) {
    return withConditional ? parseConditional() : parseOr();
  }

private:
  bool isTupleEnd() const;
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
};

} // namespace lapidary
