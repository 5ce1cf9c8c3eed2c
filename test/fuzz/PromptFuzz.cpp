// Fuzzes chat templates: any text as a template, any JSON as messages and
// options, and media expansion on whatever text comes of it; then any bytes in
// the compiled template's place.
#include "frontends/formats/ChatTemplateFile.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/model/Prompt.h"
#include "test/TinyTokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <cstring>

using namespace lapidary;
using nlohmann::ordered_json;

/// Cuts what is before the next 0 byte off.
static std::string_view takePart(std::string_view &text) {
  const size_t cut = std::min(text.find('\0'), text.size());
  const std::string_view part = text.substr(0, cut);
  text.remove_prefix(std::min(cut + 1, text.size()));
  return part;
}

static void check(const Result<ChatTemplate> &chat,
                  const ordered_json &messages, const ordered_json &options) {
  if (!chat.ok()) {
    if (chat.status().message().empty())
      std::abort();
    return;
  }
  const auto prompt = chat->render(messages, options);
  if (!prompt.ok() && prompt.status().message().empty())
    std::abort();
  const MediaTokens media[] = {{MediaKind::Image, 2, {}},
                               {MediaKind::Video, 0, {{1.5, 3}}}};
  if (prompt.ok()) {
    static_cast<void>(expandMedia(*prompt, media));
    static_cast<void>(test::tinyTokenizer().encodeProtected(*prompt));
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  const MediaTokens media[] = {{MediaKind::Image, 2, {}}};
  static_cast<void>(expandMedia(text, media));
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size)
    std::memcpy(aligned.data(), data, size);
  const std::span<const uint8_t> bytes(
      reinterpret_cast<const uint8_t *>(aligned.data()), size);
  const ordered_json hello = {{{"role", "user"}, {"content", "<turn|>"}}};
  check(ChatTemplate::create(bytes, test::tinyTokenizer()), hello, nullptr);

  const std::string_view source = takePart(text);
  auto messages = ordered_json::parse(takePart(text), nullptr, false);
  const auto options = ordered_json::parse(text, nullptr, false);
  if (messages.is_discarded())
    messages = hello;
  const auto tree =
      compileTemplate(source, "template", {{"bos_token", "<bos>"}});
  if (!tree.ok()) {
    if (tree.status().message().empty())
      std::abort();
    return 0;
  }
  check(ChatTemplate::create(*tree, test::tinyTokenizer()), messages,
        options.is_discarded() ? ordered_json() : options);
  return 0;
}
