// Media are read before anything is computed, so that a bad file costs no time.
#include "tools/lapidary/Conversation.h"

#include "frontends/formats/Json.h"
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "runtime/media/Video.h"

#include <set>

namespace lapidary::cli {

namespace {

/// Media as they fill placeholders: the tokens each takes, and the items behind
/// them.
struct LoadedMedia {
  std::vector<MediaTokens> tokens;
  std::vector<PreparedPrompt::Item> items;
};

Status inFile(const Status &status, const MediaFile &file) {
  if (status.message().find(file.path) != std::string::npos)
    return status;
  return {status.getCode(), std::string(mediaName(file.kind)) + " '" +
                                file.path + "': " + status.message()};
}

PreparedPrompt::Item takeItem(ImagePatches &&patches) {
  PreparedPrompt::Item item;
  item.pixels = std::move(patches.pixels);
  item.positions = std::move(patches.positions);
  return item;
}

Status loadImage(const schema::Vision &vision, const MediaFile &file,
                 LoadedMedia &loaded) {
  const Image image =
      LAPIDARY_TRY(file.bytes.empty() ? readImage(file.path)
                                      : decodeImage(file.bytes, file.path));
  const int32_t budget =
      file.imageTokens > 0 ? file.imageTokens : vision.max_soft_tokens();
  ImagePatches patches =
      LAPIDARY_TRY(preprocessImage(image, vision.patch_size(), budget));
  loaded.tokens.push_back({MediaKind::Image, patches.count(), {}});
  loaded.items.push_back(takeItem(std::move(patches)));
  return {};
}

Status loadAudio(const schema::Audio &audio, const MediaFile &file,
                 LoadedMedia &loaded) {
  const double longest = static_cast<double>(audio.max_tokens()) *
                         audio.samples_per_token() /
                         static_cast<double>(audio.rate());
  const std::vector<float> samples = LAPIDARY_TRY(
      file.bytes.empty()
          ? readAudio(file.path, audio.rate(), longest)
          : decodeAudio(file.bytes, file.path, audio.rate(), longest));
  AudioFrames frames = LAPIDARY_TRY(
      preprocessAudio(samples, audio.samples_per_token(), audio.max_tokens()));
  loaded.tokens.push_back({MediaKind::Audio, frames.count, {}});
  PreparedPrompt::Item item;
  item.frames = std::move(frames.samples);
  loaded.items.push_back(std::move(item));
  return {};
}

Status loadVideo(const schema::Vision &vision, const MediaFile &file,
                 double fps, LoadedMedia &loaded) {
  VideoOptions options;
  options.framesPerSecond = fps;
  options.maxFrames = vision.video_frames();
  if (!file.frames.empty())
    options.framesPerSecond = file.frameRate;
  const Video video =
      LAPIDARY_TRY(file.frames.empty() ? readVideo(file.path, options)
                                       : readFrames(file.frames, options));
  MediaTokens tokens{MediaKind::Video, 0, {}};
  for (size_t i = 0; i < video.frames.size(); ++i) {
    ImagePatches patches = LAPIDARY_TRY(preprocessImage(
        video.frames[i], vision.patch_size(), vision.video_soft_tokens()));
    tokens.frames.push_back({video.seconds[i], patches.count()});
    loaded.items.push_back(takeItem(std::move(patches)));
  }
  loaded.tokens.push_back(std::move(tokens));
  return {};
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
  const bool sees = model.vision() != nullptr;
  if ((file.kind == MediaKind::Image && sees && model.image_token() >= 0) ||
      (file.kind == MediaKind::Video && sees && model.video_token() >= 0) ||
      (file.kind == MediaKind::Audio && model.audio() &&
       model.audio_token() >= 0))
    return {};
  return unsupported(
      "model '" + model.name()->str() + "' takes no " + mediaName(file.kind) +
      ", so '" + file.path +
      "' cannot be given to it (lapidary inspect shows what a bundle takes)");
}

GenerateInput PreparedPrompt::input() const {
  GenerateInput input;
  input.tokens = tokens;
  for (const Item &item : items)
    input.media.push_back({item.pixels, item.positions, item.frames, {}});
  return input;
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
  const std::set<std::string, std::less<>> known = {
      "messages",    "options",          "tools",     "media",
      "prompt",      "input_ids",        "draft_ids", "greedy_ids",
      "greedy_text", "mm_token_type_ids"};
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
