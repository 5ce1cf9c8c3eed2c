// Cuts a Jinja template into text and the tokens of its tags, with Jinja's
// rules for white space, as the reference sets them: the newline after a block
// tag and the blanks before one are dropped (trim_blocks, lstrip_blocks), and
// so is the newline that ends the file.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

struct TemplateToken {
  enum class Kind : uint8_t {
    /// Between tags; `text` is what is printed.
    Data,
    BlockBegin,
    BlockEnd,
    OutputBegin,
    OutputEnd,
    Name,
    /// `text` is the value, escapes resolved.
    String,
    Integer,
    Float,
    /// `text` is the operator.
    Operator,
    End,
  };
  Kind kind = Kind::End;
  std::string text;
  uint32_t line = 1, column = 1;
};

/// Ends with a token of kind End. Errors begin with `origin`:line:column.
Result<std::vector<TemplateToken>> lexTemplate(std::string_view source,
                                               const std::string &origin);

} // namespace lapidary
