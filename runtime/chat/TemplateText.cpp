#include "runtime/chat/TemplateText.h"
#include <nlohmann/json.hpp>
namespace lapidary::chat {
std::string quoteJson(std::string_view text) {
  return nlohmann::json(text).dump();
}
} // namespace lapidary::chat
