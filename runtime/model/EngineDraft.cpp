// The companion's steps: each has the next token of several sequences, and its
// hidden states go back and forth between two buffers.
#include "runtime/core/Text.h"
#include "runtime/model/Engine.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <numeric>

namespace lapidary {
namespace {

/// The index of the largest value, of equal ones the first. Several maxima at
/// once, so that the loop is one of vectors.
size_t findLargest(std::span<const float> values) {
  constexpr size_t lanes = 32;
  std::array<float, lanes> most;
  most.fill(values[0]);
  size_t whole = values.size() / lanes * lanes;
  for (size_t at = 0; at < whole; at += lanes)
    for (size_t lane = 0; lane < lanes; ++lane)
      most[lane] =
          values[at + lane] > most[lane] ? values[at + lane] : most[lane];
  float largest = *std::ranges::max_element(most);
  for (size_t at = whole; at < values.size(); ++at)
    largest = std::max(largest, values[at]);
  auto found = std::ranges::find(values, largest);
  // NaN is equal to nothing.
  return found == values.end() ? 0
                               : static_cast<size_t>(found - values.begin());
}

} // namespace

Status Engine::runDraft(int64_t rows, int64_t step, Wanted wanted) {
  const Entry &entry = step == 0       ? *draftEntry
                       : step % 2 == 1 ? *draftOddEntry
                                       : *draftEvenEntry;
  LAPIDARY_TRY(runner->run(
      entry.index, std::span(steps).first(static_cast<size_t>(rows)),
      entry.inputs, entry.outputs[size_t(wanted)], cancel));
  return wanted == Wanted::Both ? checkCandidates(rows) : Status();
}

/// The likeliest token of a row of the companion's logits; with clusters, of
/// those in the best of these.
int32_t Engine::draftedToken(int64_t row, Wanted wanted) {
  const schema::Model &model = *file->program().model();
  if (wanted == Wanted::Candidates) {
    // Any token will do for a guess, if it is one.
    const int32_t best = topTokenBuffer.as<int32_t>()[row * candidateCount];
    return best >= 0 && best < model.vocabulary() ? best : 0;
  }
  const schema::Assistant &assistant = *model.assistant();
  const auto vocabulary = static_cast<size_t>(model.vocabulary());
  std::span<const float> logits(logitsBuffer.as<float>() +
                                    static_cast<size_t>(row) * vocabulary,
                                vocabulary);
  const auto clusters = static_cast<size_t>(assistant.clusters());
  if (clusters == 0)
    return static_cast<int32_t>(findLargest(logits));
  const float *scores =
      clusterBuffer.as<float>() + static_cast<size_t>(row) * clusters;
  std::vector<uint32_t> order(clusters);
  std::iota(order.begin(), order.end(), 0);
  const auto top = order.begin() + assistant.top_clusters();
  // Total, also where a value is NaN.
  auto better = [&](uint32_t a, uint32_t b) {
    bool known = scores[a] == scores[a], otherKnown = scores[b] == scores[b];
    if (known && otherKnown && scores[a] != scores[b])
      return scores[a] > scores[b];
    return known != otherKnown ? known : a < b;
  };
  std::nth_element(order.begin(), top - 1, order.end(), better);
  const size_t each = vocabulary / clusters;
  int32_t best = -1;
  for (auto cluster = order.begin(); cluster != top; ++cluster)
    for (size_t index = 0; index < each; ++index) {
      int32_t token = assistant.token_order()->Get(
          static_cast<uint32_t>(*cluster * each + index));
      float logit = logits[static_cast<size_t>(token)];
      if (best < 0 || logit > logits[static_cast<size_t>(best)] ||
          (logit == logits[static_cast<size_t>(best)] && token < best))
        best = token;
    }
  return best;
}

/// `group` has as many as one step of the companion takes, those that want most
/// first: who has enough is at the end and drops out.
Status Engine::draftGroup(std::span<Draft *> group) {
  const schema::Model &model = *file->program().model();
  const auto width = static_cast<size_t>(model.hidden());
  steps.clear();
  for (size_t row = 0; row < group.size(); ++row) {
    const Draft &draft = *group[row];
    tokenBuffer.as<int32_t>()[row] = draft.token;
    std::memcpy(mediaBuffer.as<float>() + row * width, draft.hidden.data(),
                width * sizeof(float));
    steps.push_back({.tokens = 1,
                     .past = draft.sequence->position() - 1,
                     .caches = draft.sequence->caches.get()});
  }
  auto ends = [&](int32_t token) {
    return std::ranges::find(*model.stop_tokens(), token) !=
           model.stop_tokens()->end();
  };
  auto isDone = [&](const Draft &draft) {
    return static_cast<int64_t>(draft.tokens.size()) >= draft.count ||
           (!draft.tokens.empty() && ends(draft.tokens.back()));
  };
  const Wanted wanted =
      draftsHaveCandidates ? Wanted::Candidates : Wanted::Logits;
  for (int64_t step = 0;; ++step) {
    // Behind the last who wants more nobody does.
    size_t rows = group.size();
    while (rows > 0 && isDone(*group[rows - 1]))
      --rows;
    if (rows == 0)
      return {};
    LAPIDARY_TRY(runDraft(static_cast<int64_t>(rows), step, wanted));
    for (size_t row = 0; row < rows; ++row) {
      if (!isDone(*group[row]))
        group[row]->tokens.push_back(
            draftedToken(static_cast<int64_t>(row), wanted));
      tokenBuffer.as<int32_t>()[row] = group[row]->tokens.back();
    }
  }
}

Status Engine::draft(std::span<Draft> drafts) {
  const schema::Model &model = *file->program().model();
  if (!hasCompanion())
    return unsupported("the bundle has no companion that drafts; compile the "
                       "checkpoint with --assistant");
  LAPIDARY_TRY(ready());
  try {
    std::vector<Draft *> order;
    for (Draft &draft : drafts) {
      if (!draft.sequence || &draft.sequence->engine != this ||
          draft.sequence->position() < 1 || draft.token < 0 ||
          draft.token >= model.vocabulary() ||
          draft.hidden.size() != static_cast<size_t>(model.hidden()))
        return invalidArgument(
            "a draft needs a sequence of this engine with a position at least, "
            "a token of the vocabulary and the last position's hidden state");
      draft.tokens.clear();
      // The companion turns its query for the position behind the last.
      if (draft.count > 0 && draft.sequence->position() < model.context())
        order.push_back(&draft);
    }
    std::ranges::sort(order, [](const Draft *a, const Draft *b) {
      return a->count > b->count;
    });
    const auto most = static_cast<size_t>(
        std::min({draftEntry->maxTokens, draftOddEntry->maxTokens, plan.chunk,
                  plan.logitRows}));
    for (size_t begin = 0; begin < order.size(); begin += most)
      LAPIDARY_TRY(draftGroup(std::span(order).subspan(
          begin, std::min(most, order.size() - begin))));
  } catch (const std::bad_alloc &) {
    return outOfMemory("no memory for drafts");
  }
  return {};
}

Result<std::span<const float>>
Engine::draftLogits(const Sequence &sequence, std::span<const float> hidden,
                    std::span<const int32_t> tokens) {
  const schema::Model &model = *file->program().model();
  const auto width = static_cast<size_t>(model.hidden());
  if (!hasCompanion() || &sequence.engine != this || sequence.position() < 1 ||
      sequence.position() >= model.context() || hidden.size() != width ||
      tokens.empty())
    return invalidArgument("logits of a companion need one, a sequence with a "
                           "position at least and room, and tokens");
  LAPIDARY_TRY(ready());
  std::memcpy(mediaBuffer.data(), hidden.data(), width * sizeof(float));
  steps.assign(1, {.tokens = 1,
                   .past = sequence.position() - 1,
                   .caches = sequence.caches.get()});
  for (size_t index = 0; index < tokens.size(); ++index) {
    if (tokens[index] < 0 || tokens[index] >= model.vocabulary())
      return invalidArgument("a draft's token is beyond the vocabulary");
    tokenBuffer.as<int32_t>()[0] = tokens[index];
    LAPIDARY_TRY(runDraft(1, static_cast<int64_t>(index),
                          checking && draftsHaveCandidates ? Wanted::Both
                                                           : Wanted::Logits));
  }
  return std::span<const float>(logitsBuffer.as<float>(),
                                static_cast<size_t>(model.vocabulary()));
}

} // namespace lapidary
