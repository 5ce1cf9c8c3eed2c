// Regular expressions as JSON Schema's `pattern` has them (ECMA 262), as far as
// they are regular: literals, classes, groups, alternatives, quantifiers, and
// the anchors ^ and $ at the ends of an alternative.
#pragma once

#include "runtime/grammar/CharNfa.h"

#include <string_view>

namespace lapidary {

/// Texts in which the pattern is found somewhere: without ^ anything may come
/// before it, without $ after it. What is not supported (look-around,
/// back-references, \b, \p) is an error that names it and its place.
Result<CharNfa> parseRegex(std::string_view pattern);

} // namespace lapidary
