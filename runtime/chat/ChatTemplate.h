// The checkpoint's own chat template: a conversation as OpenAI's API writes it
// becomes the text that the model was trained on.
#pragma once

#include "runtime/chat/TemplateTable.h"
#include "runtime/chat/TemplateValue.h"
#include "runtime/model/Tokenizer.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace lapidary {

class Bundle;

/// Safe to use from several threads at once.
class ChatTemplate {
public:
  /// The bytes (runtime/schema/template.fbs), which must outlive the template,
  /// begin at a multiple of 4.
  static Result<ChatTemplate> create(std::span<const uint8_t> bytes,
                                     const Tokenizer &tokenizer);
  /// The one that a bundle carries.
  static Result<ChatTemplate> create(const Bundle &bundle,
                                     const Tokenizer &tokenizer);

  /// `messages` is a list of `{role, content, tool_calls, tool_call_id, name}`.
  /// Roles: system, developer, user, assistant, tool. Content: a string, null,
  /// or parts of the types text, image (image_url), audio (input_audio) and
  /// video (input_video, video_url); what is not text leaves a placeholder. The
  /// arguments of a tool call are an object or its JSON text. `options`, an
  /// object or null, are the template's variables: `tools` (a list of
  /// `{function: {name, description, parameters}}`), `enable_thinking`,
  /// `add_generation_prompt` (true where it is absent), and whatever else the
  /// template looks at. An error names the place, for example
  /// `messages[2].content[0].type`.
  ///
  /// Special tokens that stand in somebody's text are text: the result is for
  /// `Tokenizer::encodeProtected`; `Tokenizer::unprotected` is what people see.
  Result<std::string> render(const nlohmann::ordered_json &messages,
                             const nlohmann::ordered_json &options) const;

private:
  ChatTemplate(const chat::TemplateTable &table, const Tokenizer &tokenizer)
      : table(table), tokenizer(tokenizer) {}

  chat::TemplateTable table;
  Tokenizer tokenizer;
  /// The table's strings.
  std::vector<chat::Value> constants;
};

namespace chat {
/// Checks what templates rely on, and writes media parts and arguments in one
/// way.
Result<nlohmann::ordered_json>
normalizeMessages(const nlohmann::ordered_json &messages);
/// Checks `tools`, `enable_thinking` and `add_generation_prompt`.
Status checkOptions(const nlohmann::ordered_json &options);
} // namespace chat

} // namespace lapidary
