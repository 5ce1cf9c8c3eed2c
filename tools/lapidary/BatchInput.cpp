// Fields are those of `lapidary run`: what cannot be honoured is an error of
// its line, never ignored.
#include "tools/lapidary/BatchInput.h"

#include "frontends/formats/Json.h"
#include "runtime/core/Base64.h"
#include "runtime/core/Text.h"
#include "tools/lapidary/AnswerRules.h"

#include <filesystem>

namespace lapidary::cli {

namespace {

using nlohmann::json;

const std::string origin = "the request";
constexpr int64_t mostTokens = int64_t(1) << 40;
constexpr int64_t mostImageTokens = 1 << 20;

/// "path", {"path": ..., "tokens": N} or {"base64": ..., "tokens": N}.
Result<MediaFile> readMedium(const json &value, MediaKind kind,
                             const std::string &folder,
                             const std::string &place) {
  MediaFile file{kind, {}};
  std::string path;
  if (value.is_string()) {
    path = value.get<std::string>();
  } else if (value.is_object()) {
    JsonFields fields(value, origin, place + ".");
    path = LAPIDARY_TRY(fields.string("path", ""));
    const std::string text = LAPIDARY_TRY(fields.string("base64", ""));
    file.imageTokens = static_cast<int32_t>(
        LAPIDARY_TRY(fields.integer("tokens", 0, 1, mostImageTokens)));
    LAPIDARY_TRY(fields.finish());
    if (path.empty() == text.empty())
      return fields.wrong("path", "a path or base64, and one of them", nullptr);
    if (file.imageTokens > 0 && kind != MediaKind::Image)
      return invalidData(origin + ": " + place + ".tokens is for images");
    if (!text.empty()) {
      if (kind == MediaKind::Video)
        return unsupported(origin + ": " + place +
                           ": a video must be a file, not base64");
      Result<std::vector<uint8_t>> bytes = decodeBase64(text);
      if (!bytes.ok())
        return invalidData(origin + ": " + place + ": " +
                           bytes.status().message());
      file.bytes = *std::move(bytes);
      file.path = place;
      return file;
    }
  } else {
    return invalidData(origin + ": " + place +
                       ": expected a path or an object, found " +
                       describeJson(&value));
  }
  if (path.empty() || path.find('\0') != std::string::npos)
    return invalidData(origin + ": " + place + ": expected a path, found " +
                       describeJson(&value));
  file.path = std::filesystem::path(folder) / path;
  return file;
}

Result<std::vector<MediaFile>> readMedia(const json *media,
                                         const std::string &prompt,
                                         const std::string &folder) {
  const std::vector<MediaKind> kinds = mediaPlaceholders(prompt);
  const size_t count = media && media->is_array() ? media->size() : 0;
  if ((media && !media->is_array()) || count != kinds.size())
    return invalidData(
        concat(origin, ": media: expected a list of ", kinds.size(),
               ", one for each medium of the messages, found ",
               !media || media->is_array() ? concat("a list of ", count)
                                           : describeJson(media)));
  std::vector<MediaFile> files;
  for (size_t index = 0; index < count; ++index)
    files.push_back(LAPIDARY_TRY(readMedium(
        (*media)[index], kinds[index], folder, concat("media[", index, "]"))));
  return files;
}

/// A string or a list of strings, as OpenAI's API has it.
Result<std::vector<std::string>> readStop(JsonFields &fields) {
  const json *stop = fields.get("stop");
  const json list = !stop               ? json::array()
                    : stop->is_string() ? json::array({*stop})
                                        : *stop;
  std::vector<std::string> texts;
  if (list.is_array())
    for (const json &text : list)
      if (text.is_string())
        texts.push_back(text.get<std::string>());
  if (!list.is_array() || texts.size() != list.size())
    return fields.wrong("stop", "a string or a list of strings", stop);
  return texts;
}

/// {"ID": BIAS}; false forbids the token, as in llama-server.
Result<std::vector<TokenBias>> readLogitBias(JsonFields &fields) {
  const json *object = LAPIDARY_TRY(fields.child("logit_bias"));
  std::vector<TokenBias> list;
  if (!object)
    return list;
  for (const auto &[id, bias] : object->items()) {
    if (!bias.is_number() && bias != json(false))
      return fields.wrong("logit_bias", "numbers or false", &bias);
    list.push_back(LAPIDARY_TRY(
        parseTokenBias(id + "=" + (bias.is_number() ? bias.dump() : "-inf"))));
  }
  return list;
}

Status readPenalties(JsonFields &fields, PenaltyOptions &penalties) {
  penalties.repeat = static_cast<float>(LAPIDARY_TRY(
      fields.number("repeat_penalty", penalties.repeat, 0.001, 1000)));
  penalties.presence = static_cast<float>(LAPIDARY_TRY(
      fields.number("presence_penalty", penalties.presence, -100, 100)));
  penalties.frequency = static_cast<float>(LAPIDARY_TRY(
      fields.number("frequency_penalty", penalties.frequency, -100, 100)));
  penalties.lastTokens = static_cast<int32_t>(LAPIDARY_TRY(
      fields.integer("repeat_last_n", penalties.lastTokens, -1, 1 << 30)));
  return {};
}

/// The answer's fields, with the command line's in the place of absent ones.
Result<RunOptions> readOptions(JsonFields &fields, const RunOptions &defaults) {
  RunOptions options = defaults;
  options.maxTokens = LAPIDARY_TRY(
      fields.integer("max_tokens", defaults.maxTokens, 1, mostTokens));
  if (fields.get("temperature"))
    options.temperature = static_cast<float>(
        LAPIDARY_TRY(fields.number("temperature", 0, 0, 100)));
  if (fields.get("top_k"))
    options.topK = static_cast<int32_t>(
        LAPIDARY_TRY(fields.integer("top_k", 0, 0, 1 << 30)));
  if (fields.get("top_p"))
    options.topP =
        static_cast<float>(LAPIDARY_TRY(fields.number("top_p", 1, 0, 1)));
  if (fields.get("min_p"))
    options.minP =
        static_cast<float>(LAPIDARY_TRY(fields.number("min_p", 0, 0, 1)));
  if (fields.get("typical_p"))
    options.typicalP =
        static_cast<float>(LAPIDARY_TRY(fields.number("typical_p", 1, 0, 1)));
  LAPIDARY_TRY(readPenalties(fields, options.penalties));
  if (fields.get("logit_bias"))
    options.logitBias = LAPIDARY_TRY(readLogitBias(fields));
  if (fields.get("stop"))
    options.stop = LAPIDARY_TRY(readStop(fields));
  if (const json *seed = fields.get("seed")) {
    if (!seed->is_number_unsigned())
      return fields.wrong("seed", "a whole number from 0 to 2^64 - 1", seed);
    options.seed = seed->get<uint64_t>();
  }
  options.videoFps = LAPIDARY_TRY(fields.number("video_fps", 0, 0.001, 1000));
  return options;
}

} // namespace

nlohmann::ordered_json batchId(std::string_view line) {
  Result<json> parsed = parseJson(line, origin, maxMessagesDepth);
  if (!parsed.ok() || !parsed->is_object() || !parsed->contains("id"))
    return nullptr;
  const json &id = (*parsed)["id"];
  return id.is_string() || id.is_number() ? nlohmann::ordered_json(id)
                                          : nlohmann::ordered_json();
}

int64_t batchImageTokens(const schema::Model &model, std::string_view line) {
  Result<json> parsed = parseJson(line, origin, maxMessagesDepth);
  if (!model.vision() || !parsed.ok() || !parsed->is_object() ||
      !parsed->contains("media"))
    return 0;
  int64_t most = model.vision()->max_soft_tokens();
  for (const json &medium : (*parsed)["media"])
    if (medium.is_object() && medium.contains("tokens") &&
        medium["tokens"].is_number_integer() &&
        medium["tokens"] <= mostImageTokens)
      most = std::max(most, medium["tokens"].get<int64_t>());
  return most;
}

Result<BatchRequest> readBatchLine(const BatchModel &model,
                                   const RunOptions &defaults,
                                   const std::string &folder,
                                   std::string_view line) {
  json object = LAPIDARY_TRY(parseJson(line, origin, maxMessagesDepth));
  if (!object.is_object())
    return invalidData(origin + ": expected an object, found " +
                       describeJson(&object));
  JsonFields fields(object, origin, "");
  RunOptions options = LAPIDARY_TRY(readOptions(fields, defaults));
  if (const json *id = fields.get("id");
      id && !id->is_string() && !id->is_number())
    return fields.wrong("id", "a string or a number", id);
  const json *media = fields.get("media");
  const std::string text = LAPIDARY_TRY(fields.string("prompt", "")),
                    system = LAPIDARY_TRY(fields.string("system", ""));
  const json *messages = fields.get("messages");
  fields.ignore({"options", "tools", "tool_choice", "parallel_tool_calls",
                 "response_format"});
  LAPIDARY_TRY(fields.finish());
  if (!messages == text.empty() || (messages && !system.empty()))
    return fields.wrong("messages",
                        "messages, or prompt with or without system", messages);
  if (!messages && (fields.get("tools") || fields.get("options")))
    return invalidData(origin + ": tools and options need messages");

  const json files = media ? *media : json();
  // Again, with keys in their order, which templates and schemas see.
  auto ordered = LAPIDARY_TRY(parseOrderedJson(line, origin, maxMessagesDepth));
  const ChatRules rules = LAPIDARY_TRY(readAnswerRules(model.rules, ordered));
  Conversation conversation{makeMessages(system, text, {}), {}};
  if (messages)
    conversation = LAPIDARY_TRY(takeConversation(ordered, origin));
  const std::string prompt = LAPIDARY_TRY(
      model.chat.render(conversation.messages, conversation.options));
  BatchRequest request;
  request.options = makeGenerateOptions(options, model.model);
  if (asksForRules(rules))
    request.options.constraint = LAPIDARY_TRY(makeConstraint(
        model.model, model.tokenizer, model.tokens, rulesAfter(rules, prompt)));
  request.prompt = LAPIDARY_TRY(preparePrompt(
      model.model, model.tokenizer, prompt,
      LAPIDARY_TRY(readMedia(media ? &files : nullptr, prompt, folder)),
      options.videoFps));
  return request;
}

} // namespace lapidary::cli
