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

/// Whether a value is an object; if not, that is a problem.
bool isObject(const Parsing &parsing, const Json &value,
              const std::string &place);

/// `read(item, "PLACE[0]")` for each item of a list, up to the first
/// problem.
template <typename Read>
void readEach(const Parsing &parsing, const Json &list,
              const std::string &place, Read read) {
  for (size_t index = 0; index < list.size() && parsing.problems.ok(); ++index)
    read(list[index], place + "[" + std::to_string(index) + "]");
}

/// The same for `messages`, of which there must be some.
void readMessages(const Parsing &parsing, const Fields &fields,
                  void (*read)(const Parsing &, const Json &message,
                               const std::string &place));

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
/// Which tools may be called, in the forms of OpenAI's APIs.
void chooseTools(const Parsing &parsing, const Json &choice);
/// Gives the template the tools, unless none may be called.
void finishTools(const Parsing &parsing);

/// The sampling, length and streaming fields that chat and completions share
/// with llama-server.
void readCommon(const Parsing &parsing, const Fields &fields);
void readStop(const Parsing &parsing, const Fields &fields, const char *key);
/// {type: text | json_object | json_schema, ...}.
void readFormat(const Parsing &parsing, const Json &format,
                const std::string &place);
/// What the rules, all of them read, leave no room for.
void finishRules(const Parsing &parsing);
/// none, minimal (256 tokens of thought), low (1024), medium (4096), high.
void readEffort(const Parsing &parsing, const std::string &effort,
                const std::string &place);

} // namespace lapidary::serve
