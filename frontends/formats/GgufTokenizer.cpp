// tokenizer.ggml.* to a TokenizerModel. What tokenizer.json says in words, a
// GGUF file says by the name of the tokenizer: byte-fallback BPE over text
// whose spaces are U+2581.
#include "frontends/formats/GgufTokenizer.h"

#include "frontends/formats/GgufKeys.h"
#include "frontends/formats/TokenizerTable.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace lapidary {

namespace {

/// The values of tokenizer.ggml.token_type.
enum class TokenType : int64_t {
  Normal = 1,
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
  Unused = 5,
  Byte = 6,
};

/// The marks of the prompt format. In tokenizer.json all are special; the
/// converter calls some user-defined, so that they are always shown, and those
/// that tokenizer_config.json does not name ordinary.
constexpr std::array<std::string_view, 19> marks = {
    "<|turn>",      "<turn|>",          "<|think|>",        "<|channel>",
    "<channel|>",   "<|tool>",          "<tool|>",          "<|tool_call>",
    "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
    "<|image>",     "<|image|>",        "<image|>",         "<|audio>",
    "<|audio|>",    "<audio|>",         "<|video|>"};

class Reader {
public:
  explicit Reader(const GgufFile &file)
      : file(file), keys(file, "tokenizer.ggml.") {}

  Status read();

  TokenizerModel model;

private:
  Status checkKeys();
  Status readTokens();
  Status readMerges();
  Status wrong(std::string_view key, uint64_t index,
               const std::string &what) const {
    return invalidData(file.path() + ": tokenizer.ggml." + std::string(key) +
                       "[" + std::to_string(index) + "]: " + what);
  }

  const GgufFile &file;
  GgufKeys keys;
  /// Points into the file's metadata.
  std::unordered_map<std::string_view, uint32_t> ids;
};

/// Which tokens stand around a text changes nothing: prompts bring their own.
Status Reader::checkKeys() {
  if (auto name = LAPIDARY_TRY(keys.string("model")); name != "gemma4")
    return keys.wrong("model", "\"gemma4\"");
  LAPIDARY_TRY(keys.expectString("pre", "gemma4"));
  for (const char *key : {"add_space_prefix", "remove_extra_whitespaces",
                          "normalizer.lowercase", "normalizer.strip_accents"})
    LAPIDARY_TRY(keys.expectFlag(key, false));
  keys.ignore({"add_bos_token", "add_eos_token", "add_sep_token",
               "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id",
               "padding_token_id", "mask_token_id", "seperator_token_id",
               "cls_token_id", "scores", "suppress_tokens",
               "token_type_count"});
  return {};
}

Status Reader::readTokens() {
  const GgufValue *tokens = keys.get("tokens");
  if (!tokens || !tokens->isArray() || tokens->element != GgufType::String)
    return keys.wrong("tokens", "an array of strings");
  std::vector<int64_t> tokenTypes =
      LAPIDARY_TRY(keys.integers("token_type", size_t(tokens->count)));
  model.tokens.resize(size_t(tokens->count));
  ids.reserve(model.tokens.size());
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    std::string_view content = *tokens->string(id);
    // Rows of the embedding that no token has.
    if (content.empty())
      continue;
    if (!isValidUtf8(content))
      return wrong("tokens", id, "expected UTF-8");
    if (auto [first, isNew] = ids.emplace(content, id); !isNew)
      return wrong("tokens", id,
                   "expected a content of its own, found that of token " +
                       std::to_string(first->second));
    TokenizerModel::Token &token = model.tokens[id];
    token.content = content;
    token.inVocabulary = true;
    switch (TokenType(tokenTypes[id])) {
    case TokenType::Normal:
    case TokenType::Unused:
    case TokenType::Byte:
      break;
    case TokenType::Unknown:
    case TokenType::Control:
      token.added = token.special = true;
      break;
    case TokenType::UserDefined:
      token.added = true;
      break;
    default:
      return wrong("token_type", id,
                   "expected a type from 1 to 6, found " +
                       std::to_string(tokenTypes[id]));
    }
    if (std::find(marks.begin(), marks.end(), content) != marks.end())
      token.added = token.special = true;
  }
  if (keys.has("unknown_token_id")) {
    int64_t unknown = LAPIDARY_TRY(keys.integer("unknown_token_id"));
    if (unknown < 0 || uint64_t(unknown) >= model.tokens.size())
      return keys.wrong("unknown_token_id",
                        "a token below " + std::to_string(model.tokens.size()));
    model.unknown = uint32_t(unknown);
  }
  return {};
}

Status Reader::readMerges() {
  const GgufValue *merges = keys.get("merges");
  if (!merges || !merges->isArray() || merges->element != GgufType::String)
    return keys.wrong("merges", "an array of strings");
  model.merges.reserve(size_t(merges->count));
  for (uint64_t i = 0; i < merges->count; ++i) {
    std::string_view text = *merges->string(i);
    size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        text.find(' ', space + 1) != std::string_view::npos)
      return wrong("merges", i,
                   "expected two tokens with a space between, found " +
                       quoteName(text));
    std::string_view left = text.substr(0, space),
                     right = text.substr(space + 1);
    std::string whole = std::string(left) + std::string(right);
    std::array<uint32_t, 3> found = {};
    for (size_t part = 0; part < 3; ++part) {
      auto id = ids.find(part == 0 ? left : part == 1 ? right : whole);
      if (id == ids.end())
        return wrong("merges", i,
                     "expected two tokens, and the two of them together as "
                     "one, found " +
                         quoteName(text));
      found[part] = id->second;
    }
    model.merges.push_back({found[0], found[1], found[2]});
  }
  return {};
}

Status Reader::read() {
  LAPIDARY_TRY(checkKeys());
  LAPIDARY_TRY(readTokens());
  LAPIDARY_TRY(readMerges());
  LAPIDARY_TRY(keys.finish());
  model.fuseUnknown = model.byteFallback = true;
  return {};
}

} // namespace

Result<std::vector<uint8_t>> compileGgufTokenizer(const GgufFile &file) {
  Reader reader(file);
  LAPIDARY_TRY(reader.read());
  Result<std::vector<uint8_t>> table = writeTokenizerTable(reader.model);
  if (!table.ok())
    return Status(table.status().getCode(),
                  file.path() + ": " + table.status().message());
  return table;
}

} // namespace lapidary
