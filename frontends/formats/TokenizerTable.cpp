// Lays a tokenizer out as the runtime's flat table: contents end to end, hash
// tables filled in an order that the model alone decides, and the tree over the
// added tokens.
#include "frontends/formats/TokenizerTable.h"

#include "runtime/model/TokenizerTable.h"
#include "runtime/model/Unicode.h"
#include "runtime/schema/tokenizer_generated.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <set>

namespace lapidary {

namespace {

using tokenizer::none;

/// An open-addressing table of `Slot`s, at most half full so that searches stay
/// short.
template <typename Slot> class SlotTable {
public:
  SlotTable(size_t entries, Slot empty)
      : slots(std::bit_ceil(std::max<size_t>(1, entries * 2)), empty) {}

  /// `isEmpty` tells a free slot and `isSame` one that the new entry replaces.
  template <typename Empty, typename Same>
  void insert(uint64_t hash, Slot entry, Empty isEmpty, Same isSame) {
    uint32_t probes = 1;
    for (;; ++hash, ++probes) {
      Slot &slot = slots[hash & (slots.size() - 1)];
      if (!isEmpty(slot) && !isSame(slot))
        continue;
      slot = entry;
      longest = std::max(longest, probes);
      return;
    }
  }

  std::vector<Slot> slots;
  /// Slots that the longest search looks at, for entries; one more finds the
  /// empty slot after them.
  uint32_t longest = 1;
};

SlotTable<schema::MergeSlot> makeMerges(const TokenizerModel &model) {
  SlotTable<schema::MergeSlot> table(model.merges.size(),
                                     {none, none, none, none});
  for (uint32_t rank = 0; rank < model.merges.size(); ++rank) {
    const TokenizerModel::Merge &merge = model.merges[rank];
    table.insert(
        tokenizer::hashMerge(merge.left, merge.right),
        {merge.left, merge.right, rank, merge.merged},
        [](const auto &slot) { return slot.left() == none; },
        [&](const auto &slot) {
          return slot.left() == merge.left && slot.right() == merge.right;
        });
  }
  return table;
}

uint32_t lastCharacter(std::string_view content) {
  size_t start = content.size() - 1;
  while (start > 0 && (static_cast<uint8_t>(content[start]) & 0xC0) == 0x80)
    --start;
  return readUtf8(content.substr(start)).value;
}

std::vector<uint8_t> makeJoins(const TokenizerModel &model) {
  std::set<std::pair<uint32_t, uint32_t>> borders;
  for (const TokenizerModel::Merge &merge : model.merges)
    if (!model.tokens[merge.left].content.empty() &&
        !model.tokens[merge.right].content.empty())
      borders.emplace(lastCharacter(model.tokens[merge.left].content),
                      readUtf8(model.tokens[merge.right].content).value);
  // 16 bits a border: one border in sixteen passes for one that a merge spans,
  // which costs a little time.
  std::vector<uint8_t> joins(std::bit_ceil(borders.size() * 2 + 1));
  for (auto [last, first] : borders) {
    uint64_t bit = tokenizer::hashJoin(last, first) & (joins.size() * 8 - 1);
    joins[bit / 8] |= 1 << (bit % 8);
  }
  return joins;
}

SlotTable<schema::CharacterSlot> makeCharacters(const TokenizerModel &model) {
  std::vector<schema::CharacterSlot> found;
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    const TokenizerModel::Token &token = model.tokens[id];
    if (!token.inVocabulary || token.content.empty())
      continue;
    Utf8Character c = readUtf8(token.content);
    if (c.state == Utf8State::Complete && c.size == token.content.size())
      found.emplace_back(c.value, id);
  }
  SlotTable<schema::CharacterSlot> table(found.size(), {none, none});
  for (const schema::CharacterSlot &entry : found)
    table.insert(
        tokenizer::hashCharacter(entry.character()), entry,
        [](const auto &slot) { return slot.character() == none; },
        [](const auto &) { return false; });
  return table;
}

SlotTable<schema::ContentSlot> makeContents(const TokenizerModel &model) {
  SlotTable<schema::ContentSlot> table(model.tokens.size(), {none, none});
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    if (model.tokens[id].content.empty())
      continue;
    uint64_t hash = tokenizer::hashContent(model.tokens[id].content);
    table.insert(
        hash, {static_cast<uint32_t>(hash >> 32), id},
        [](const auto &slot) { return slot.token() == none; },
        [](const auto &) { return false; });
  }
  return table;
}

struct AddedTree {
  std::vector<schema::AddedNode> nodes;
  std::vector<schema::AddedEdge> edges;
  uint32_t longest = 0;
};

AddedTree makeAddedTree(const TokenizerModel &model) {
  struct Node {
    std::map<uint8_t, uint32_t> children;
    uint32_t token = none;
  };
  std::vector<Node> nodes(1);
  AddedTree tree;
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    const TokenizerModel::Token &token = model.tokens[id];
    if (!token.added)
      continue;
    uint32_t at = 0;
    for (char c : token.content) {
      auto [child, isNew] =
          nodes[at].children.try_emplace(static_cast<uint8_t>(c), nodes.size());
      at = child->second;
      if (isNew)
        nodes.emplace_back();
    }
    nodes[at].token = id;
    tree.longest =
        std::max(tree.longest, static_cast<uint32_t>(token.content.size()));
  }
  for (const Node &node : nodes) {
    tree.nodes.emplace_back(tree.edges.size(), node.children.size(),
                            node.token);
    for (auto [byte, child] : node.children)
      tree.edges.emplace_back(byte, child);
  }
  return tree;
}

std::array<uint32_t, 256> findByteTokens(const TokenizerModel &model) {
  std::array<uint32_t, 256> tokens;
  tokens.fill(none);
  constexpr char digits[] = "0123456789ABCDEF";
  for (uint32_t id = 0; model.byteFallback && id < model.tokens.size(); ++id) {
    const std::string &content = model.tokens[id].content;
    std::optional<uint8_t> byte = tokenizer::byteOf(content);
    // Encoding knows capital digits only; decoding is more lenient.
    if (byte && model.tokens[id].inVocabulary &&
        content[3] == digits[*byte >> 4] && content[4] == digits[*byte & 15])
      tokens[*byte] = id;
  }
  return tokens;
}

} // namespace

Result<std::vector<uint8_t>> writeTokenizerTable(const TokenizerModel &model) {
  std::vector<uint8_t> contents, special((model.tokens.size() + 7) / 8);
  std::vector<uint32_t> offsets = {0};
  // FlatBuffers count with 31 bits. Everything but the contents takes at most
  // 128 bytes a token or merge.
  size_t room = size_t{1} << 30,
         fixed = (model.tokens.size() + model.merges.size()) * 128;
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    const TokenizerModel::Token &token = model.tokens[id];
    if (token.added && token.content.size() > tokenizer::longestAdded)
      return unsupported(
          "tokenizer: the added token with id " + std::to_string(id) + " has " +
          std::to_string(token.content.size()) + " bytes, expected at most " +
          std::to_string(tokenizer::longestAdded));
    fixed += token.added ? token.content.size() * 32 : 0;
    contents.insert(contents.end(), token.content.begin(), token.content.end());
    if (fixed > room || contents.size() > room - fixed)
      return unsupported("tokenizer: " + std::to_string(model.tokens.size()) +
                         " tokens and " + std::to_string(model.merges.size()) +
                         " merges take more than 1 GiB");
    offsets.push_back(static_cast<uint32_t>(contents.size()));
    if (token.special)
      special[id / 8] |= 1 << (id % 8);
  }
  if (model.tokens.empty())
    return invalidData("tokenizer: it has no tokens");

  auto merges = makeMerges(model);
  auto characters = makeCharacters(model);
  auto byContent = makeContents(model);
  AddedTree tree = makeAddedTree(model);
  uint32_t probes =
      std::max({merges.longest, characters.longest, byContent.longest});
  if (probes > tokenizer::maxProbes)
    return unsupported("tokenizer: a search in its table takes " +
                       std::to_string(probes) + " steps, expected at most " +
                       std::to_string(tokenizer::maxProbes));
  std::array<uint32_t, 256> byteTokens = findByteTokens(model);

  flatbuffers::FlatBufferBuilder builder(contents.size() + fixed + 4096);
  auto contentsAt = builder.CreateVector(contents);
  auto offsetsAt = builder.CreateVector(offsets);
  auto specialAt = builder.CreateVector(special);
  auto bytesAt = builder.CreateVector(byteTokens.data(), byteTokens.size());
  auto mergesAt = builder.CreateVectorOfStructs(merges.slots);
  auto joinsAt = builder.CreateVector(makeJoins(model));
  auto charactersAt = builder.CreateVectorOfStructs(characters.slots);
  auto byContentAt = builder.CreateVectorOfStructs(byContent.slots);
  auto nodesAt = builder.CreateVectorOfStructs(tree.nodes);
  auto edgesAt = builder.CreateVectorOfStructs(tree.edges);
  schema::TokenizerTableBuilder table(builder);
  table.add_version(tokenizer::tableVersion);
  table.add_contents(contentsAt);
  table.add_offsets(offsetsAt);
  table.add_special(specialAt);
  table.add_byte_tokens(bytesAt);
  table.add_unknown(model.unknown.value_or(none));
  table.add_fuse_unknown(model.fuseUnknown);
  table.add_merges(mergesAt);
  table.add_joins(joinsAt);
  table.add_characters(charactersAt);
  table.add_token_by_content(byContentAt);
  table.add_max_probes(probes);
  table.add_added_nodes(nodesAt);
  table.add_added_edges(edgesAt);
  table.add_longest_added(tree.longest);
  builder.Finish(table.Finish(), schema::TokenizerTableIdentifier());
  return std::vector<uint8_t>(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
}

} // namespace lapidary
