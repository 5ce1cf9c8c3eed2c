// Media are read before anything is computed, so that a bad file costs no time.
#include "tools/lapidary/Conversation.h"

#include "frontends/formats/Json.h"
#include "runtime/media/Audio.h"
#include "runtime/media/Video.h"

#include <set>

namespace lapidary::cli {

namespace {

Status inFile(const Status &status, const MediaFile &file) {
  if (status.message().find(file.path) != std::string::npos)
    return status;
  return {status.getCode(), std::string(mediaName(file.kind)) + " '" +
                                file.path + "': " + status.message()};
}

Status loadImage(const schema::Vision &vision, const MediaFile &file,
                 LoadedMedia &loaded) {
  const Image image =
      LAPIDARY_TRY(file.bytes.empty() ? readImage(file.path)
                                      : decodeImage(file.bytes, file.path));
  return loaded.addImage(vision, image,
                         file.imageTokens > 0 ? file.imageTokens
                                              : vision.max_soft_tokens());
}

Status loadAudio(const schema::Audio &audio, const MediaFile &file,
                 LoadedMedia &loaded) {
  const std::vector<float> samples =
      LAPIDARY_TRY(file.bytes.empty()
                       ? readAudio(file.path, audio.rate(), longestSound(audio))
                       : decodeAudio(file.bytes, file.path, audio.rate(),
                                     longestSound(audio)));
  return loaded.addSound(audio, samples);
}

Status loadVideo(const schema::Vision &vision, const MediaFile &file,
                 double fps, LoadedMedia &loaded) {
  VideoOptions options;
  options.framesPerSecond = fps;
  options.maxFrames = vision.video_frames();
  if (!file.frames.empty())
    options.framesPerSecond = file.frameRate;
  return loaded.addVideo(vision,
                         LAPIDARY_TRY(file.frames.empty()
                                          ? readVideo(file.path, options)
                                          : readFrames(file.frames, options)));
}

Status loadOne(const schema::Model &model, const MediaFile &file,
               double videoFps, LoadedMedia &loaded) {
  LAPIDARY_TRY(checkModality(model, file));
  switch (file.kind) {
  case MediaKind::Image:
    return loadImage(*model.vision(), file, loaded);
  case MediaKind::Audio:
    return loadAudio(*model.audio(), file, loaded);
  case MediaKind::Video:
    return loadVideo(*model.vision(), file, videoFps, loaded);
  }
  return internalError("a medium of no known kind");
}

} // namespace

const char *mediaName(MediaKind kind) {
  switch (kind) {
  case MediaKind::Image:
    return "image";
  case MediaKind::Audio:
    return "audio";
  case MediaKind::Video:
    return "video";
  }
  return "medium";
}

Status checkModality(const schema::Model &model, const MediaFile &file) {
  if (takesMedia(model, file.kind))
    return {};
  return unsupported(
      "model '" + model.name()->str() + "' takes no " + mediaName(file.kind) +
      ", so '" + file.path +
      "' cannot be given to it (lapidary inspect shows what a bundle takes)");
}

Result<Conversation> readConversation(const std::string &text,
                                      const std::string &origin) {
  Result<nlohmann::ordered_json> parsed =
      parseOrderedJson(text, origin, maxMessagesDepth);
  if (!parsed.ok() || !parsed->is_object() || !parsed->contains("messages")) {
    return invalidData(
        origin +
        " is no JSON object with \"messages\", such as "
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}" +
        (parsed.ok() ? "" : "\n" + parsed.status().message()));
  }
  nlohmann::ordered_json &json = *parsed;
  // Beside them, what a reference case says of the answer it expects.
  const std::set<std::string, std::less<>> known = {"messages",
                                                    "options",
                                                    "tools",
                                                    "media",
                                                    "prompt",
                                                    "input_ids",
                                                    "draft_ids",
                                                    "greedy_ids",
                                                    "greedy_text",
                                                    "tool_choice",
                                                    "response_format",
                                                    "mm_token_type_ids",
                                                    "parallel_tool_calls"};
  for (const auto &item : json.items()) {
    if (!known.contains(item.key()))
      return unsupported(origin +
                         ": expected \"messages\", \"options\" and "
                         "\"tools\", found \"" +
                         item.key().substr(0, 100) + "\"");
  }
  return takeConversation(json, origin);
}

Result<Conversation> takeConversation(nlohmann::ordered_json &json,
                                      const std::string &origin) {
  auto options = nlohmann::ordered_json::object();
  if (json.contains("options"))
    options = std::move(json["options"]);
  // OpenAI's API has the tools beside the messages.
  if (json.contains("tools")) {
    if (options.is_null())
      options = nlohmann::ordered_json::object();
    if (options.is_object()) {
      if (options.contains("tools"))
        return invalidData(origin + ": expected \"tools\" once, found them "
                                    "beside \"messages\" and in \"options\"");
      options["tools"] = std::move(json["tools"]);
    }
  }
  return Conversation{std::move(json["messages"]), std::move(options)};
}

std::vector<MediaKind>
conversationMedia(const nlohmann::ordered_json &messages) {
  std::vector<MediaKind> kinds;
  for (const auto &message : messages) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_array())
      continue;
    for (const auto &part : *content) {
      const auto type = part.value("type", std::string());
      for (MediaKind kind :
           {MediaKind::Image, MediaKind::Audio, MediaKind::Video})
        if (type.find(mediaName(kind)) != std::string::npos)
          kinds.push_back(kind);
    }
  }
  return kinds;
}

nlohmann::ordered_json makeMessages(const std::string &system,
                                    const std::string &text,
                                    const std::vector<MediaFile> &media) {
  auto messages = nlohmann::ordered_json::array();
  if (!system.empty())
    messages.push_back({{"role", "system"}, {"content", system}});
  auto parts = nlohmann::ordered_json::array();
  for (const MediaFile &file : media)
    parts.push_back({{"type", mediaName(file.kind)}});
  parts.push_back({{"type", "text"}, {"text", text}});
  messages.push_back({{"role", "user"}, {"content", std::move(parts)}});
  return messages;
}

Result<PreparedPrompt> preparePrompt(const schema::Model &model,
                                     const Tokenizer &tokenizer,
                                     const std::string &prompt,
                                     const std::vector<MediaFile> &media,
                                     double videoFps) {
  LoadedMedia loaded;
  for (const MediaFile &file : media) {
    const Status status = loadOne(model, file, videoFps, loaded);
    if (!status.ok())
      return inFile(status, file);
  }
  const std::string expanded = LAPIDARY_TRY(expandMedia(prompt, loaded.tokens));
  PreparedPrompt prepared;
  prepared.tokens = tokenizer.encodeProtected(expanded);
  prepared.items = std::move(loaded.items);
  return prepared;
}

} // namespace lapidary::cli
