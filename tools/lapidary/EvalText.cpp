// The reference runs once for all bundles: what is kept of it are the hidden
// states before its last matrix, a few thousand numbers a token, where logits
// would be the vocabulary's hundreds of thousands. Logits of both sides are
// made a few rows at a time.
#include "tools/lapidary/EvalText.h"

#include "runtime/core/Text.h"
#include "runtime/core/Workers.h"
#include "runtime/model/Session.h"
#include "runtime/model/Unicode.h"
#include "tools/lapidary/EvalStatistics.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cmath>

namespace lapidary::cli {

namespace {

/// Rows of logits in memory at once: enough for the threads, and 32 MiB for a
/// vocabulary of 262,144. Fewer where the vocabulary is larger.
constexpr size_t batchRows = 32;
constexpr size_t batchValues = batchRows << 18;
/// Hidden states that are kept of the reference at once. More windows than fit
/// are done in groups.
constexpr uint64_t keptBytes = uint64_t(256) << 20;

/// What a bundle's rows gave so far.
struct Scores {
  std::vector<double> nll, divergence;
  uint64_t sameTop = 0;
  int64_t prefilled = 0;
  double prefillSeconds = 0;
};

size_t hiddenWidth(const Session &session) {
  return static_cast<size_t>(session.bundle().program().model()->hidden());
}

Result<std::unique_ptr<Session>>
openSession(const EvalModel &model, const EvalRun &run, int64_t context) {
  SessionOptions options;
  options.threads = run.threads;
  run.device.apply(options);
  options.context = context;
  auto session = LAPIDARY_TRY(Session::create(model.bundle, options));
  session->setCancelFlag(run.cancel);
  return session;
}

/// Runs one window from an empty state and gives the hidden states of the rows
/// that predict scored tokens to `use(states)`, a step's at a time, in order.
template <typename Use>
Status runWindow(Session &session, const TextWindows &windows, int64_t index,
                 Scores &scores, Use use) {
  const std::vector<int32_t> tokens = windows.window(index);
  const std::span<const int32_t> all = tokens;
  const size_t hidden = hiddenWidth(session);
  // Row r predicts token r + 1.
  const size_t first = tokens.size() / 2 - 1, end = tokens.size() - 1;
  const auto chunk = static_cast<size_t>(session.memoryPlan().chunk);
  session.reset();
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t count = std::min(chunk, tokens.size() - begin);
    const double start = now();
    LAPIDARY_TRY(session.prefill({all.subspan(begin, count), {}}));
    scores.prefillSeconds += now() - start;
    scores.prefilled += static_cast<int64_t>(count);
    const size_t from = std::max(first, begin);
    const size_t to = std::min(end, begin + count);
    if (from < to)
      LAPIDARY_TRY(use(session.hiddenStates().subspan((from - begin) * hidden,
                                                      (to - from) * hidden)));
  }
  return {};
}

/// Scores rows as they come, with buffers for a batch of them.
class Scorer {
public:
  Scorer(Session &session, Session *reference, Scores &scores, Workers &workers)
      : session(session), reference(reference), scores(scores),
        hidden(hiddenWidth(session)),
        keptHidden(reference ? hiddenWidth(*reference) : 0),
        vocabulary(static_cast<size_t>(
            session.bundle().program().model()->vocabulary())),
        batch(std::clamp(batchValues / vocabulary, size_t(1), batchRows)),
        workers(workers) {}

  /// `states` are the first rows of those that predict `targets`; `kept` has
  /// the reference's states of them. What is done is taken off both.
  Status score(std::span<const float> states, std::span<const float> &kept,
               std::span<const int32_t> &targets) {
    logits.resize(batch * vocabulary);
    referenceLogits.resize(reference ? batch * vocabulary : 0);
    while (!states.empty()) {
      const size_t count = std::min(batch, states.size() / hidden);
      LAPIDARY_TRY(
          session.computeLogits(states.first(count * hidden),
                                std::span(logits).first(count * vocabulary)));
      if (reference)
        LAPIDARY_TRY(reference->computeLogits(
            kept.first(count * keptHidden),
            std::span(referenceLogits).first(count * vocabulary)));
      LAPIDARY_TRY(scoreBatch(targets.first(count)));
      states = states.subspan(count * hidden);
      kept = kept.subspan(count * keptHidden);
      targets = targets.subspan(count);
    }
    return {};
  }

private:
  Status scoreBatch(std::span<const int32_t> targets) {
    RowScore found[batchRows];
    const auto scoreRows = [&](int32_t, int64_t begin, int64_t end) {
      for (auto row = static_cast<size_t>(begin);
           row < static_cast<size_t>(end); ++row) {
        const auto here = std::span<const float>(logits).subspan(
            row * vocabulary, vocabulary);
        found[row] = reference
                         ? scoreRow(here, targets[row],
                                    std::span<const float>(referenceLogits)
                                        .subspan(row * vocabulary, vocabulary))
                         : scoreRow(here, targets[row]);
      }
    };
    workers.run(static_cast<int64_t>(targets.size()), 1, scoreRows);
    for (size_t row = 0; row < targets.size(); ++row) {
      if (!std::isfinite(found[row].nll) ||
          !std::isfinite(found[row].divergence))
        return invalidData(
            concat("'", session.bundle().path(), "'",
                   reference ? " or its reference" : "",
                   " gives logits that are not finite for scored token ",
                   scores.nll.size(), ": the weights are damaged beyond use"));
      scores.nll.push_back(found[row].nll);
      if (!reference)
        continue;
      scores.divergence.push_back(found[row].divergence);
      scores.sameTop += found[row].sameTop;
    }
    return {};
  }

  Session &session;
  Session *reference;
  Scores &scores;
  size_t hidden, keptHidden, vocabulary, batch;
  std::vector<float> logits, referenceLogits;
  Workers &workers;
};

/// Windows [begin, end) of one bundle; `kept` has the reference's states of
/// them.
template <typename Step>
Status scoreWindows(Session &session, Session *reference,
                    const TextWindows &windows, int64_t begin, int64_t end,
                    std::span<const float> kept, Scores &scores, Step step) {
  const std::unique_ptr<Workers> workers =
      LAPIDARY_TRY(Workers::create(session.memoryPlan().threads));
  Scorer scorer(session, reference, scores, *workers);
  for (int64_t index = begin; index < end; ++index) {
    const std::vector<int32_t> tokens = windows.window(index);
    auto targets = std::span<const int32_t>(tokens).last(
        static_cast<size_t>(windows.scored()));
    LAPIDARY_TRY(runWindow(session, windows, index, scores,
                           [&](std::span<const float> states) {
                             return scorer.score(states, kept, targets);
                           }));
    step();
  }
  return {};
}

void summarize(Scores &scores, bool compared, EvalResult &result) {
  const Perplexity perplexity = perplexityOf(scores.nll);
  result.perplexity = perplexity.value;
  if (std::isfinite(perplexity.error))
    result.perplexityError = perplexity.error;
  result.scoredTokens = scores.nll.size();
  if (scores.prefillSeconds > 0)
    result.prefillRate =
        static_cast<double>(scores.prefilled) / scores.prefillSeconds;
  if (!compared)
    return;
  result.klMean = meanOf(scores.divergence);
  result.top1 = static_cast<double>(scores.sameTop) /
                static_cast<double>(scores.nll.size());
  result.klP999 = percentileOf(std::move(scores.divergence), 0.999);
}

} // namespace

std::vector<int32_t> TextWindows::window(int64_t index) const {
  const int64_t text = size - 1;
  std::vector<int32_t> ids{bos};
  ids.insert(ids.end(), tokens.begin() + index * text,
             tokens.begin() + (index + 1) * text);
  return ids;
}

Result<TextWindows> cutWindows(const EvalModel &model, std::string_view text,
                               int64_t size, const std::string &name) {
  const schema::Model &about = model.model();
  if (about.bos_token() < 0)
    return unsupported("model '" + about.name()->str() +
                       "' has no <bos>, with which a window begins");
  if (size > about.context())
    return invalidArgument(concat("a window of ", size,
                                  " tokens was asked for (--context), but ",
                                  "model '", about.name()->string_view(),
                                  "' takes at most ", about.context()));
  TextWindows windows;
  windows.bos = about.bos_token();
  windows.tokens = model.tokenizer.encode(stripWhiteSpace(text));
  for (const int32_t token : windows.tokens)
    if (token == about.image_token() || token == about.video_token() ||
        token == about.audio_token())
      return invalidData("'" + name + "' has " +
                         std::string(model.tokenizer.piece(token)) +
                         ", which stands for a medium; expected a plain text");
  const auto count = static_cast<int64_t>(windows.tokens.size());
  if (count < 2)
    return invalidData(concat("'", name, "': expected a text of 2 tokens or ",
                              "more, and better of thousands, found ", count));
  windows.size = std::min(size, count + 1);
  windows.count = count / (windows.size - 1);
  return windows;
}

Status checkSameVocabulary(const EvalModel &model, const EvalModel &reference) {
  const int32_t size = model.model().vocabulary(),
                other = reference.model().vocabulary();
  const std::string pair = concat("'", model.bundle->path(), "' and '",
                                  reference.bundle->path(), "' (--against)");
  if (size != other)
    return invalidArgument(
        concat(pair, " have vocabularies of ", size, " and ", other,
               " tokens; their predictions can be compared only token by "
               "token"));
  for (int32_t id = 0; id < size; ++id) {
    const bool here = id < model.tokenizer.vocabularySize(),
               there = id < reference.tokenizer.vocabularySize();
    if (here == there &&
        (!here || model.tokenizer.piece(id) == reference.tokenizer.piece(id)))
      continue;
    return invalidArgument(concat(
        pair, " have different tokens with the id ", id, ": \"",
        here ? model.tokenizer.piece(id) : std::string_view(), "\" and \"",
        there ? reference.tokenizer.piece(id) : std::string_view(),
        "\"; their predictions can be compared only token by token"));
  }
  return {};
}

Status evaluateText(std::span<const EvalModel> models,
                    std::span<const TextWindows> windows,
                    const EvalModel *reference, const EvalRun &run,
                    std::span<EvalResult> results) {
  const TextWindows &first = windows[0];
  int64_t most = 0;
  uint64_t total = 0, done = 0;
  for (const TextWindows &each : windows) {
    most = std::max(most, each.count);
    total += static_cast<uint64_t>(each.count);
  }
  int64_t group = most;
  if (reference) {
    total += static_cast<uint64_t>(first.count);
    const uint64_t bytes = static_cast<uint64_t>(first.scored()) *
                           static_cast<uint64_t>(reference->model().hidden()) *
                           sizeof(float);
    group =
        std::clamp(static_cast<int64_t>(keptBytes / bytes), int64_t(1), most);
  }

  Progress progress("Reading the text");
  const auto step = [&] { progress.update(++done, total); };
  std::vector<Scores> scores(models.size());
  for (int64_t begin = 0; begin < most; begin += group) {
    std::unique_ptr<Session> referenceSession;
    std::vector<float> kept;
    if (reference) {
      referenceSession = LAPIDARY_TRY(openSession(*reference, run, first.size));
      Scores unused;
      for (int64_t index = begin; index < std::min(begin + group, first.count);
           ++index) {
        LAPIDARY_TRY(runWindow(*referenceSession, first, index, unused,
                               [&](std::span<const float> states) -> Status {
                                 kept.insert(kept.end(), states.begin(),
                                             states.end());
                                 return {};
                               }));
        step();
      }
    }
    for (size_t i = 0; i < models.size(); ++i) {
      const auto session =
          LAPIDARY_TRY(openSession(models[i], run, windows[i].size));
      LAPIDARY_TRY(scoreWindows(
          *session, referenceSession.get(), windows[i], begin,
          std::min(begin + group, windows[i].count), kept, scores[i], step));
    }
  }
  for (size_t i = 0; i < models.size(); ++i)
    summarize(scores[i], reference != nullptr, results[i]);
  return {};
}

} // namespace lapidary::cli
