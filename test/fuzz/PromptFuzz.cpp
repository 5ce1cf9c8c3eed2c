// Fuzzes the prompt form: any JSON as messages, any as options, and media
// expansion on whatever text comes of it.
#include "runtime/model/Prompt.h"

#include <nlohmann/json.hpp>

#include <cstdlib>

using namespace lapidary;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  size_t cut = std::min(text.find('\0'), text.size());
  auto messages = nlohmann::json::parse(text.substr(0, cut), nullptr, false);
  auto options = cut < text.size() ? nlohmann::json::parse(text.substr(cut + 1),
                                                           nullptr, false)
                                   : nlohmann::json();
  auto prompt = renderPrompt(messages, options);
  if (!prompt.ok() && prompt.status().message().empty())
    std::abort();
  const MediaTokens media[] = {{MediaKind::Image, 2, {}},
                               {MediaKind::Video, 0, {{1.5, 3}}}};
  static_cast<void>(
      expandMedia(prompt.ok() ? std::string_view(*prompt) : text, media));
  static_cast<void>(expandMedia(text, std::span(media).first(1)));
  return 0;
}
