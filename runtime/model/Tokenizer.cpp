// Opening a table, cutting added tokens out of a text and BPE merging. The
// rules, down to the order in which merges happen, are those of Hugging Face's
// `tokenizers` library, because every id must be the reference's.
#include "runtime/model/Tokenizer.h"

#include "runtime/model/TokenizerTable.h"
#include "runtime/model/Unicode.h"
#include "runtime/schema/tokenizer_generated.h"

#include <algorithm>
#include <bit>

namespace lapidary {

using tokenizer::none;

/// Working memory of one call to encode.
struct Tokenizer::Scratch {
  /// A run of text that is one token so far, in a doubly linked list; -1 ends
  /// it. The token of one that was merged into its left neighbour is `none`.
  struct Symbol {
    uint32_t token;
    int32_t previous, next;
  };
  /// A merge that may happen: the rank above, the left symbol's index below, so
  /// that the least key is the lowest rank and of those the leftmost.
  struct Candidate {
    uint64_t key;
    uint32_t merged;
    bool operator<(const Candidate &other) const { return key > other.key; }
  };
  /// A run that no merge leads out of.
  std::vector<Symbol> symbols;
  /// A heap; its top is the next candidate.
  std::vector<Candidate> candidates;
};

namespace {

Status wrongTable(const std::string &what) {
  return invalidData("tokenizer table: " + what);
}

Status checkTable(const schema::TokenizerTable &table) {
  if (table.version() != tokenizer::tableVersion)
    return wrongTable("expected version " +
                      std::to_string(tokenizer::tableVersion) + ", found " +
                      std::to_string(table.version()));
  const std::pair<const char *, const void *> vectors[] = {
      {"contents", table.contents()},
      {"offsets", table.offsets()},
      {"special", table.special()},
      {"byte_tokens", table.byte_tokens()},
      {"merges", table.merges()},
      {"joins", table.joins()},
      {"characters", table.characters()},
      {"token_by_content", table.token_by_content()},
      {"added_nodes", table.added_nodes()},
      {"added_edges", table.added_edges()}};
  for (auto [name, vector] : vectors)
    if (!vector)
      return wrongTable(std::string(name) + " is missing");
  if (table.offsets()->size() < 2)
    return wrongTable("expected 2 or more offsets, found " +
                      std::to_string(table.offsets()->size()));
  uint32_t size = table.offsets()->size() - 1;
  if (size > INT32_MAX)
    return wrongTable(std::to_string(size) +
                      " tokens are more than an id can number");
  if (table.special()->size() != (size + 7) / 8)
    return wrongTable("expected " + std::to_string((size + 7) / 8) +
                      " bytes of special, found " +
                      std::to_string(table.special()->size()));
  if (table.byte_tokens()->size() != 256)
    return wrongTable("expected 256 byte_tokens, found " +
                      std::to_string(table.byte_tokens()->size()));
  const std::pair<const char *, uint32_t> powersOfTwo[] = {
      {"merges", table.merges()->size()},
      {"joins", table.joins()->size()},
      {"characters", table.characters()->size()},
      {"token_by_content", table.token_by_content()->size()}};
  for (auto [name, capacity] : powersOfTwo)
    if (!std::has_single_bit(capacity))
      return wrongTable("the capacity of " + std::string(name) + ", " +
                        std::to_string(capacity) + ", is not a power of two");
  if (table.max_probes() < 1 || table.max_probes() > tokenizer::maxProbes)
    return wrongTable("expected max_probes from 1 to " +
                      std::to_string(tokenizer::maxProbes) + ", found " +
                      std::to_string(table.max_probes()));
  if (table.added_nodes()->size() == 0)
    return wrongTable("added_nodes has no root");
  if (table.longest_added() > tokenizer::longestAdded)
    return wrongTable(
        "expected longest_added of " + std::to_string(tokenizer::longestAdded) +
        " or less, found " + std::to_string(table.longest_added()));
  return {};
}

template <typename T>
const T *structs(const flatbuffers::Vector<const T *> *vector) {
  return reinterpret_cast<const T *>(vector->Data());
}

} // namespace

Result<Tokenizer> Tokenizer::create(std::span<const uint8_t> bytes) {
  if (bytes.size() < 16 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return wrongTable("expected 16 bytes to 2 GiB, found " +
                      std::to_string(bytes.size()));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8)
    return invalidArgument(
        "tokenizer table: its address is not a multiple of 8");
  if (!schema::TokenizerTableBufferHasIdentifier(bytes.data()))
    return wrongTable("it does not carry the identifier \"LPTK\"");
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  if (!schema::VerifyTokenizerTableBuffer(verifier))
    return wrongTable("truncated or altered: an offset leads out of its " +
                      std::to_string(bytes.size()) + " bytes");
  const schema::TokenizerTable &table =
      *schema::GetTokenizerTable(bytes.data());
  LAPIDARY_TRY(checkTable(table));

  Tokenizer result;
  result.contents = {table.contents()->data(), table.contents()->size()};
  result.special = {table.special()->data(), table.special()->size()};
  result.joins = {table.joins()->data(), table.joins()->size()};
  result.offsets = {table.offsets()->data(), table.offsets()->size()};
  result.byteTokens = {table.byte_tokens()->data(),
                       table.byte_tokens()->size()};
  result.addedNodes = {structs(table.added_nodes()),
                       table.added_nodes()->size()};
  result.addedEdges = {structs(table.added_edges()),
                       table.added_edges()->size()};
  result.merges = structs(table.merges());
  result.mergeMask = table.merges()->size() - 1;
  result.characters = structs(table.characters());
  result.characterMask = table.characters()->size() - 1;
  result.tokenByContent = structs(table.token_by_content());
  result.contentMask = table.token_by_content()->size() - 1;
  result.size = table.offsets()->size() - 1;
  result.probes = table.max_probes();
  result.unknown = table.unknown() < result.size ? table.unknown() : none;
  result.fuseUnknown = table.fuse_unknown();
  result.longestAdded = table.longest_added();
  for (uint32_t c = 0; c < result.asciiTokens.size(); ++c)
    result.asciiTokens[c] =
        result.findCharacter(c == ' ' ? tokenizer::spaceCharacter : c);
  for (uint32_t id = 0; id < result.size; ++id) {
    // Nearly all bytes of the bits are 0: this takes microseconds.
    if (id % 8 == 0 && result.special[id / 8] == 0) {
      id += 7;
      continue;
    }
    const std::string_view piece = result.piece(static_cast<int32_t>(id));
    if (result.isSpecial(static_cast<int32_t>(id)) && !piece.empty())
      result.beginsSpecial[static_cast<uint8_t>(piece[0])] = true;
  }
  for (uint32_t byte = 0; byte < result.beginsAdded.size(); ++byte) {
    const schema::AddedNode &root = result.addedNodes[0];
    for (uint32_t i = 0;
         i < std::min(root.edge_count(), 256u) && !result.beginsAdded[byte];
         ++i)
      result.beginsAdded[byte] =
          uint64_t{root.first_edge()} + i < result.addedEdges.size() &&
          result.addedEdges[root.first_edge() + i].byte() == byte;
  }
  return result;
}

const schema::MergeSlot *Tokenizer::findMerge(uint32_t left,
                                              uint32_t right) const {
  uint64_t slot = tokenizer::hashMerge(left, right);
  for (uint32_t probe = 0; probe < probes; ++probe, ++slot) {
    const schema::MergeSlot &entry = merges[slot & mergeMask];
    if (entry.left() == left && entry.right() == right)
      // Merges can lead to a special token only in protected text: elsewhere
      // it has been cut out before.
      return entry.merged() < size &&
                     !isSpecial(static_cast<int32_t>(entry.merged()))
                 ? &entry
                 : nullptr;
    if (entry.left() == none)
      return nullptr;
  }
  return nullptr;
}

uint32_t Tokenizer::findCharacter(uint32_t character) const {
  uint64_t slot = tokenizer::hashCharacter(character);
  for (uint32_t probe = 0; probe < probes; ++probe, ++slot) {
    const schema::CharacterSlot &entry = characters[slot & characterMask];
    if (entry.character() == character)
      return entry.token() < size ? entry.token() : none;
    if (entry.character() == none)
      return none;
  }
  return none;
}

std::optional<int32_t> Tokenizer::idOf(std::string_view content) const {
  if (content.empty())
    return std::nullopt;
  uint64_t hash = tokenizer::hashContent(content);
  uint64_t slot = hash;
  for (uint32_t probe = 0; probe < probes; ++probe, ++slot) {
    const schema::ContentSlot &entry = tokenByContent[slot & contentMask];
    if (entry.token() == none)
      return std::nullopt;
    if (entry.tag() == hash >> 32 && entry.token() < size &&
        piece(static_cast<int32_t>(entry.token())) == content)
      return static_cast<int32_t>(entry.token());
  }
  return std::nullopt;
}

size_t Tokenizer::matchAdded(std::string_view text, size_t longestSpecial,
                             uint32_t &id) const {
  size_t longest = 0;
  uint32_t node = 0;
  for (size_t i = 0; i < std::min<size_t>(text.size(), longestAdded); ++i) {
    uint64_t edge = addedNodes[node].first_edge();
    uint64_t end = edge + std::min(addedNodes[node].edge_count(), 256u);
    auto byte = static_cast<uint8_t>(text[i]);
    while (edge < end && edge < addedEdges.size() &&
           addedEdges[edge].byte() < byte)
      ++edge;
    if (edge >= end || edge >= addedEdges.size() ||
        addedEdges[edge].byte() != byte ||
        addedEdges[edge].node() >= addedNodes.size())
      break;
    node = addedEdges[edge].node();
    const uint32_t token = addedNodes[node].token();
    if (token < size &&
        (i < longestSpecial || !isSpecial(static_cast<int32_t>(token)))) {
      longest = i + 1;
      id = token;
    }
  }
  return longest;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  return encodePlain(text, {});
}

std::string Tokenizer::protect(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  for (char c : text) {
    if (c == protection) {
      result += replacementCharacter;
      continue;
    }
    result += c;
    // Within a character nothing can stand.
    if (static_cast<uint8_t>(c) < 0x80 &&
        beginsSpecial[static_cast<uint8_t>(c)])
      result += protection;
  }
  return result;
}

std::string Tokenizer::unprotected(std::string_view text) {
  std::string result(text);
  std::erase(result, protection);
  return result;
}

std::vector<int32_t> Tokenizer::encodeProtected(std::string_view text) const {
  std::string plain;
  plain.reserve(text.size());
  std::vector<size_t> breaks;
  for (char c : text)
    if (c != protection)
      plain += c;
    else if (breaks.empty() || breaks.back() != plain.size())
      breaks.push_back(plain.size());
  return encodePlain(plain, breaks);
}

std::vector<int32_t>
Tokenizer::encodePlain(std::string_view text,
                       std::span<const size_t> breaks) const {
  std::vector<int32_t> ids;
  Scratch scratch;
  size_t start = 0, at = 0;
  while (at < text.size()) {
    while (!breaks.empty() && breaks[0] <= at)
      breaks = breaks.subspan(1);
    uint32_t id = none;
    size_t length =
        beginsAdded[static_cast<uint8_t>(text[at])]
            ? matchAdded(text.substr(at),
                         breaks.empty() ? SIZE_MAX : breaks[0] - at, id)
            : 0;
    if (!length) {
      ++at;
      continue;
    }
    encodeSegment(text.substr(start, at - start), scratch, ids);
    ids.push_back(static_cast<int32_t>(id));
    start = at += length;
  }
  encodeSegment(text.substr(start), scratch, ids);
  return ids;
}

bool Tokenizer::canJoin(uint32_t last, uint32_t first) const {
  if (last == none || first == none)
    return true;
  uint64_t bit =
      tokenizer::hashJoin(last, first) & (uint64_t{joins.size()} * 8 - 1);
  return joins[bit / 8] >> (bit % 8) & 1;
}

void Tokenizer::encodeSegment(std::string_view text, Scratch &scratch,
                              std::vector<int32_t> &ids) const {
  auto &symbols = scratch.symbols;
  symbols.clear();
  uint32_t lastCharacter = none;
  const auto flush = [&] {
    mergeSymbols(scratch);
    for (const Scratch::Symbol &symbol : symbols)
      if (symbol.token != none)
        ids.push_back(static_cast<int32_t>(symbol.token));
    symbols.clear();
  };
  // Symbols are numbered with 31 bits; a run that long is cut anywhere.
  constexpr size_t longestRun = INT32_MAX;
  // `first` and `last` are the characters at the token's ends, none where any
  // will do.
  const auto append = [&](uint32_t token, uint32_t first, uint32_t last) {
    if (!symbols.empty() &&
        (!canJoin(lastCharacter, first) || symbols.size() == longestRun))
      flush();
    symbols.push_back({token, -1, -1});
    lastCharacter = last;
  };
  // An unknown token waits until the next character that the vocabulary has,
  // even if bytes come between: so does the reference's, and only a tokenizer
  // that lacks some byte tokens can tell.
  bool unknownWaits = false;
  for (size_t at = 0; at < text.size();) {
    uint32_t value = static_cast<uint8_t>(text[at]), token = none;
    size_t length = 1;
    if (value < 0x80) {
      token = asciiTokens[value];
      value = value == ' ' ? tokenizer::spaceCharacter : value;
    } else if (Utf8Character c = readUtf8(text.substr(at));
               c.state == Utf8State::Complete) {
      value = c.value;
      token = findCharacter(value);
      length = c.size;
    }
    std::string_view character = text.substr(at, length);
    at += length;
    if (token != none) {
      if (unknownWaits)
        append(unknown, none, none);
      unknownWaits = false;
      append(token, value, value);
      continue;
    }
    // A space arrives here only if the vocabulary lacks U+2581, whose bytes are
    // then the ones that count.
    if (character == " ")
      character = tokenizer::spaceContent;
    if (std::all_of(character.begin(), character.end(), [&](char b) {
          return byteTokens[static_cast<uint8_t>(b)] < size;
        })) {
      for (char b : character)
        append(byteTokens[static_cast<uint8_t>(b)], '<',
               '>'); // As in `<0x0A>`.
    } else if (unknown != none) {
      if (unknownWaits && !fuseUnknown)
        append(unknown, none, none);
      unknownWaits = true;
    }
  }
  if (unknownWaits)
    append(unknown, none, none);
  flush();
}

void Tokenizer::mergeSymbols(Scratch &scratch) const {
  auto &symbols = scratch.symbols;
  auto &candidates = scratch.candidates;
  const auto count = static_cast<int32_t>(symbols.size());
  candidates.clear();
  const auto propose = [&](int32_t left, int32_t right) {
    const schema::MergeSlot *merge =
        findMerge(symbols[left].token, symbols[right].token);
    if (merge)
      candidates.push_back(
          {uint64_t{merge->rank()} << 32 | static_cast<uint32_t>(left),
           merge->merged()});
    return merge != nullptr;
  };
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
    if (i > 0)
      propose(i - 1, i);
  }
  std::make_heap(candidates.begin(), candidates.end());
  while (!candidates.empty()) {
    Scratch::Candidate best = candidates.front();
    std::pop_heap(candidates.begin(), candidates.end());
    candidates.pop_back();
    auto at = static_cast<int32_t>(best.key & UINT32_MAX);
    Scratch::Symbol &left = symbols[at];
    if (left.token == none || left.next < 0)
      continue;
    Scratch::Symbol &right = symbols[left.next];
    // Out of date if the two have changed since. The reference compares what
    // they would become, not what they are.
    const schema::MergeSlot *merge = findMerge(left.token, right.token);
    if (!merge || merge->merged() != best.merged)
      continue;
    left.token = best.merged;
    left.next = right.next;
    right.token = none;
    if (left.next >= 0)
      symbols[left.next].previous = at;
    if (left.previous >= 0 && propose(left.previous, at))
      std::push_heap(candidates.begin(), candidates.end());
    if (left.next >= 0 && propose(at, left.next))
      std::push_heap(candidates.begin(), candidates.end());
  }
}

} // namespace lapidary
