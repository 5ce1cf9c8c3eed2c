// What the APIs have in common: parts of contents, tools, and the fields that
// say how to answer.
#pragma once

#include "tools/serve/ChatRequest.h"

namespace lapidary::serve {

/// What a parser works with.
struct Parsing {
  ChatRequest &request;
  const RequestLimits &limits;
  Problems &problems;
};

/// An image, sound or video at `text`, a data: URI, base64 or a URL whose host
/// is allowed. Errors name `place`.
MediaSource readMedium(const Parsing &parsing, MediaKind kind,
                       const std::string &text, const std::string &place);
/// Puts a medium into the request and gives the part that stands for it in a
/// message.
Json addMedium(const Parsing &parsing, MediaSource medium);
/// `detail` and `max_soft_tokens`.
void readDetail(const Fields &fields, MediaSource &medium);

/// A content of OpenAI's form: a string, or parts of the types text
/// (input_text, output_text, refusal), image_url (input_image), input_audio,
/// input_video and video_url.
Json readContent(const Parsing &parsing, const Json &content,
                 const std::string &place);

/// Adds a tool {name, description, parameters} in OpenAI's form.
void addTool(const Parsing &parsing, const Fields &fields,
             const char *parametersKey);
/// A function that a tool choice names must be there.
void chooseTool(const Parsing &parsing, const std::string &name,
                const std::string &place);
/// "none", "auto" or "required" (`any` of Anthropic's).
void readToolChoice(const Parsing &parsing, const std::string &word,
                    const std::string &place);
/// Gives the template the tools, unless none may be called.
void finishTools(const Parsing &parsing);

/// The sampling, length and streaming fields that chat and completions share
/// with llama-server.
void readCommon(const Parsing &parsing, const Fields &fields);
void readStop(const Parsing &parsing, const Fields &fields, const char *key);
/// {type: text | json_object | json_schema, ...}: `json_schema` holds `schema`
/// (chat), or `schema` stands in the object itself (responses, llama-server).
void readFormat(const Parsing &parsing, const Json &format,
                const std::string &place);
/// What the rules, all of them read, leave no room for.
void finishRules(const Parsing &parsing);
/// none, minimal (256 tokens of thought), low (1024), medium (4096), high.
void readEffort(const Parsing &parsing, const std::string &effort,
                const std::string &place);

} // namespace lapidary::serve
