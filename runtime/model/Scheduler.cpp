// Every answer gets its token in every step; prompts share what room is left.
#include "runtime/model/Scheduler.h"

#include <algorithm>

namespace lapidary {

Result<std::unique_ptr<Scheduler>>
Scheduler::create(Engine &engine, const Tokenizer &tokenizer) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(engine, tokenizer));
  scheduler->slots.resize(static_cast<size_t>(engine.memoryPlan().sequences));
  for (Slot &slot : scheduler->slots)
    slot.sequence = LAPIDARY_TRY(engine.createSequence());
  return scheduler;
}

size_t Scheduler::active() const {
  return static_cast<size_t>(std::ranges::count_if(
      slots, [](const Slot &slot) { return slot.request != nullptr; }));
}

/// A free one that has most of the input already; of those that have nothing,
/// the one with the least to lose.
Scheduler::Slot &Scheduler::chooseSlot(const GenerateInput &input) {
  Result<SequenceHistory> history = describeInput(engine, input);
  Slot *best = nullptr;
  int64_t most = 0;
  for (Slot &slot : slots) {
    if (slot.request)
      continue;
    int64_t kept = history.ok() && history->size() > 0
                       ? slot.sequence->reusable(*history)
                       : 0;
    if (!best || kept > most ||
        (kept == most &&
         slot.sequence->position() < best->sequence->position())) {
      best = &slot;
      most = kept;
    }
  }
  return *best;
}

Status Scheduler::prepare(Slot &slot) {
  const GenerateOptions &options = slot.request->options;
  slot.answer = LAPIDARY_TRY(
      Answer::create(*engine.bundle().program().model(), tokenizer, options));
  slot.lane = {.sequence = slot.sequence.get(),
               .answer = slot.answer.get(),
               .draft = options.draft,
               .maxTokens = options.maxTokens};
  GenerateInput &input = slot.request->input;
  GenerateResult &result = slot.answer->result();
  result.promptIds.assign(input.tokens.begin(), input.tokens.end());
  input.whole = true;
  if (input.tokens.empty())
    return invalidArgument("the prompt is empty");
  slot.prompt = LAPIDARY_TRY(embedPrompt(engine, *slot.sequence, input));
  result.reusedTokens = slot.prompt.reusedTokens;
  result.embedSeconds = slot.prompt.embedSeconds;
  slot.started = clock.seconds();
  slot.feed = LAPIDARY_TRY(
      PromptFeed::create(engine, *slot.sequence, slot.prompt.prompt));
  return {};
}

void Scheduler::begin(std::unique_ptr<Request> request) {
  Slot &slot = chooseSlot(request->input);
  slot.request = std::move(request);
  slot.number = ++begun;
  if (Status status = prepare(slot); !status.ok())
    fail(slot, status);
}

bool Scheduler::addWork(Slot &slot, int64_t &room) {
  Work work;
  if (!slot.feed->done()) {
    work = slot.feed->next(room);
    work.reach = slot.answer->reach();
  } else if (room > 0) {
    slot.lane.tokens.resize(
        std::min(slot.lane.tokens.size(), static_cast<size_t>(room)));
    work = slot.lane.work();
  }
  if (work.tokens.empty())
    return false;
  room -= static_cast<int64_t>(work.tokens.size());
  works.push_back(work);
  workers.push_back(&slot);
  return true;
}

/// Where all have had their answers' tokens, drafts share half of the room:
/// prompts need some too.
Status Scheduler::proposeDrafts() {
  std::vector<Lane *> lanes;
  bool reading = false;
  for (Slot &slot : slots) {
    if (!slot.request)
      continue;
    if (slot.feed->done())
      lanes.push_back(&slot.lane);
    else
      reading = true;
  }
  if (lanes.empty())
    return {};
  int64_t room = engine.memoryPlan().chunk - static_cast<int64_t>(lanes.size());
  // A vision block that needs a whole step goes first now and then; answers
  // must not fill what is left then.
  return engine.speculation().propose(lanes, reading ? room / 2 : room,
                                      /*alone=*/!reading);
}

Status Scheduler::collectWork() {
  LAPIDARY_TRY(proposeDrafts());
  works.clear();
  workers.clear();
  int64_t room = engine.memoryPlan().chunk;
  bool starved = false;
  // In the order they came: a long prompt is not to wait for all that follow.
  std::vector<Slot *> order;
  for (Slot &slot : slots)
    if (slot.request)
      order.push_back(&slot);
  std::ranges::sort(order, {}, &Slot::number);
  for (bool prompts : {promptsFirst, !promptsFirst})
    for (Slot *slot : order) {
      if (prompts == slot->feed->done())
        continue;
      bool added = addWork(*slot, room);
      starved |= prompts && !added;
    }
  // Not twice in a row: answers go on too.
  promptsFirst = starved && !promptsFirst;
  return {};
}

void Scheduler::takeResult(Slot &slot, const Work &work) {
  if (!work.generated)
    slot.feed->advance(work);
  if (!slot.feed->done())
    return;
  if (!work.generated) {
    slot.sequence->mark();
    slot.answer->result().prefillSeconds = clock.seconds() - slot.started;
    slot.started = clock.seconds();
  }
  Speculation &speculation = engine.speculation();
  Result<bool> goesOn = work.generated ? speculation.accept(slot.lane, work)
                                       : speculation.begin(slot.lane, work);
  if (!goesOn.ok())
    return fail(slot, goesOn.status());
  if (!*goesOn)
    finish(slot, "");
}

void Scheduler::finish(Slot &slot, const char *reason) {
  GenerateResult &result = slot.answer->result();
  if (slot.feed && slot.feed->done())
    result.decodeSeconds = clock.seconds() - slot.started;
  slot.answer->finish(reason);
  std::unique_ptr<Request> request = std::move(slot.request);
  std::unique_ptr<Answer> answer = std::move(slot.answer);
  slot.feed.reset();
  slot.prompt = {};
  request->onDone(std::move(answer->result()));
}

void Scheduler::fail(Slot &slot, const Status &status) {
  if (status.getCode() == StatusCode::Cancelled && slot.answer)
    return finish(slot, "cancelled");
  // What made the error may be in the caches, once something went there.
  if (slot.feed)
    slot.sequence->reset();
  std::unique_ptr<Request> request = std::move(slot.request);
  slot.answer.reset();
  slot.feed.reset();
  slot.prompt = {};
  request->onDone(status);
}

Status Scheduler::step() {
  for (Slot &slot : slots)
    if (const std::atomic<bool> *cancel =
            slot.request ? slot.request->options.cancel : nullptr;
        cancel && *cancel)
      finish(slot, "cancelled");
  while (!waiting.empty() && active() < slots.size()) {
    std::unique_ptr<Request> request = std::move(waiting.front());
    waiting.pop_front();
    begin(std::move(request));
  }
  LAPIDARY_TRY(collectWork());
  if (works.empty())
    return {};
  LAPIDARY_TRY(engine.speculation().step(works));
  for (size_t index = 0; index < works.size(); ++index)
    takeResult(*workers[index], works[index]);
  return {};
}

void Scheduler::cancelAll() {
  for (Slot &slot : slots)
    if (slot.request)
      finish(slot, "cancelled");
  while (!waiting.empty()) {
    std::unique_ptr<Request> request = std::move(waiting.front());
    waiting.pop_front();
    GenerateResult result;
    result.finishReason = "cancelled";
    request->onDone(std::move(result));
  }
}

} // namespace lapidary
