// Grammars as text, in llama.cpp's GBNF.
#pragma once

#include "runtime/grammar/Grammar.h"

namespace lapidary {

/// Adds the rules of a GBNF text to a grammar and returns `root`. Rules are
/// `name ::= ...` with "texts", [classes], `.`, (groups), `|`, the quantifiers
/// * + ? {m} {m,} {m,n}, and # comments. Errors name line and column. Left
/// recursion is refused when the grammar is finished.
Result<GrammarBuilder::Rule> addGbnf(GrammarBuilder &builder,
                                     std::string_view text);

} // namespace lapidary
