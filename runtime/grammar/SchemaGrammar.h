// The schema compiler's inside, shared by its files: SchemaGrammar.cpp goes
// through schemas, SchemaContainers.cpp writes objects and arrays,
// SchemaScalars.cpp strings and numbers.
#pragma once

#include "runtime/grammar/CharNfa.h"
#include "runtime/grammar/JsonSchema.h"
#include "runtime/grammar/SchemaMerge.h"

#include <unordered_map>

namespace lapidary {

class SchemaGrammar {
public:
  using State = GrammarBuilder::State;
  using Rule = GrammarBuilder::Rule;

  SchemaGrammar(GrammarBuilder &builder, const JsonNotation &notation,
                const SchemaJson &document)
      : builder(builder), notation(notation), merger(document) {}

  /// The rule for an instance of the schema; equal schemas share one.
  Result<Rule> compile(const SchemaJson &schema, const std::string &at,
                       int depth);

private:
  Status addSchema(const SchemaJson &schema, const std::string &at, int depth,
                   State from, State to);
  Status addBranches(const SchemaJson &schema, const char *keyword,
                     const std::string &at, int depth, State from, State to);
  Status addType(const std::string &type, const SchemaJson &schema,
                 const std::string &at, int depth, State from, State to);
  Result<bool> allows(const SchemaJson &schema,
                      const std::vector<std::string> &types,
                      const SchemaJson &value, const std::string &at);
  State addLiteral(State from, const SchemaJson &value);
  /// States behind what listed values begin with.
  struct Beginnings {
    std::optional<State> quote;
    std::map<std::pair<State, char>, State> next;
  };
  State addListed(State from, const SchemaJson &value, Beginnings &known);
  State addName(State from, const std::string &name);

  struct Property {
    std::string name;
    Rule rule;
    bool required;
  };
  Status addObject(const SchemaJson &schema, const std::string &at, int depth,
                   State from, State to);
  Result<std::vector<Property>> readProperties(const SchemaJson &schema,
                                               const SchemaJson &others,
                                               const std::string &at,
                                               int depth);
  void addInOrder(const std::vector<Property> &properties, State from,
                  State none, State some);
  void addInAnyOrder(const std::vector<Property> &properties, State from,
                     State none, State some);
  Result<Rule> memberRule(const SchemaJson &schema,
                          const std::vector<Property> &declared,
                          const SchemaJson &others, const std::string &at,
                          int depth);
  Status addArray(const SchemaJson &schema, const std::string &at, int depth,
                  State from, State to);
  State addSpace(State from);
  State addComma(State from);

  Status addString(const SchemaJson &schema, const std::string &at, State from,
                   State to);
  Status addNumber(const SchemaJson &schema, bool integer,
                   const std::string &at, State from, State to);
  Status addNfa(CharNfa nfa, bool inString, State from, State to);
  void addCharacters(const CharSet &set, State from, State to);
  State addQuote(State from);
  /// Bytes as they stand within quotes.
  State addStringText(State from, const std::string &text);
  Rule escapeRule();
  Result<int64_t> readCount(const SchemaJson &schema, const char *key,
                            int64_t otherwise, const std::string &at);

  GrammarBuilder &builder;
  JsonNotation notation;
  SchemaMerger merger;
  /// By the schema's text.
  std::unordered_map<std::string, Rule> known;
  std::optional<Rule> space, escapes;
  int64_t workLeft = 50000;
};

} // namespace lapidary
