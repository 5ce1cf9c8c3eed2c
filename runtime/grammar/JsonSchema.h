// JSON schemas as grammars: the texts of a grammar's rule are instances of the
// schema, written as JSON or in Gemma's tool notation.
//
// Not every instance can be written; what is fixed, where a schema leaves it
// open:
// - Properties of JSON objects come in the order in which the schema declares
//   them, those that additionalProperties allows after them. Of at most 6, the
//   tool notation takes any order; of more, the template's order (by name).
// - An object with declared properties has others only where
//   additionalProperties asks for them.
// - oneOf is read as anyOf.
// - Integers have at most 18 digits; other numbers 18 before the point, 17
//   after it and an exponent of two, none where there are bounds.
// - Characters that a pattern or a format speaks of are escaped only where JSON
//   must.
// - White space in JSON: one blank or none after ':' and ',', or line breaks
//   with indents around what brackets enclose.
// Keywords that assert something and are not supported are errors that name
// the keyword and its place; those that only describe are ignored.
#pragma once

#include "runtime/grammar/Grammar.h"

#include <nlohmann/json.hpp>

namespace lapidary {

/// How values are written.
struct JsonNotation {
  /// In Gemma's notation, the mark on both sides of a string; 0: JSON.
  uint16_t quote = 0;
  bool isGemma() const { return quote != 0; }
};

/// Adds the schema's rules to a grammar and returns the one for a whole
/// instance. `pointer` is the schema's place in what the user sent, for
/// messages.
Result<GrammarBuilder::Rule> addSchema(GrammarBuilder &builder,
                                       const JsonNotation &notation,
                                       const nlohmann::ordered_json &schema,
                                       const std::string &pointer);

/// Reads a schema from text; refuses what is no JSON and what is nested too
/// deeply to be followed.
Result<nlohmann::ordered_json> parseSchema(std::string_view text);

} // namespace lapidary
