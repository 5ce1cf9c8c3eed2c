// Opens a bundle's template and gives it its variables.
#include "runtime/chat/ChatTemplate.h"

#include "runtime/chat/TemplateInterpreter.h"
#include "runtime/core/Bundle.h"

namespace lapidary {

using chat::Value;
using nlohmann::ordered_json;

Result<ChatTemplate> ChatTemplate::create(std::span<const uint8_t> bytes,
                                          const Tokenizer &tokenizer) {
  ChatTemplate result(LAPIDARY_TRY(chat::TemplateTable::open(bytes)),
                      tokenizer);
  for (uint32_t i = 0; i < result.table.stringCount(); ++i)
    result.constants.push_back(Value::text(result.table.string(i)));
  return result;
}

Result<ChatTemplate> ChatTemplate::create(const Bundle &bundle,
                                          const Tokenizer &tokenizer) {
  const int32_t segment = bundle.program().chat_template();
  if (segment < 0)
    return unsupported("'" + bundle.path() +
                       "' has no chat template, so it takes no messages: "
                       "compile a checkpoint that has chat_template.jinja, or "
                       "give whole prompts (--raw)");
  return create(bundle.segment(static_cast<uint32_t>(segment)), tokenizer);
}

Result<std::string> ChatTemplate::render(const ordered_json &messages,
                                         const ordered_json &options) const {
  LAPIDARY_TRY(chat::checkOptions(options));
  const ordered_json normal = LAPIDARY_TRY(chat::normalizeMessages(messages));
  chat::Interpreter interpreter(table, constants);
  for (const auto *variable : *table.content().variables())
    interpreter.define(variable->name()->string_view(),
                       Value::text(variable->value()->string_view()));
  interpreter.define("add_generation_prompt", Value(true));
  interpreter.define("tools", Value(chat::None()));
  interpreter.define("documents", Value(chat::None()));
  if (options.is_object())
    for (const auto &option : options.items())
      interpreter.define(option.key(), LAPIDARY_TRY(chat::fromJson(
                                           option.value(), tokenizer)));
  interpreter.define("messages",
                     LAPIDARY_TRY(chat::fromJson(normal, tokenizer)));
  return interpreter.run();
}

} // namespace lapidary
