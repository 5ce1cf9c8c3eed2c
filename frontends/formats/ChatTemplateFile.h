// A checkpoint's chat template, compiled to the table that the runtime executes
// (runtime/schema/template.fbs).
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

class GgufFile;

/// Variables that a checkpoint defines for its template, such as `bos_token`.
using TemplateVariables = std::map<std::string, std::string>;

/// The compiled template whose Jinja text is `source`. Syntax that is not
/// supported is an error that begins with `origin`:line:column. Deterministic.
Result<std::vector<uint8_t>>
compileTemplate(std::string_view source, const std::string &origin,
                const TemplateVariables &variables);

/// That of a checkpoint's folder (chat_template.jinja, or what
/// tokenizer_config.json has); empty where there is none.
Result<std::vector<uint8_t>> compileFolderTemplate(const std::string &folder);

/// That of a GGUF file's metadata; empty where there is none.
Result<std::vector<uint8_t>> compileGgufTemplate(const GgufFile &file);

} // namespace lapidary
