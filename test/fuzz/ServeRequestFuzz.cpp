// Fuzzes requests to the server: the first byte chooses the API, the rest is
// the body. What is taken must be within the limits, what is not must say why.
#include "tools/serve/ChatRequest.h"

#include <cstdlib>

using namespace lapidary;
using namespace lapidary::serve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  RequestLimits limits;
  limits.maxMedia = 4096;
  limits.vocabulary = 1000;
  limits.mediaHosts = {"example.com"};
  ApiError error;
  const std::optional<Json> body =
      parseRequest({reinterpret_cast<const char *>(data + 1), size - 1}, error);
  if (!body) {
    if (error.message.empty())
      std::abort();
    (void)Json::parse(dumpJson(error.toJson()));
    return 0;
  }
  Problems problems;
  const ChatRequest request =
      data[0] % 4 == 0   ? parseChat(*body, limits, problems)
      : data[0] % 4 == 1 ? parseCompletion(*body, limits, problems)
      : data[0] % 4 == 2 ? parseResponses(*body, limits, problems)
                         : parseMessages(*body, limits, problems);
  if (!problems.ok()) {
    if (problems.error().message.empty() || problems.error().status < 400)
      std::abort();
    (void)Json::parse(dumpJson(problems.error().toJson()));
    (void)Json::parse(dumpJson(problems.error().toAnthropic()));
    return 0;
  }
  if (request.choices < 1 || request.choices > limits.maxChoices ||
      request.topLogprobs < 0 || request.topLogprobs > 20 ||
      request.maxTokens < 0)
    std::abort();
  for (const auto &[id, bias] : request.sampling.logitBias)
    if (id < 0 || id >= limits.vocabulary || !(bias >= -100 && bias <= 100))
      std::abort();
  for (const MediaSource &medium : request.media)
    if (medium.bytes.size() > limits.maxMedia + 3 ||
        (medium.bytes.empty() && medium.url.empty() && medium.frames.empty()))
      std::abort();
  return 0;
}
