// Byte-fallback BPE over a table that the compiler made
// (runtime/schema/tokenizer.fbs), used in place: text to token ids and back,
// with the ids that the Hugging Face reference gives. StreamDecoder turns ids
// to text as they come.
#pragma once

#include "runtime/core/Status.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

namespace schema {
struct MergeSlot;
struct CharacterSlot;
struct ContentSlot;
struct AddedNode;
struct AddedEdge;
} // namespace schema

/// Cheap to copy; safe to use from several threads at once.
class Tokenizer {
public:
  /// Takes microseconds. The bytes must outlive the tokenizer and its copies,
  /// and begin at a multiple of 8. An altered table is refused, or gives other
  /// tokens; no id outside the vocabulary ever comes out of it.
  static Result<Tokenizer> create(std::span<const uint8_t> table);

  /// Ids run from 0 to this, exclusive; some of them may have no token.
  int32_t vocabularySize() const { return static_cast<int32_t>(size); }

  /// The ids of a text; special tokens written in it become their ids, and none
  /// is added. Takes near-linear time and about 50 bytes a byte of text. A byte
  /// that is not valid UTF-8 becomes its byte token.
  std::vector<int32_t> encode(std::string_view text) const;

  /// Stands in a text where no special token may reach across; in no text that
  /// is UTF-8.
  static constexpr char protection = '\xFF';
  /// Somebody's text for a prompt: whatever is put beside it or cut out of it,
  /// no special token that begins with an ASCII character begins in it. Bytes
  /// of `protection` become U+FFFD.
  std::string protect(std::string_view text) const;
  /// The text without protection, as people see it.
  static std::string unprotected(std::string_view text);
  /// As encode, of a text with protected parts: what spells a special token
  /// there becomes the tokens of plain text.
  std::vector<int32_t> encodeProtected(std::string_view text) const;

  /// The text of the ids. Byte tokens that follow each other are a text if all
  /// of them together are valid UTF-8; otherwise each becomes U+FFFD, as in the
  /// reference. Ids without a token give nothing.
  std::string decode(std::span<const int32_t> ids, bool skipSpecial) const;

  /// A token as the vocabulary has it (U+2581 for a space, `<0x0A>` for a
  /// byte); empty for an id without a token. Points into the table.
  std::string_view piece(int32_t id) const;
  /// Whether it is a mark, such as `<eos>`, rather than text.
  bool isSpecial(int32_t id) const;
  /// The id of the token with exactly this content.
  std::optional<int32_t> idOf(std::string_view content) const;

private:
  struct Scratch;

  Tokenizer() = default;
  void encodeSegment(std::string_view text, Scratch &scratch,
                     std::vector<int32_t> &ids) const;
  void mergeSymbols(Scratch &scratch) const;
  bool canJoin(uint32_t last, uint32_t first) const;
  const schema::MergeSlot *findMerge(uint32_t left, uint32_t right) const;
  uint32_t findCharacter(uint32_t character) const;
  /// Length of the longest added token at the start of the text and its id; 0
  /// if there is none. Special tokens have at most `longestSpecial` bytes.
  size_t matchAdded(std::string_view text, size_t longestSpecial,
                    uint32_t &id) const;
  /// `breaks` are the places that no special token spans, in order.
  std::vector<int32_t> encodePlain(std::string_view text,
                                   std::span<const size_t> breaks) const;

  /// The table's vectors. Masks are capacity - 1 of the hash tables.
  std::span<const uint8_t> contents, special, joins;
  std::span<const uint32_t> offsets, byteTokens;
  std::span<const schema::AddedNode> addedNodes;
  std::span<const schema::AddedEdge> addedEdges;
  const schema::MergeSlot *merges = nullptr;
  const schema::CharacterSlot *characters = nullptr;
  const schema::ContentSlot *tokenByContent = nullptr;
  uint32_t mergeMask = 0, characterMask = 0, contentMask = 0;
  uint32_t size = 0, probes = 0, unknown = 0, longestAdded = 0;
  bool fuseUnknown = false;
  /// Tokens of the ASCII characters, and whether an added token begins with a
  /// byte: what nearly every byte asks for.
  std::array<uint32_t, 128> asciiTokens{};
  std::array<bool, 256> beginsAdded{}, beginsSpecial{};
};

/// Streams text out token by token. The parts put together are what
/// Tokenizer::decode gives, but for byte tokens that are not valid UTF-8: here
/// only the bytes that belong to no character become U+FFFD, since the run's
/// end is not known.
class StreamDecoder {
public:
  /// The tokenizer must outlive the decoder.
  StreamDecoder(const Tokenizer &tokenizer, bool skipSpecial)
      : tokenizer(tokenizer), skipSpecial(skipSpecial) {}

  /// The text that this token completes; never half a character, often none.
  std::string push(int32_t id);
  /// What is left of a character that never ended. The decoder is then as new.
  std::string finish();

private:
  const Tokenizer &tokenizer;
  bool skipSpecial;
  /// The first bytes of a character whose rest has not come yet: three at most.
  std::string pending;
};

} // namespace lapidary
