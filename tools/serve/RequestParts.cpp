// Contents with their media, and tools.
#include "tools/serve/RequestParts.h"

#include "runtime/core/Base64.h"
#include "runtime/core/Text.h"
#include "tools/serve/MediaFetch.h"

#include <algorithm>

namespace lapidary::serve {

namespace {

const char *partName(MediaKind kind) {
  return kind == MediaKind::Image   ? "image"
         : kind == MediaKind::Audio ? "audio"
                                    : "video";
}

std::string lowered(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return text;
}

bool isUrl(const std::string &text) {
  const size_t colon = text.substr(0, 16).find("://");
  return colon != std::string::npos;
}

/// A part whose medium is `{"url": ...}`, `{"data": ...}` or a string.
void readMediaPart(const Parsing &parsing, const Json &part,
                   const std::string &place, MediaKind kind, const char *key,
                   Json &parts) {
  const auto found = part.find(key);
  if (found == part.end() || found->is_null())
    return parsing.problems.add(concat(place, ".", key),
                                concat("'", place, ".", key, "' is missing"));
  const std::string inner = concat(place, ".", key);
  if (found->is_string()) {
    MediaSource medium =
        readMedium(parsing, kind, found->get_ref<const std::string &>(), inner);
    readDetail(Fields(part, place + ".", parsing.problems), medium);
    parts.push_back(addMedium(parsing, std::move(medium)));
    return;
  }
  if (!found->is_object())
    return parsing.problems.add(inner, concat("'", inner,
                                              "' must be an object or a "
                                              "string, but it is ",
                                              kindOf(*found)));
  const Fields fields(*found, inner + ".", parsing.problems);
  MediaSource medium;
  if (const Json *frames =
          kind == MediaKind::Video ? fields.array("frames") : nullptr) {
    medium.kind = kind;
    medium.place = inner;
    medium.framesPerSecond = 1;
    for (size_t index = 0; index < frames->size(); ++index) {
      const std::string frame = concat(inner, ".frames[", index, "]");
      if (!(*frames)[index].is_string())
        return parsing.problems.add(frame,
                                    concat("'", frame, "' must be a string"));
      medium.frames.push_back(
          readMedium(parsing, MediaKind::Image,
                     (*frames)[index].get_ref<const std::string &>(), frame));
    }
    if (medium.frames.empty())
      fields.fail("frames", concat("'", inner, ".frames' has no frame"));
  } else {
    const char *name = fields.get("data") ? "data" : "url";
    const std::string text = fields.required(name);
    if (!parsing.problems.ok())
      return;
    medium = readMedium(parsing, kind, text, concat(inner, ".", name));
  }
  if (kind == MediaKind::Video)
    if (const auto fps = fields.number("fps", 0.001, 1000))
      medium.framesPerSecond = *fps;
  readDetail(fields, medium);
  parts.push_back(addMedium(parsing, std::move(medium)));
}

void readPart(const Parsing &parsing, const Json &part,
              const std::string &place, Json &parts) {
  if (part.is_string()) {
    parts.push_back({{"type", "text"}, {"text", part}});
    return;
  }
  if (!isObject(parsing, part, place))
    return;
  const Fields fields(part, place + ".", parsing.problems);
  const std::string type = fields.required("type");
  if (type == "text" || type == "input_text" || type == "output_text")
    parts.push_back({{"type", "text"}, {"text", fields.required("text")}});
  else if (type == "refusal")
    parts.push_back({{"type", "text"}, {"text", fields.required("refusal")}});
  else if (type == "image_url" || type == "input_image")
    readMediaPart(parsing, part, place, MediaKind::Image, "image_url", parts);
  else if (type == "input_audio")
    readMediaPart(parsing, part, place, MediaKind::Audio, "input_audio", parts);
  else if (type == "audio_url")
    readMediaPart(parsing, part, place, MediaKind::Audio, "audio_url", parts);
  else if (type == "input_video" || type == "video_url")
    readMediaPart(parsing, part, place, MediaKind::Video, type.c_str(), parts);
  else if (parsing.problems.ok())
    fields.fail("type",
                concat("'", place, ".type' is '", type.substr(0, 100),
                       "'; there are text, image_url, input_audio, audio_url, "
                       "input_video, video_url (and input_text, input_image "
                       "in /v1/responses)"));
}

void addProblem(const Parsing &parsing,
                const std::optional<FieldProblem> &problem) {
  if (problem)
    parsing.problems.add(problem->place,
                         concat("'", problem->place, "' ", problem->message));
}

} // namespace

bool isObject(const Parsing &parsing, const Json &value,
              const std::string &place) {
  if (!value.is_object())
    parsing.problems.add(
        place,
        concat("'", place, "' must be an object, but it is ", kindOf(value)));
  return value.is_object();
}

void readMessages(const Parsing &parsing, const Fields &fields,
                  void (*read)(const Parsing &, const Json &,
                               const std::string &)) {
  const Json *messages = fields.array("messages");
  if (!messages)
    return fields.fail("messages", "'messages' is missing");
  if (messages->empty())
    return fields.fail("messages", "'messages' is empty");
  readEach(parsing, *messages, "messages",
           [&](const Json &message, const std::string &place) {
             read(parsing, message, place);
           });
}

MediaSource readMedium(const Parsing &parsing, MediaKind kind,
                       const std::string &text, const std::string &place) {
  MediaSource medium;
  medium.kind = kind;
  medium.place = place;
  auto fail = [&](const std::string &message) {
    parsing.problems.add(place, concat("'", place, "': ", message));
  };
  if (isUrl(text)) {
    const Result<MediaUrl> url = parseMediaUrl(text);
    const auto isHost = [&](const std::string &allowed) {
      return lowered(allowed) == url->host;
    };
    if (!url.ok() || std::ranges::none_of(parsing.limits.mediaHosts, isHost))
      fail("media must be inline, as a data: URI or base64; this server "
           "fetches from hosts that --allow-media-host names only");
    medium.url = text;
    return medium;
  }
  std::string_view code = text;
  if (code.starts_with("data:")) {
    const size_t comma = code.find(',');
    if (comma == code.npos || !code.substr(0, comma).ends_with(";base64")) {
      fail("expected a data: URI of the form data:TYPE;base64,DATA");
      return medium;
    }
    code.remove_prefix(comma + 1);
  }
  if (code.size() / 4 * 3 > parsing.limits.maxMedia) {
    parsing.problems.add(place,
                         concat("'", place, "' has about ", code.size() / 4 * 3,
                                " bytes, at most ", parsing.limits.maxMedia,
                                " are allowed"),
                         413);
    return medium;
  }
  Result<std::vector<uint8_t>> bytes = decodeBase64(code);
  if (!bytes.ok())
    fail(bytes.status().message());
  else if (bytes->empty())
    fail("the medium is empty");
  else
    medium.bytes = *std::move(bytes);
  return medium;
}

Json addMedium(const Parsing &parsing, MediaSource medium) {
  const MediaKind kind = medium.kind;
  size_t count = std::max<size_t>(medium.frames.size(), 1);
  for (const MediaSource &other : parsing.request.media)
    count += std::max<size_t>(other.frames.size(), 1);
  if (count > parsing.limits.maxMediaCount)
    parsing.problems.add(medium.place,
                         concat("the request has more than ",
                                parsing.limits.maxMediaCount, " media"));
  parsing.request.media.push_back(std::move(medium));
  return {{"type", partName(kind)}};
}

void readDetail(const Fields &fields, MediaSource &medium) {
  if (medium.kind != MediaKind::Image)
    return;
  if (const auto detail = fields.string("detail")) {
    if (*detail == "low")
      medium.detail = Detail::Low;
    else if (*detail == "high")
      medium.detail = Detail::High;
    else if (*detail != "auto")
      fields.fail("detail", concat("'", fields.where("detail"),
                                   "' must be low, auto or high"));
  }
  if (const auto tokens = fields.integer("max_soft_tokens", 1, 1 << 20))
    medium.softTokens = static_cast<int32_t>(*tokens);
}

Json readContent(const Parsing &parsing, const Json &content,
                 const std::string &place) {
  if (content.is_string() || content.is_null())
    return content;
  if (!content.is_array()) {
    parsing.problems.add(place,
                         concat("'", place,
                                "' must be a string or an array of parts, but "
                                "it is ",
                                kindOf(content)));
    return nullptr;
  }
  Json parts = Json::array();
  readEach(parsing, content, place,
           [&](const Json &part, const std::string &at) {
             readPart(parsing, part, at, parts);
           });
  return parts;
}

void addTool(const Parsing &parsing, const Fields &fields,
             const char *parametersKey) {
  const std::string name = fields.required("name");
  const bool good =
      !name.empty() && name.size() <= 64 &&
      std::ranges::all_of(name, [](unsigned char c) {
        return std::isalnum(c) || c == '_' || c == '-' || c == '.';
      });
  if (!good)
    fields.fail("name", concat("'", fields.where("name"),
                               "' must be 1 to 64 letters, digits, '_', '-' "
                               "or '.'"));
  Json function = {{"name", name},
                   {"description", fields.string("description").value_or("")}};
  if (const Json *parameters = fields.child(parametersKey))
    function["parameters"] = *parameters;
  else
    function["parameters"] = {{"type", "object"},
                              {"properties", Json::object()}};
  if (parsing.request.rules.tools.is_null())
    parsing.request.rules.tools = Json::array();
  for (const Json &other : parsing.request.rules.tools)
    if (other["function"]["name"] == name)
      fields.fail("name", concat("there are two tools '", name, "'"));
  if (parsing.request.rules.tools.size() == 1024)
    fields.fail("name", "there are more than 1024 tools");
  if (parsing.problems.ok())
    parsing.request.rules.tools.push_back(
        {{"type", "function"}, {"function", std::move(function)}});
}

void chooseTools(const Parsing &parsing, const Json &choice) {
  addProblem(parsing,
             readToolChoice(choice, "tool_choice", parsing.request.rules));
}

void readFormat(const Parsing &parsing, const Json &format,
                const std::string &place) {
  addProblem(parsing, readAnswerFormat(format, place, parsing.request.rules));
}

void finishTools(const Parsing &parsing) {
  ChatRequest &request = parsing.request;
  if (request.rules.tools.is_null() || request.rules.tools.empty()) {
    request.rules.toolChoice = ChatRules::ToolChoice::None;
    return;
  }
  if (request.rules.toolChoice != ChatRules::ToolChoice::None)
    request.templateOptions["tools"] = request.rules.tools;
}

} // namespace lapidary::serve
