// A block of vision tokens sees itself both ways, so it must be in one step.
#include "runtime/model/PromptFeed.h"

#include "runtime/core/Text.h"
#include "runtime/model/EntryPoints.h"

#include <algorithm>

namespace lapidary {

Result<PromptFeed> PromptFeed::create(const Engine &engine, Sequence &sequence,
                                      Prompt prompt) {
  PromptFeed feed;
  feed.engine = &engine;
  feed.sequence = &sequence;
  feed.prompt = std::move(prompt);
  LAPIDARY_TRY(feed.check());
  auto hidden =
      static_cast<size_t>(engine.bundle().program().model()->hidden());
  bool hasKeys = !feed.prompt.keys.empty();
  for (std::span<const float> item : feed.prompt.media)
    for (; !item.empty(); item = item.subspan(hidden)) {
      feed.rows.push_back(item.data());
      if (!hasKeys)
        feed.prompt.keys.push_back(hashEmbedding(item.first(hidden)));
    }
  return feed;
}

Status PromptFeed::check() const {
  const schema::Model &model = *engine->bundle().program().model();
  const MemoryPlan &plan = engine->memoryPlan();
  const SequenceHistory &history = sequence->history();
  int64_t left = plan.context - history.size();
  if (prompt.tokens.empty())
    return invalidArgument("the prompt is empty");
  if (prompt.tokens.size() > static_cast<uint64_t>(left))
    return invalidArgument(concat("the prompt has ", prompt.tokens.size(),
                                  " tokens, but of the context's ",
                                  plan.context, " positions ", left,
                                  " are left"));
  uint64_t soft = 0;
  for (size_t index = 0; index < prompt.tokens.size(); ++index) {
    int32_t token = prompt.tokens[index];
    if (token < 0 || token >= model.vocabulary())
      return invalidArgument(concat("token ", index, " of the prompt is ",
                                    token, ", but the vocabulary has 0 to ",
                                    model.vocabulary() - 1));
    soft += engine->isSoft(token);
  }
  uint64_t rows = 0, hidden = model.hidden();
  for (size_t item = 0; item < prompt.media.size(); ++item) {
    if (prompt.media[item].empty() || prompt.media[item].size() % hidden != 0)
      return invalidArgument(
          concat("media item ", item, " has ", prompt.media[item].size(),
                 " embedding values, expected a multiple of ", hidden));
    rows += prompt.media[item].size() / hidden;
  }
  if (soft != rows)
    return invalidArgument(concat("the prompt has ", soft,
                                  " soft tokens, but its media have ", rows,
                                  " embeddings"));
  if (!prompt.keys.empty() && prompt.keys.size() != rows)
    return invalidArgument(concat("the prompt has ", rows, " embeddings, but ",
                                  prompt.keys.size(), " keys of them"));
  if (history.size() > 0 && engine->isBlock(history.tokens().back()) &&
      history.isSoft(history.size() - 1) && engine->isBlock(prompt.tokens[0]))
    return invalidArgument(
        "the prompt begins with image tokens right after image tokens of the "
        "step before; a block "
        "that sees itself both ways must come in one prompt");
  if (int64_t longest = soft > 0 && model.bidirectional_vision()
                            ? longestVisionBlock(model, prompt.tokens)
                            : 0;
      longest > plan.chunk)
    return invalidArgument(
        concat("an image of the prompt has ", longest,
               " soft tokens in a row, but the session's chunk is ", plan.chunk,
               " tokens; create it with a chunk of ", roundUp(longest, 16),
               " or more"));
  return {};
}

Work PromptFeed::next(int64_t most) const {
  std::span<const int32_t> tokens = prompt.tokens;
  size_t end = std::min(
      tokens.size(), begin + static_cast<size_t>(std::max<int64_t>(most, 0)));
  // A block that would be cut waits for the next step whole.
  if (end < tokens.size() && engine->isBlock(tokens[end]))
    while (end > begin && engine->isBlock(tokens[end - 1]))
      --end;
  Work work;
  work.sequence = sequence;
  work.tokens = tokens.subspan(begin, end - begin);
  auto soft = static_cast<size_t>(std::ranges::count_if(
      work.tokens, [&](int32_t token) { return engine->isSoft(token); }));
  work.media = std::span(rows).subspan(rowBegin, soft);
  work.keys = std::span(prompt.keys).subspan(rowBegin, soft);
  work.logitRows = end == tokens.size() ? 1 : 0;
  return work;
}

void PromptFeed::advance(const Work &work) {
  begin += work.tokens.size();
  rowBegin += work.media.size();
}

} // namespace lapidary
