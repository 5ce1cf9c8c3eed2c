// The whole conversation is rendered for each turn; the sequence keeps what it
// has in common with the one before, so only what is new is computed.
#include "tools/lapidary/ChatTurns.h"

#include "frontends/formats/Json.h"
#include "runtime/core/ReplacingFile.h"
#include "tools/lapidary/AnswerRules.h"
#include "tools/lapidary/Terminal.h"

#include <filesystem>

namespace lapidary::cli {

namespace {

using nlohmann::ordered_json;

constexpr uint64_t largestFile = uint64_t(64) << 20;
constexpr int64_t mostImageTokens = 1 << 20;

ordered_json describeMedium(const MediaFile &file) {
  return {{"type", mediaName(file.kind)},
          {"path", file.path},
          {"tokens", file.imageTokens}};
}

Result<MediaFile> readMedium(const nlohmann::json &value,
                             const std::string &path,
                             const std::string &place) {
  if (!value.is_object())
    return invalidData(path + ": " + place + ": expected an object, found " +
                       describeJson(&value));
  JsonFields fields(value, path, place + ".");
  MediaFile file{MediaKind::Image, {}};
  const std::string type = LAPIDARY_TRY(fields.string("type", ""));
  for (MediaKind kind : {MediaKind::Image, MediaKind::Audio, MediaKind::Video})
    if (type == mediaName(kind))
      file.kind = kind;
  if (type != mediaName(file.kind))
    return fields.wrong("type", "image, audio or video", fields.get("type"));
  file.path = LAPIDARY_TRY(fields.string("path", ""));
  if (file.path.empty() || file.path.find('\0') != std::string::npos)
    return fields.wrong("path", "a file's name", fields.get("path"));
  file.imageTokens = static_cast<int32_t>(
      LAPIDARY_TRY(fields.integer("tokens", 0, 0, mostImageTokens)));
  LAPIDARY_TRY(fields.finish());
  return file;
}

} // namespace

Status ChatTurns::addMedium(MediaFile file) {
  LAPIDARY_TRY(checkModality(model(), file));
  std::error_code error;
  if (!std::filesystem::exists(file.path, error))
    return notFound("there is no file '" + file.path + "'");
  // A conversation that is loaded elsewhere finds it still.
  const auto absolute = std::filesystem::absolute(file.path, error);
  if (!error)
    file.path = absolute.string();
  waiting.push_back(std::move(file));
  return {};
}

Status ChatTurns::setRules(ChatRules newRules) {
  tokens = LAPIDARY_TRY(TokenTable::create(tokenizer));
  rules = std::move(newRules);
  return makeRules("").status();
}

Result<std::shared_ptr<Constraint>>
ChatTurns::makeRules(std::string_view prompt) const {
  ChatRules own = *rules;
  own.thinkingBudget = thinks ? -1 : 0;
  return makeConstraint(model(), tokenizer, *tokens,
                        rulesAfter(std::move(own), prompt));
}

Result<GenerateResult>
ChatTurns::answer(const std::string &text, GenerateOptions options,
                  const std::function<void(const AnswerDelta &)> &onDelta) {
  Result<GenerateResult> result = tryAnswer(text, std::move(options), onDelta);
  if (result.ok() || waiting.empty())
    return result;
  // One that cannot be decoded would fail every answer from here on.
  waiting.clear();
  return Status(result.status().getCode(),
                result.status().message() +
                    "; the media for this message were dropped");
}

Result<GenerateResult>
ChatTurns::tryAnswer(const std::string &text, GenerateOptions options,
                     const std::function<void(const AnswerDelta &)> &onDelta) {
  ordered_json all = ordered_json::array();
  if (!system.empty())
    all.push_back({{"role", "system"}, {"content", system}});
  all.insert(all.end(), messages.begin(), messages.end());
  const ordered_json own = makeMessages("", text, waiting)[0];
  all.push_back(own);
  std::vector<MediaFile> files = media;
  files.insert(files.end(), waiting.begin(), waiting.end());
  const std::string prompt =
      LAPIDARY_TRY(chat.render(all, {{"enable_thinking", thinks}}));
  const PreparedPrompt prepared =
      LAPIDARY_TRY(preparePrompt(model(), tokenizer, prompt, files, 0));

  if (rules)
    options.constraint = LAPIDARY_TRY(makeRules(prompt));
  AnswerParser parser(tokenizer, endsInThought(prompt));
  std::string content, reasoning;
  const auto take = [&](const AnswerDelta &delta) {
    content += delta.content;
    reasoning += delta.reasoning;
    onDelta(delta);
  };
  options.onPart = [&](const AnswerPart &part) {
    take(parser.push(part));
    return true;
  };
  GenerateInput input = prepared.input();
  input.whole = true;
  Result<GenerateResult> result = generate(*session, tokenizer, input, options);
  if (!result.ok())
    return result;
  take(parser.finish());
  // An answer of which nothing came leaves no turn.
  if (content.empty() && reasoning.empty() &&
      result->finishReason == "cancelled")
    return result;
  waiting.clear();
  media = std::move(files);
  messages.push_back(own);
  ordered_json answered = {{"role", "assistant"}, {"content", content}};
  if (!reasoning.empty())
    answered["reasoning_content"] = reasoning;
  messages.push_back(std::move(answered));
  return result;
}

void ChatTurns::clear() {
  messages = ordered_json::array();
  media.clear();
  waiting.clear();
  session->reset();
}

Status ChatTurns::save(const std::string &path) const {
  ordered_json file = {{"system", system},
                       {"thinking", thinks},
                       {"messages", messages},
                       {"media", ordered_json::array()}};
  for (const MediaFile &medium : media)
    file["media"].push_back(describeMedium(medium));
  const std::string text =
      file.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  ReplacingFile output = LAPIDARY_TRY(ReplacingFile::create(path));
  LAPIDARY_TRY(output.commit(text));
  return session->sequence().save(path + ".state");
}

Status ChatTurns::load(const std::string &path, std::string &note) {
  const std::string text = LAPIDARY_TRY(cli::readTextFile(path, largestFile));
  const nlohmann::json object =
      LAPIDARY_TRY(parseJson(text, path, maxMessagesDepth));
  if (!object.is_object())
    return invalidData(path + ": expected an object, found " +
                       describeJson(&object));
  JsonFields fields(object, path, "");
  const std::string newSystem = LAPIDARY_TRY(fields.string("system", ""));
  const bool newThinks = LAPIDARY_TRY(fields.flag("thinking", false));
  const nlohmann::json *list = fields.get("media");
  fields.ignore({"messages"});
  LAPIDARY_TRY(fields.finish());
  std::vector<MediaFile> files;
  if (list && !list->is_array())
    return fields.wrong("media", "a list", list);
  for (size_t i = 0; list && i < list->size(); ++i)
    files.push_back(LAPIDARY_TRY(
        readMedium((*list)[i], path, "media[" + std::to_string(i) + "]")));
  ordered_json ordered =
      LAPIDARY_TRY(parseOrderedJson(text, path, maxMessagesDepth));
  if (!ordered.contains("messages") || !ordered["messages"].is_array())
    return invalidData(path + ": messages: expected a list");
  ordered_json loaded = std::move(ordered["messages"]);
  if (!loaded.empty())
    LAPIDARY_TRY(chat::normalizeMessages(loaded));
  if (conversationMedia(loaded).size() != files.size())
    return invalidData(path + ": media: expected one for each medium of the "
                              "messages");
  clear();
  system = newSystem;
  thinks = newThinks;
  messages = std::move(loaded);
  media = std::move(files);
  note.clear();
  if (const Status status = session->load(path + ".state"); !status.ok()) {
    session->reset();
    note = "it will be read anew: " + status.message();
  }
  return {};
}

} // namespace lapidary::cli
