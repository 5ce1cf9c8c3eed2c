// A compiled template that has been checked: every index leads into the table,
// and every node has the children that its kind asks for.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/schema/template_generated.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace lapidary::chat {

constexpr uint32_t absent = UINT32_MAX;

class TemplateTable {
public:
  /// The bytes must outlive the table and begin at a multiple of 4.
  static Result<TemplateTable> open(std::span<const uint8_t> bytes);

  uint32_t root() const { return count - 1; }
  const schema::TemplateNode &node(uint32_t index) const {
    return nodes[index];
  }
  /// Indices of nodes; `absent` where the schema allows it.
  std::span<const uint32_t> children(const schema::TemplateNode &node) const {
    return {links + node.first(), node.count()};
  }
  uint32_t stringCount() const { return table->strings()->size(); }
  std::string_view string(uint32_t index) const {
    return table->strings()->Get(index)->string_view();
  }
  const schema::ChatTemplate &content() const { return *table; }

private:
  TemplateTable() = default;

  const schema::ChatTemplate *table = nullptr;
  const schema::TemplateNode *nodes = nullptr;
  const uint32_t *links = nullptr;
  uint32_t count = 0;
};

} // namespace lapidary::chat
