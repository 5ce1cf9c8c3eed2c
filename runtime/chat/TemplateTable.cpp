// Children come before their parents, so one pass from the left checks the
// whole tree, its depth included.
#include "runtime/chat/TemplateTable.h"

#include "runtime/chat/TemplateNames.h"
#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace lapidary::chat {

namespace {

using Kind = schema::TemplateKind;

struct Shape {
  uint32_t least, most;
  /// A bit a child that may be absent.
  uint32_t optional = 0;
  bool hasText = false;
};

constexpr uint32_t any = UINT32_MAX;

std::optional<Shape> shapeOf(Kind kind) {
  switch (kind) {
  case Kind::Block:
  case Kind::Tuple:
  case Kind::List:
  case Kind::Dict:
    return Shape{0, any};
  case Kind::Text:
  case Kind::String:
  case Kind::Integer:
  case Kind::Float:
  case Kind::Name:
    return Shape{0, 0, 0, true};
  case Kind::Break:
  case Kind::Continue:
  case Kind::True:
  case Kind::False:
  case Kind::None:
    return Shape{0, 0};
  case Kind::Output:
  case Kind::Not:
  case Kind::Negative:
  case Kind::Positive:
    return Shape{1, 1};
  case Kind::If:
  case Kind::Conditional:
    return Shape{3, 3, 4};
  case Kind::For:
    return Shape{5, 5, 4 | 16};
  case Kind::Set:
  case Kind::SetBlock:
  case Kind::Item:
  case Kind::Add:
  case Kind::Subtract:
  case Kind::Multiply:
  case Kind::Divide:
  case Kind::FloorDivide:
  case Kind::Modulo:
  case Kind::Power:
  case Kind::And:
  case Kind::Or:
  case Kind::Equal:
  case Kind::NotEqual:
  case Kind::Less:
  case Kind::LessEqual:
  case Kind::Greater:
  case Kind::GreaterEqual:
  case Kind::In:
  case Kind::NotIn:
    return Shape{2, 2};
  case Kind::Macro:
  case Kind::Filter:
  case Kind::Test:
    return Shape{1, any, 0, true};
  case Kind::Parameter:
    return Shape{1, 1, 1, true};
  case Kind::Attribute:
  case Kind::Keyword:
    return Shape{1, 1, 0, true};
  case Kind::Slice:
    return Shape{4, 4, 2 | 4 | 8};
  case Kind::Call:
  case Kind::Concat:
    return Shape{1, any};
  }
  return std::nullopt;
}

Status wrong(const std::string &what) {
  return invalidData("chat template: " + what);
}

Status checkNode(const schema::ChatTemplate &table, uint32_t index,
                 std::vector<uint32_t> &levels) {
  const schema::TemplateNode &node = *table.nodes()->Get(index);
  const std::string what = concat("node ", index);
  const std::optional<Shape> shape = shapeOf(node.kind());
  if (!shape)
    return wrong(concat(what, " has the unknown kind ", int(node.kind())));
  if (shape->hasText ? node.text() >= table.strings()->size()
                     : node.text() != absent)
    return wrong(concat(what, " names the string ", node.text(), " of ",
                        table.strings()->size()));
  if (node.count() < shape->least || node.count() > shape->most ||
      (node.kind() == Kind::Dict && node.count() % 2))
    return wrong(concat(what, " has ", node.count(), " children"));
  if (node.first() > table.links()->size() ||
      node.count() > table.links()->size() - node.first())
    return wrong(concat(what, " has children beyond the links' end"));
  uint32_t level = 1;
  for (uint32_t i = 0; i < node.count(); ++i) {
    const uint32_t child = table.links()->Get(node.first() + i);
    if (child == absent && i < 32 && (shape->optional >> i & 1))
      continue;
    if (child >= index)
      return wrong(
          concat(what, " has the child ", child, ", expected one before it"));
    level = std::max(level, levels[child] + 1);
    // What follows a macro's body are its parameters, and nowhere else is one.
    const bool isParameter =
        table.nodes()->Get(child)->kind() == Kind::Parameter;
    if (isParameter != (node.kind() == Kind::Macro && i > 0))
      return wrong(concat(what, " has a child of the wrong kind"));
  }
  if (level > deepestTree)
    return wrong(concat(what, " is deeper than ", deepestTree, " levels"));
  levels.push_back(level);
  return {};
}

} // namespace

Result<TemplateTable> TemplateTable::open(std::span<const uint8_t> bytes) {
  if (bytes.size() < 16 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return wrong(concat("expected 16 bytes to 2 GiB, found ", bytes.size()));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 4)
    return invalidArgument("chat template: its address is not a multiple of 4");
  if (!schema::ChatTemplateBufferHasIdentifier(bytes.data()))
    return wrong("it does not carry the identifier \"LPCT\"");
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  if (!schema::VerifyChatTemplateBuffer(verifier))
    return wrong(concat("truncated or altered: an offset leads out of its ",
                        bytes.size(), " bytes"));
  TemplateTable result;
  result.table = schema::GetChatTemplate(bytes.data());
  const schema::ChatTemplate &table = *result.table;
  if (table.version() != 1)
    return wrong(concat("expected version 1, found ", table.version()));
  for (const auto *string : *table.strings())
    if (!isValidUtf8(string->string_view()))
      return wrong("a string is not UTF-8");
  for (const auto *variable : *table.variables())
    if (!isValidUtf8(variable->name()->string_view()) ||
        !isValidUtf8(variable->value()->string_view()))
      return wrong("a variable is not UTF-8");
  result.count = table.nodes()->size();
  if (result.count == 0)
    return wrong("it has no nodes");
  std::vector<uint32_t> levels;
  levels.reserve(result.count);
  for (uint32_t index = 0; index < result.count; ++index)
    LAPIDARY_TRY(checkNode(table, index, levels));
  if (table.nodes()->Get(result.root())->kind() != Kind::Block)
    return wrong("its last node is no block");
  result.nodes =
      reinterpret_cast<const schema::TemplateNode *>(table.nodes()->Data());
  result.links = table.links()->data();
  return result;
}

} // namespace lapidary::chat
