#include "tools/serve/Metrics.h"

#include <algorithm>
#include <sstream>

namespace lapidary::serve {

void Metrics::countAnswer(const GenerateResult &result) {
  const std::lock_guard lock(mutex);
  const auto cached = static_cast<uint64_t>(result.reusedTokens);
  counts.promptTokens += result.promptIds.size() - cached;
  counts.cachedTokens += cached;
  counts.answerTokens += result.ids.size();
  counts.promptSeconds += result.embedSeconds + result.prefillSeconds;
  counts.answerSeconds += result.decodeSeconds;
  counts.longest = std::max<uint64_t>(counts.longest, result.promptIds.size() +
                                                          result.ids.size());
  counts.drafted += static_cast<uint64_t>(result.draftedTokens);
  counts.accepted += static_cast<uint64_t>(result.acceptedTokens);
  ++counts.answers;
}

void Metrics::countStep(size_t sequences) {
  const std::lock_guard lock(mutex);
  ++counts.steps;
  counts.busy += sequences;
}

void Metrics::countRefused() {
  const std::lock_guard lock(mutex);
  ++counts.refused;
}

void Metrics::countFailed() {
  const std::lock_guard lock(mutex);
  ++counts.failed;
}

void Metrics::countCancelled() {
  const std::lock_guard lock(mutex);
  ++counts.cancelled;
}

std::string Metrics::print(size_t processing, size_t waiting) const {
  Counts now;
  {
    const std::lock_guard lock(mutex);
    now = counts;
  }
  std::ostringstream text;
  text.precision(9);
  auto put = [&](const char *name, const char *type, const char *help,
                 auto value) {
    text << "# HELP " << name << ' ' << help << "\n# TYPE " << name << ' '
         << type << '\n'
         << name << ' ' << value << '\n';
  };
  auto rate = [](uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  put("llamacpp:prompt_tokens_total", "counter",
      "Prompt tokens read, without those that were known.", now.promptTokens);
  put("llamacpp:prompt_seconds_total", "counter",
      "Seconds spent on reading prompts.", now.promptSeconds);
  put("llamacpp:tokens_predicted_total", "counter", "Tokens of answers.",
      now.answerTokens);
  put("llamacpp:tokens_predicted_seconds_total", "counter",
      "Seconds spent on answers.", now.answerSeconds);
  put("llamacpp:prompt_tokens_seconds", "gauge",
      "Prompt tokens a second, of one request on average.",
      rate(now.promptTokens, now.promptSeconds));
  put("llamacpp:predicted_tokens_seconds", "gauge",
      "Tokens of answers a second, of one request on average.",
      rate(now.answerTokens, now.answerSeconds));
  put("llamacpp:requests_processing", "gauge", "Answers that are worked on.",
      processing);
  put("llamacpp:requests_deferred", "gauge", "Answers that wait.", waiting);
  put("llamacpp:n_decode_total", "counter", "Steps of the engine.", now.steps);
  put("llamacpp:n_busy_slots_per_decode", "gauge",
      "Sequences in a step on average.",
      now.steps > 0
          ? static_cast<double>(now.busy) / static_cast<double>(now.steps)
          : 0.0);
  put("llamacpp:n_tokens_max", "counter",
      "The longest prompt and answer so far.", now.longest);
  put("llamacpp:spec_decode_num_draft_tokens_total", "counter",
      "Tokens that were guessed ahead.", now.drafted);
  put("llamacpp:spec_decode_num_accepted_tokens_total", "counter",
      "Guessed tokens that were right.", now.accepted);
  put("lapidary:prompt_tokens_cached_total", "counter",
      "Prompt tokens that were known.", now.cachedTokens);
  put("lapidary:answers_total", "counter", "Answers that were finished.",
      now.answers);
  put("lapidary:requests_refused_total", "counter",
      "Requests beyond the queue (429).", now.refused);
  put("lapidary:requests_failed_total", "counter",
      "Answers that ended with an error of the engine.", now.failed);
  put("lapidary:requests_cancelled_total", "counter",
      "Requests whose client went away.", now.cancelled);
  return text.str();
}

} // namespace lapidary::serve
