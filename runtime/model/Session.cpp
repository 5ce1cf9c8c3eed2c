// Steps of a single sequence.
#include "runtime/model/Session.h"

#include "runtime/core/Text.h"
#include "runtime/model/Speculation.h"

#include <algorithm>
#include <new>

namespace lapidary {

Result<std::unique_ptr<Session>>
Session::create(std::shared_ptr<const Bundle> bundle,
                const SessionOptions &options) {
  std::unique_ptr<Session> session(new (std::nothrow) Session());
  if (!session)
    return outOfMemory("no memory for a session");
  session->runner = LAPIDARY_TRY(Engine::create(std::move(bundle), options));
  session->state = LAPIDARY_TRY(session->runner->createSequence());
  return session;
}

Status Session::step(Work work) {
  last = {};
  LAPIDARY_TRY(runner->step({&work, 1}));
  last.tokens = work.tokens;
  last.logits = work.logits;
  last.hidden = work.hidden;
  return {};
}

Status Session::step(Work &work, Speculation &speculation) {
  last = {};
  LAPIDARY_TRY(speculation.step({&work, 1}));
  // Of several rows it is not known yet which one will be the last.
  if (work.logitRows == 1)
    last.logits = work.logits;
  return {};
}

Status Session::prefill(const Prompt &prompt, const LogitsCallback &onLogits,
                        int64_t firstRow) {
  PromptFeed feed = LAPIDARY_TRY(PromptFeed::create(*runner, *state, prompt));
  const auto width = static_cast<size_t>(bundle().program().model()->hidden());
  while (!feed.done()) {
    const int64_t begin = feed.position();
    Work work = feed.next(memoryPlan().chunk);
    LAPIDARY_TRY(step(work));
    feed.advance(work);
    const int64_t first = std::clamp(firstRow, begin, feed.position());
    if (onLogits && first < feed.position()) {
      // Not the prompt's before all of it went well.
      const std::span<const float> logits =
          std::exchange(last.logits, std::span<const float>());
      LAPIDARY_TRY(runner->computeLogits(
          last.hidden.subspan(static_cast<size_t>(first - begin) * width),
          [&](int64_t row, std::span<const float> values) {
            return onLogits(first + row, values);
          }));
      last.logits = logits;
    }
  }
  return {};
}

Status Session::decode(int32_t token) {
  Work work;
  work.sequence = state.get();
  work.tokens = {&token, 1};
  work.generated = true;
  return step(work);
}

void Session::reset() {
  last = {};
  state->reset();
}

} // namespace lapidary
