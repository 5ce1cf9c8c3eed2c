// tokenizer.json to a TokenizerModel. A tokenizer that is read wrongly still
// answers, only worse, so every field is either honoured, known not to change
// ids, or refused.
#include "frontends/formats/TokenizerJson.h"

#include "frontends/formats/TokenizerTable.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace lapidary {

namespace {

using nlohmann::json;

/// JSON text for messages: bounded in depth and length, since the file may be
/// anything.
void print(const json &value, int depth, std::string &text) {
  constexpr size_t most = 200;
  if (text.size() > most)
    return;
  if (value.is_structured() && depth == 0) {
    text += value.is_array() ? "[...]" : "{...}";
  } else if (value.is_array()) {
    text += '[';
    for (size_t i = 0; i < value.size() && text.size() <= most; ++i) {
      text += i ? "," : "";
      print(value[i], depth - 1, text);
    }
    text += ']';
  } else if (value.is_object()) {
    text += '{';
    for (auto item = value.begin(); item != value.end() && text.size() <= most;
         ++item) {
      text += item == value.begin() ? "\"" : ",\"";
      text += item.key().substr(0, most) + "\":";
      print(item.value(), depth - 1, text);
    }
    text += '}';
  } else if (value.is_string()) {
    const auto &string = value.get_ref<const std::string &>();
    text += '"' +
            (string.size() > most ? string.substr(0, most) + "..." : string) +
            '"';
  } else {
    text += value.dump();
  }
}

class Reader {
public:
  explicit Reader(const std::string &origin) : origin(origin) {}

  Status read(const json &root);

  TokenizerModel model;

private:
  Status wrong(const std::string &path, const std::string &expected,
               const std::string &found) const {
    return invalidData(origin + ": " + path + ": expected " + expected +
                       ", found " + found);
  }
  Status wrong(const std::string &path, const std::string &expected,
               const json *found) const {
    std::string text;
    if (found)
      print(*found, 4, text);
    return wrong(path, expected, found ? text : "nothing");
  }
  /// The field must be one of these values; null stands for its absence.
  Status expectOneOf(const json &object, const std::string &path,
                     const char *key, std::initializer_list<json> values) const;
  Status refuseOthers(const json &object, const std::string &path,
                      std::initializer_list<std::string_view> known) const;
  Result<bool> readFlag(const json &object, const std::string &path,
                        const char *key) const;
  bool isId(const json &value) const;
  Status wrongId(const json *value, const std::string &path) const;

  Status checkPipeline(const json &root) const;
  Status readVocabulary(const json &bpe);
  Status readMerges(const json &bpe);
  Status readMerge(const json &merge, size_t index);
  Status readAdded(const json &added);
  Status readAddedToken(const json &token, const std::string &path);

  const std::string &origin;
  /// The BPE vocabulary's keys. They point into the JSON document.
  std::unordered_map<std::string_view, uint32_t> vocabulary;
  uint32_t idLimit = 0;
  /// The id of the next added token that is not in the vocabulary.
  uint32_t nextAdded = 0;
};

const json *find(const json &object, const char *key) {
  auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

Status Reader::expectOneOf(const json &object, const std::string &path,
                           const char *key,
                           std::initializer_list<json> values) const {
  const json *found = find(object, key);
  std::string expected;
  for (const json &value : values) {
    if (found ? *found == value : value.is_null())
      return {};
    expected += expected.empty() ? "" : " or ";
    print(value, 4, expected);
  }
  return wrong(path + key, expected, found);
}

Status
Reader::refuseOthers(const json &object, const std::string &path,
                     std::initializer_list<std::string_view> known) const {
  for (const auto &item : object.items())
    if (std::find(known.begin(), known.end(), item.key()) == known.end())
      return unsupported(origin + ": " + path + item.key().substr(0, 100) +
                         ": expected no such field, found one");
  return {};
}

Result<bool> Reader::readFlag(const json &object, const std::string &path,
                              const char *key) const {
  const json *flag = find(object, key);
  if (flag && !flag->is_boolean())
    return wrong(path + key, "true or false", flag);
  return flag && flag->get<bool>();
}

bool Reader::isId(const json &value) const {
  // A file with few tokens and a huge id would make a huge table.
  return value.is_number_unsigned() && value.get<uint64_t>() < idLimit;
}

Status Reader::wrongId(const json *value, const std::string &path) const {
  return wrong(path,
               "an id below " + std::to_string(idLimit) +
                   " (by the number of tokens)",
               value);
}

/// `post_processor` is left alone: it only adds tokens around a text, and
/// prompts bring their own.
Status Reader::checkPipeline(const json &root) const {
  LAPIDARY_TRY(refuseOthers(root, "",
                            {"version", "truncation", "padding", "added_tokens",
                             "normalizer", "pre_tokenizer", "post_processor",
                             "decoder", "model"}));
  const std::string space = "\xE2\x96\x81";
  LAPIDARY_TRY(expectOneOf(root, "", "version", {"1.0"}));
  LAPIDARY_TRY(expectOneOf(root, "", "truncation", {nullptr}));
  LAPIDARY_TRY(expectOneOf(root, "", "padding", {nullptr}));
  LAPIDARY_TRY(expectOneOf(root, "", "normalizer",
                           {{{"type", "Replace"},
                             {"pattern", {{"String", " "}}},
                             {"content", space}}}));
  // No space is left to split at after the normalizer, so this is as good as
  // none.
  LAPIDARY_TRY(expectOneOf(root, "", "pre_tokenizer",
                           {{{"type", "Split"},
                             {"pattern", {{"String", " "}}},
                             {"behavior", "MergedWithPrevious"},
                             {"invert", false}},
                            nullptr}));
  json replace = {
      {"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}};
  json decoders =
      json::array({replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  return expectOneOf(root, "", "decoder",
                     {{{"type", "Sequence"}, {"decoders", decoders}}});
}

Status Reader::readVocabulary(const json &bpe) {
  const json *vocab = find(bpe, "vocab");
  if (!vocab || !vocab->is_object() || vocab->empty())
    return wrong("model.vocab", "an object with tokens", vocab);
  idLimit = static_cast<uint32_t>(
      std::min<size_t>(vocab->size(), INT32_MAX / 4) * 2 + 65536);
  vocabulary.reserve(vocab->size());
  for (const auto &[content, value] : vocab->items()) {
    if (!isId(value))
      return wrongId(&value, "model.vocab[\"" + content + "\"]");
    auto id = value.get<uint32_t>();
    if (id >= model.tokens.size())
      model.tokens.resize(id + 1);
    TokenizerModel::Token &token = model.tokens[id];
    if (token.inVocabulary)
      return wrong("model.vocab[\"" + content + "\"]", "an id of its own",
                   std::to_string(id) + ", which \"" + token.content +
                       "\" has too");
    token.inVocabulary = true;
    token.content = content;
    vocabulary.emplace(content, id);
  }
  const json *unknown = find(bpe, "unk_token");
  if (!unknown || unknown->is_null())
    return {};
  if (!unknown->is_string() ||
      !vocabulary.contains(unknown->get_ref<const std::string &>()))
    return wrong("model.unk_token", "null or a token of the vocabulary",
                 unknown);
  model.unknown = vocabulary.at(unknown->get_ref<const std::string &>());
  return {};
}

Status Reader::readMerge(const json &merge, size_t index) {
  const auto path = [&] {
    return "model.merges[" + std::to_string(index) + "]";
  };
  std::string_view left, right;
  if (merge.is_string()) {
    std::string_view text = merge.get_ref<const std::string &>();
    size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        text.find(' ', space + 1) != std::string_view::npos)
      return wrong(path(), "two tokens with a space between", &merge);
    left = text.substr(0, space);
    right = text.substr(space + 1);
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    left = merge[0].get_ref<const std::string &>();
    right = merge[1].get_ref<const std::string &>();
  } else {
    return wrong(path(), "\"left right\" or [\"left\", \"right\"]", &merge);
  }
  std::string whole = std::string(left) + std::string(right);
  uint32_t ids[3];
  for (int i = 0; i < 3; ++i) {
    std::string_view part = i == 0 ? left : i == 1 ? right : whole;
    auto found = vocabulary.find(part);
    if (found == vocabulary.end())
      return wrong(
          path(),
          "tokens of the vocabulary, and the two of them together as one",
          "\"" + std::string(part.substr(0, 200)) + "\", which is not in it");
    ids[i] = found->second;
  }
  model.merges.push_back({ids[0], ids[1], ids[2]});
  return {};
}

Status Reader::readMerges(const json &bpe) {
  const json *merges = find(bpe, "merges");
  if (!merges || !merges->is_array())
    return wrong("model.merges", "an array", merges);
  model.merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i)
    LAPIDARY_TRY(readMerge((*merges)[i], i));
  return {};
}

Status Reader::readAddedToken(const json &token, const std::string &path) {
  if (!token.is_object())
    return wrong(path, "an object", &token);
  LAPIDARY_TRY(refuseOthers(token, path + ".",
                            {"id", "content", "single_word", "lstrip", "rstrip",
                             "normalized", "special"}));
  LAPIDARY_TRY(expectOneOf(token, path + ".", "normalized", {false}));
  for (const char *key : {"single_word", "lstrip", "rstrip"})
    LAPIDARY_TRY(expectOneOf(token, path + ".", key, {false, nullptr}));
  const json *content = find(token, "content");
  if (!content || !content->is_string() ||
      content->get_ref<const std::string &>().empty())
    return wrong(path + ".content", "a string that is not empty", content);
  const auto &text = content->get_ref<const std::string &>();
  const json *number = find(token, "id");
  if (!number || !isId(*number))
    return wrongId(number, path + ".id");
  auto id = number->get<uint32_t>();
  // The reference numbers tokens itself, from the end of the vocabulary on,
  // whatever the file says.
  auto known = vocabulary.find(text);
  if (known != vocabulary.end() && known->second != id)
    return wrong(path + ".id",
                 std::to_string(known->second) + ", which \"" + text +
                     "\" has in model.vocab",
                 number);
  if (known == vocabulary.end() && id != nextAdded)
    return wrong(path + ".id",
                 std::to_string(nextAdded) + ", the next after model.vocab",
                 number);
  nextAdded = std::max(nextAdded, id + 1);
  if (id >= model.tokens.size())
    model.tokens.resize(id + 1);
  TokenizerModel::Token &entry = model.tokens[id];
  if ((entry.inVocabulary || entry.added) && entry.content != text)
    return wrong(path + ".id", "an id of its own",
                 std::to_string(id) + ", which \"" + entry.content +
                     "\" has too");
  entry.content = text;
  entry.added = true;
  entry.special =
      entry.special || LAPIDARY_TRY(readFlag(token, path + ".", "special"));
  return {};
}

Status Reader::readAdded(const json &added) {
  if (!added.is_array())
    return wrong("added_tokens", "an array", &added);
  nextAdded = static_cast<uint32_t>(vocabulary.size());
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < added.size(); ++i) {
    std::string path = "added_tokens[" + std::to_string(i) + "]";
    LAPIDARY_TRY(readAddedToken(added[i], path));
    const auto &content = added[i]["content"].get_ref<const std::string &>();
    auto [first, isNew] = seen.emplace(content, i);
    if (!isNew)
      return wrong(path + ".content", "a content of its own",
                   "\"" + content + "\", which added_tokens[" +
                       std::to_string(first->second) + "] has too");
  }
  return {};
}

Status Reader::read(const json &root) {
  if (!root.is_object())
    return wrong("the file", "an object", &root);
  LAPIDARY_TRY(checkPipeline(root));
  const json *bpe = find(root, "model");
  if (!bpe || !bpe->is_object())
    return wrong("model", "an object", bpe);
  LAPIDARY_TRY(expectOneOf(*bpe, "model.", "type", {"BPE"}));
  LAPIDARY_TRY(
      refuseOthers(*bpe, "model.",
                   {"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback",
                    "ignore_merges", "vocab", "merges"}));
  LAPIDARY_TRY(expectOneOf(*bpe, "model.", "dropout", {nullptr, 0.0}));
  LAPIDARY_TRY(
      expectOneOf(*bpe, "model.", "continuing_subword_prefix", {nullptr, ""}));
  LAPIDARY_TRY(
      expectOneOf(*bpe, "model.", "end_of_word_suffix", {nullptr, ""}));
  LAPIDARY_TRY(expectOneOf(*bpe, "model.", "ignore_merges", {false, nullptr}));
  model.fuseUnknown = LAPIDARY_TRY(readFlag(*bpe, "model.", "fuse_unk"));
  model.byteFallback = LAPIDARY_TRY(readFlag(*bpe, "model.", "byte_fallback"));
  LAPIDARY_TRY(readVocabulary(*bpe));
  LAPIDARY_TRY(readMerges(*bpe));
  const json *added = find(root, "added_tokens");
  return added ? readAdded(*added) : Status();
}

} // namespace

Result<std::vector<uint8_t>> compileTokenizer(const std::string &text,
                                              const std::string &origin) {
  json root;
  try {
    root = json::parse(text);
  } catch (const json::exception &error) {
    return invalidData(origin + ": " + error.what());
  }
  Reader reader(origin);
  LAPIDARY_TRY(reader.read(root));
  Result<std::vector<uint8_t>> table = writeTokenizerTable(reader.model);
  if (!table.ok())
    return Status(table.status().getCode(),
                  origin + ": " + table.status().message());
  return table;
}

} // namespace lapidary
