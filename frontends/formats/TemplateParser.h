// Jinja's grammar, as far as chat templates use it: tokens to a tree, in the
// order in which the table holds it.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/schema/template_generated.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

struct TemplateTree {
  struct Node {
    schema::TemplateKind kind;
    uint32_t line;
    /// Empty where the kind has none.
    std::string text;
    /// UINT32_MAX where one is absent.
    std::vector<uint32_t> children;
  };
  /// Children before parents; the last is the whole template.
  std::vector<Node> nodes;
};

/// What is not supported is an error that begins with `origin`:line:column.
Result<TemplateTree> parseTemplate(std::string_view source,
                                   const std::string &origin);

} // namespace lapidary
