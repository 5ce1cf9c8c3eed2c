// Nothing is sampled from text, so that the work does not depend on what the
// model says; and where a state of many tokens is wanted, it is not computed.
#include "tools/lapidary/BenchRun.h"

#include "runtime/core/Text.h"
#include "runtime/core/Workers.h"
#include "runtime/model/Speculation.h"
#include "tools/lapidary/RunOptions.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <set>

namespace lapidary::cli {

namespace {

/// Enough to be far from any cache.
constexpr uint64_t mostBandwidthBytes = uint64_t(512) << 20,
                   leastBandwidthBytes = uint64_t(64) << 20;
/// Decoded tokens and batches that a profile has; a second of the 12B.
constexpr int64_t profiledSteps = 16;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

/// Bytes of weights that one decode step reads. Of a table that only an
/// embedding lookup uses it reads a single row, which is left out.
uint64_t decodeWeightBytes(const schema::Program &program,
                           const schema::Target &target) {
  std::set<uint32_t> segments;
  for (const auto *entry : *target.entries()) {
    if (std::strcmp(entry->name()->c_str(), "decode") != 0)
      continue;
    for (const auto *dispatch : *entry->dispatches()) {
      const auto *kernel = target.kernels()->Get(dispatch->kernel());
      if (std::strncmp(kernel->symbol()->c_str(), "embed", 5) == 0)
        continue;
      for (const auto *operand : *dispatch->operands()) {
        if (operand->kind() == schema::BufferKind::Weight)
          segments.insert(program.weights()->Get(operand->index())->segment());
      }
    }
  }
  uint64_t bytes = 0;
  for (uint32_t segment : segments)
    bytes += program.segments()->Get(segment)->size();
  return bytes;
}

/// A prompt of plain tokens: soft tokens of media would need media, and other
/// special ones are rare in text.
std::vector<int32_t> makePrompt(const schema::Model &model, int64_t count) {
  std::set<int32_t> avoid{model.image_token(), model.video_token(),
                          model.audio_token(), model.pad_token()};
  for (int32_t token : *model.suppress_tokens())
    avoid.insert(token);
  for (int32_t token : *model.stop_tokens())
    avoid.insert(token);
  std::vector<int32_t> tokens{model.bos_token()};
  if (static_cast<size_t>(model.vocabulary()) <= avoid.size())
    tokens.resize(static_cast<size_t>(count), model.bos_token());
  // A linear congruential sequence (Numerical Recipes) spreads over the
  // vocabulary, so that embedding rows are read as a text reads them.
  uint32_t state = 1;
  while (static_cast<int64_t>(tokens.size()) < count) {
    state = state * 1664525u + 1013904223u;
    const auto token = static_cast<int32_t>(
        (uint64_t(state) * static_cast<uint64_t>(model.vocabulary())) >> 32);
    if (!avoid.contains(token))
      tokens.push_back(token);
  }
  return tokens;
}

/// Reads memory that is in no cache, a slice at a time. Other programs share
/// the memory, and what they take changes within seconds: a step is compared
/// with what was read right after it.
class BandwidthProbe {
public:
  /// Null where the machine has no room for it.
  static Result<std::unique_ptr<BandwidthProbe>> create(int32_t threads) {
    const uint64_t bytes = std::min(mostBandwidthBytes, availableMemory() / 4) /
                           leastBandwidthBytes * leastBandwidthBytes;
    if (bytes == 0)
      return std::unique_ptr<BandwidthProbe>();
    auto probe = std::make_unique<BandwidthProbe>();
    probe->memory =
        LAPIDARY_TRY(ReservedMemory::reserve(bytes, "measuring bandwidth"));
    probe->workers = LAPIDARY_TRY(Workers::create(threads));
    probe->words = static_cast<int64_t>(bytes / 8);
    uint64_t *const first = probe->memory.as<uint64_t>();
    probe->workers->run(probe->words, part,
                        [&](int32_t, int64_t begin, int64_t end) {
                          std::fill(first + begin, first + end, begin);
                        });
    return probe;
  }

  uint64_t size() const { return static_cast<uint64_t>(words) * 8; }

  void readSlice() {
    const uint64_t *const from = memory.as<uint64_t>() + next;
    const double start = now();
    workers->run(sliceWords, part, [&](int32_t, int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t index = begin; index < end; ++index)
        sum += from[index];
      total += sum;
    });
    seconds += now() - start;
    bytes += leastBandwidthBytes;
    next = (next + sliceWords) % words;
  }

  /// Of all slices; whoever looks at their sum could not leave the reads out.
  double bytesPerSecond() const {
    return seconds > 0 && total != 1 ? static_cast<double>(bytes) / seconds : 0;
  }

private:
  static constexpr int64_t sliceWords = leastBandwidthBytes / 8;
  /// A mebibyte, so that a thread's part is long.
  static constexpr int64_t part = 1 << 17;
  ReservedMemory memory;
  std::unique_ptr<Workers> workers;
  int64_t words = 0, next = 0;
  std::atomic<uint64_t> total = 0;
  uint64_t bytes = 0;
  double seconds = 0;
};

class Measurement {
public:
  Measurement(const BenchOptions &options, BenchResult &result)
      : options(options), result(result) {}
  Status run();

private:
  Status load();
  Status measure();
  Status repeatOnce();
  Status profile();
  Status runPrefill();
  /// Adds what the steps take to `seconds`, if that is given.
  Status runDecode(int64_t steps, double *seconds);
  Status runDrafting();
  Status runBatch();
  Status runBatches(int64_t count, std::vector<double> *times);
  Status toDepth();

  const BenchOptions &options;
  BenchResult &result;
  std::vector<int32_t> prompt, batch;
  std::optional<Sampler> sampler;
  std::vector<double> prefills, decodes, draftings, firsts, batches;
  std::optional<Tokenizer> tokenizer;
  std::unique_ptr<BandwidthProbe> probe;
  int32_t draft = 0;
  int32_t token = 0;
};

Status Measurement::load() {
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  options.device.apply(sessionOptions);
  const int64_t before = std::max<int64_t>(options.depth, 0);
  sessionOptions.context =
      before +
      std::max(options.prompt + (options.depth < 0 ? options.generate : 0),
               std::max(options.generate, options.batch));
  if (!options.draft.empty()) {
    const auto known = LAPIDARY_TRY(Bundle::open(options.bundle));
    const schema::Model &model = *known->program().model();
    draft = chooseDraft(options.draft, model);
    sessionOptions.drafts = draftRoom(options.draft, model);
    // What is drafted last may be more than was wanted.
    sessionOptions.context += sessionOptions.drafts;
  }
  // Loading is what comes before the first step: map, check, bind. The last
  // load is the one that is used.
  std::vector<double> loads;
  const uint64_t processBytes = currentMemory();
  for (int32_t i = 0; i < options.repeat; ++i) {
    result.session.reset();
    result.file.reset();
    const double start = now();
    result.file = LAPIDARY_TRY(Bundle::open(options.bundle));
    if (options.lock)
      LAPIDARY_TRY(result.file->lock());
    result.session = LAPIDARY_TRY(Session::create(result.file, sessionOptions));
    loads.push_back(now() - start);
  }
  result.load = median(loads);
  // It looks into the bundle's memory, so it is of the bundle that stays.
  if (!options.draft.empty())
    tokenizer = LAPIDARY_TRY(Tokenizer::create(
        result.file->segment(result.file->program().tokenizer())));
  const MemoryPlan &plan = result.session->memoryPlan();
  result.planned = processBytes + plan.total - plan.media;
  const double start = now();
  LAPIDARY_TRY(verifyWeights(*result.file));
  result.verify = now() - start;
  return {};
}

/// Where `--depth` wants a step to be; without it, where it is.
Status Measurement::toDepth() {
  return options.depth < 0 ? Status()
                           : result.session->assumeTokens(options.depth);
}

Status Measurement::runPrefill() {
  if (options.depth < 0)
    result.session->reset();
  LAPIDARY_TRY(toDepth());
  return result.session->prefill({prompt, {}});
}

/// As a greedy answer has it.
Status Measurement::runDecode(int64_t steps, double *seconds) {
  Session &session = *result.session;
  for (int64_t step = 0; step < steps; ++step) {
    const double start = now();
    Work work;
    work.sequence = &session.sequence();
    work.tokens = {&token, 1};
    work.generated = true;
    work.reach = sampler->reach();
    LAPIDARY_TRY(session.engine().step({&work, 1}));
    token = LAPIDARY_TRY(sampler->sample(work.scores(0)));
    if (!seconds)
      continue;
    *seconds += now() - start;
    // Not where it would take a small model's weights out of the cache.
    if (probe && result.weightBytes > mostBandwidthBytes)
      probe->readSlice();
  }
  return {};
}

/// The same as runDecode with drafts, from the same state, greedily. An answer
/// that ends is gone on with behind its end.
Status Measurement::runDrafting() {
  Session &session = *result.session;
  Speculation &speculation = session.engine().speculation();
  GenerateOptions with;
  with.draft = draft;
  const schema::Model &model = *result.file->program().model();
  std::unique_ptr<Answer> answer =
      LAPIDARY_TRY(Answer::create(model, *tokenizer, with));
  Lane lane{
      .sequence = &session.sequence(), .answer = answer.get(), .draft = draft};
  Lane *const lanes[] = {&lane};
  bool goesOn = LAPIDARY_TRY(speculation.begin(lane, session.lastWork()));
  const double start = now();
  int64_t tokens = 0;
  while (tokens < options.generate) {
    const auto before = static_cast<int64_t>(answer->result().ids.size());
    if (!goesOn) {
      answer = LAPIDARY_TRY(Answer::create(model, *tokenizer, with));
      lane.answer = answer.get();
    }
    LAPIDARY_TRY(speculation.propose(lanes, session.memoryPlan().drafts,
                                     /*alone=*/true));
    Work work = lane.work();
    LAPIDARY_TRY(session.step(work, speculation));
    const bool fresh = answer->result().ids.empty();
    const GenerateResult &gathered = answer->result();
    const int64_t drafted = gathered.draftedTokens,
                  accepted = gathered.acceptedTokens;
    goesOn = LAPIDARY_TRY(speculation.accept(lane, work));
    tokens += static_cast<int64_t>(gathered.ids.size()) - (fresh ? 0 : before);
    ++result.draftSteps;
    result.drafted += gathered.draftedTokens - drafted;
    result.accepted += gathered.acceptedTokens - accepted;
  }
  draftings.push_back(static_cast<double>(tokens) / (now() - start));
  result.draftTokens += tokens;
  return {};
}

/// One step with the logits of all its tokens, as the check of a draft has it.
Status Measurement::runBatch() {
  Session &session = *result.session;
  const auto rows = static_cast<int64_t>(batch.size());
  if (rows > session.memoryPlan().logitRows)
    return session.prefill(
        {batch, {}}, [](int64_t, std::span<const float>) { return Status(); });
  Work work;
  work.sequence = &session.sequence();
  work.tokens = batch;
  work.logitRows = rows;
  return session.engine().step({&work, 1});
}

Status Measurement::runBatches(int64_t count, std::vector<double> *times) {
  // At the same place each time.
  const int64_t from = std::max<int64_t>(options.depth, 0);
  for (int64_t index = 0; index < count; ++index) {
    LAPIDARY_TRY(result.session->assumeTokens(from));
    const double start = now();
    LAPIDARY_TRY(runBatch());
    if (times)
      times->push_back(now() - start);
  }
  return {};
}

Status Measurement::repeatOnce() {
  const double start = now();
  LAPIDARY_TRY(runPrefill());
  const double filled = now();
  token = LAPIDARY_TRY(sampler->sample(result.session->logits()));
  const double first = now();
  LAPIDARY_TRY(toDepth());
  double decoding = 0;
  LAPIDARY_TRY(runDecode(options.generate, &decoding));
  if (draft != 0) {
    // From the prompt's end again.
    LAPIDARY_TRY(runPrefill());
    LAPIDARY_TRY(runDrafting());
  }
  if (options.batch > 0)
    LAPIDARY_TRY(runBatches(
        std::clamp<int64_t>(options.generate / options.batch, 1, 8), &batches));
  prefills.push_back(static_cast<double>(options.prompt) / (filled - start));
  firsts.push_back(first - start);
  decodes.push_back(static_cast<double>(options.generate) / decoding);
  return {};
}

Status Measurement::measure() {
  const schema::Model &model = *result.file->program().model();
  prompt = makePrompt(model, options.prompt);
  batch = makePrompt(model, options.batch);
  sampler = LAPIDARY_TRY(Sampler::create(
      {}, model.vocabulary(),
      {model.suppress_tokens()->data(), model.suppress_tokens()->size()}));
  Progress progress("Measuring");
  for (int32_t i = 0; i < options.repeat; ++i) {
    progress.update(static_cast<uint64_t>(i),
                    static_cast<uint64_t>(options.repeat));
    LAPIDARY_TRY(repeatOnce());
  }
  result.prefill = median(prefills);
  result.firstToken = median(firsts);
  result.decode = median(decodes);
  if (draft != 0)
    result.drafting = median(draftings);
  if (options.batch > 0)
    result.batch = median(batches);
  return {};
}

Status Measurement::profile() {
  const schema::Target &target = result.session->device().target();
  const int64_t steps = std::min(options.generate, profiledSteps),
                batches = options.batch > 0 ? profiledSteps : 0;
  // Chunks of the prompt, decoded tokens, batches and the logits of these.
  const int64_t chunk = result.session->memoryPlan().chunk;
  uint64_t most = 0;
  for (const auto *entry : *target.entries())
    most = std::max<uint64_t>(most, entry->dispatches()->size());
  const uint64_t runs = static_cast<uint64_t>(
      2 * (options.prompt / chunk + 2) + steps +
      batches * (2 * (options.batch / chunk + 1) + options.batch));
  try {
    result.profile.emplace(runs * most, result.threads);
  } catch (const std::exception &) {
    return outOfMemory("no memory for the events of a profile");
  }
  result.session->setProfile(&*result.profile);
  Status status = runPrefill();
  if (status.ok())
    status = toDepth();
  if (status.ok())
    status = runDecode(steps, nullptr);
  if (status.ok() && batches > 0)
    status = runBatches(batches, nullptr);
  result.session->setProfile(nullptr);
  return status;
}

Status Measurement::run() {
  const std::atomic<bool> &cancel = watchInterrupts();
  LAPIDARY_TRY(load());
  result.session->setCancelFlag(&cancel);
  result.threads = result.session->memoryPlan().threads;
  result.device = result.session->device().description();
  result.weightBytes = decodeWeightBytes(result.file->program(),
                                         result.session->device().target());
  result.peak = peakMemory();
  probe = LAPIDARY_TRY(BandwidthProbe::create(result.threads));
  LAPIDARY_TRY(measure());
  // From here on the probe's memory is in the figure, and is not the session's.
  const uint64_t probed = probe ? probe->size() : 0;
  result.peak = std::max(result.peak, peakMemory() - probed);
  if (options.profile)
    LAPIDARY_TRY(profile());
  if (probe && result.weightBytes <= mostBandwidthBytes)
    for (uint64_t read = 0; read < mostBandwidthBytes;
         read += leastBandwidthBytes)
      probe->readSlice();
  result.bandwidth = probe ? probe->bytesPerSecond() : 0;
  return {};
}

} // namespace

Result<BenchResult> runBench(const BenchOptions &options) {
  BenchResult result;
  LAPIDARY_TRY(Measurement(options, result).run());
  return result;
}

} // namespace lapidary::cli
