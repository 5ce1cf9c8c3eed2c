// Fills the inputs of steps with the tokens of all their sequences, one after
// the other, and hands out what comes back.
#include "runtime/model/Engine.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Text.h"
#include "runtime/model/EntryPoints.h"
#include "runtime/model/FirstRun.h"
#include "runtime/model/Speculation.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace lapidary {

Engine::Engine(MemoryPlan sheet)
    : plan(std::move(sheet)), snapshots(plan.snapshots) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>>
Engine::create(std::shared_ptr<const Bundle> bundle,
               const SessionOptions &options) {
  MemoryPlan plan = LAPIDARY_TRY(planMemory(bundle->program(), options));
  std::unique_ptr<Engine> engine(new (std::nothrow) Engine(std::move(plan)));
  if (!engine)
    return outOfMemory("no memory for an engine");
  LAPIDARY_TRY(engine->plan.check());
  LAPIDARY_TRY(checkFirstRun(bundle, options));
  engine->runner = LAPIDARY_TRY(
      createDevice(bundle, options.device, engine->plan.deviceOptions()));
  engine->file = std::move(bundle);
  LAPIDARY_TRY(engine->allocate());
  engine->bind();
  engine->speculationState = std::make_unique<Speculation>(*engine);
  return engine;
}

Status Engine::allocate() {
  const schema::Model &model = *file->program().model();
  uint64_t chunk = plan.chunk, row = uint64_t(model.hidden()) * sizeof(float);
  uint64_t logitsRow = uint64_t(model.vocabulary()) * sizeof(float);
  tokenBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(chunk * sizeof(int32_t), "a step's tokens"));
  rowBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(chunk * sizeof(int32_t), "a step's media rows"));
  visibleBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(chunk * sizeof(int32_t), "a step's masks"));
  mediaBuffer =
      LAPIDARY_TRY(ReservedMemory::reserve(chunk * row, "a step's media"));
  hiddenBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(chunk * row, "a step's hidden states"));
  logitsBuffer = LAPIDARY_TRY(ReservedMemory::reserve(
      logitsRow * static_cast<uint64_t>(plan.logitRows), "logits"));
  // Where the device chooses, and gives no logits unless they are needed.
  auto chooses = [&](std::string_view name) {
    const std::optional<uint32_t> entry = findEntry(runner->target(), name);
    return entry && runner->choosesCandidates(*entry);
  };
  if (chooses("decode") && chooses("logits"))
    candidateCount = runner->target().candidates();
  draftsHaveCandidates =
      candidateCount > 0 && chooses("draft") && chooses("draft_next");
  const uint64_t candidateRow =
      static_cast<uint64_t>(candidateCount * plan.logitRows);
  topLogitsBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(candidateRow * sizeof(float), "candidates"));
  topTokenBuffer = LAPIDARY_TRY(
      ReservedMemory::reserve(candidateRow * sizeof(int32_t), "candidates"));
  const auto most = static_cast<uint64_t>(maxTokens(runner->target(), "draft"));
  if (const schema::Assistant *assistant = model.assistant())
    clusterBuffer = LAPIDARY_TRY(ReservedMemory::reserve(
        most * static_cast<uint64_t>(assistant->clusters()) * sizeof(float),
        "a draft's clusters"));
  return {};
}

Engine::Entry Engine::bindEntry(
    std::string_view name,
    std::initializer_list<std::pair<std::string_view, void *>> buffers) const {
  Entry entry;
  entry.index = *findEntry(runner->target(), name);
  const schema::EntryPoint &description =
      *runner->target().entries()->Get(entry.index);
  entry.maxTokens = description.max_tokens();
  auto find = [&](const schema::Binding &binding) -> void * {
    for (const auto &[bufferName, pointer] : buffers)
      if (binding.name()->string_view() == bufferName)
        return pointer;
    return nullptr;
  };
  for (const schema::Binding *binding : *description.inputs())
    entry.inputs.push_back(find(*binding));
  for (const schema::Binding *binding : *description.outputs()) {
    void *buffer = find(*binding);
    const bool isTop = isCandidates(*binding),
               isLogits = binding->name()->string_view() == "logits";
    entry.outputs[size_t(Wanted::Logits)].push_back(isTop ? nullptr : buffer);
    entry.outputs[size_t(Wanted::Candidates)].push_back(isLogits ? nullptr
                                                                 : buffer);
    entry.outputs[size_t(Wanted::Both)].push_back(buffer);
  }
  return entry;
}

void Engine::bind() {
  auto bindPrefill = [&](std::string_view name) {
    return bindEntry(name, {{"tokens", tokenBuffer.data()},
                            {"media_rows", rowBuffer.data()},
                            {"media", mediaBuffer.data()},
                            {"visible_end", visibleBuffer.data()},
                            {"hidden", hiddenBuffer.data()}});
  };
  prefillEntry = bindPrefill("prefill");
  if (findEntry(runner->target(), "extend"))
    extendEntry = bindPrefill("extend");
  decodeEntry = bindEntry("decode", {{"tokens", tokenBuffer.data()},
                                     {"logits", logitsBuffer.data()},
                                     {"hidden", hiddenBuffer.data()},
                                     {"top_logits", topLogitsBuffer.data()},
                                     {"top_tokens", topTokenBuffer.data()}});
  auto bindDraft = [&](std::string_view name, const ReservedMemory &from,
                       const ReservedMemory &to) {
    return bindEntry(name, {{"tokens", tokenBuffer.data()},
                            {"hidden", from.data()},
                            {"next_hidden", to.data()},
                            {"logits", logitsBuffer.data()},
                            {"clusters", clusterBuffer.data()},
                            {"top_logits", topLogitsBuffer.data()},
                            {"top_tokens", topTokenBuffer.data()}});
  };
  if (file->program().model()->assistant()) {
    draftEntry = bindDraft("draft", mediaBuffer, hiddenBuffer);
    draftOddEntry = bindDraft("draft_next", hiddenBuffer, mediaBuffer);
    draftEvenEntry = bindDraft("draft_next", mediaBuffer, hiddenBuffer);
  }
  logitsEntry = bindEntry("logits", {});
  for (const schema::Binding *binding :
       *runner->target().entries()->Get(prefillEntry.index)->inputs())
    takesMedia |= binding->name()->string_view() == "media";
}

Status Engine::ready() {
  if (!weightsVerified)
    LAPIDARY_TRY(file->verifyWeights());
  weightsVerified = true;
  return {};
}

bool Engine::isSoft(int32_t token) const {
  const schema::Model &model = *file->program().model();
  return takesMedia && token >= 0 &&
         (isVisionToken(model, token) || token == model.audio_token());
}

bool Engine::isBlock(int32_t token) const {
  const schema::Model &model = *file->program().model();
  return takesMedia && model.bidirectional_vision() &&
         isVisionToken(model, token);
}

Result<std::vector<float>> Engine::embedRows(std::string_view name,
                                             std::span<const float> values,
                                             int64_t rowValues,
                                             const int32_t *positions) {
  int64_t hidden = file->program().model()->hidden();
  int64_t rows = static_cast<int64_t>(values.size()) / rowValues;
  LAPIDARY_TRY(ready());
  std::vector<float> embeddings;
  try {
    embeddings.resize(static_cast<size_t>(rows * hidden));
  } catch (const std::bad_alloc &) {
    return outOfMemory(concat("no memory for ", rows, " embeddings"));
  }
  int64_t most = maxTokens(runner->target(), name);
  for (int64_t begin = 0; begin < rows; begin += most) {
    // The kernels only read inputs; one list of buffers serves both kinds.
    Entry entry = bindEntry(
        name,
        {{"patches", const_cast<float *>(values.data() + begin * rowValues)},
         {"frames", const_cast<float *>(values.data() + begin * rowValues)},
         {"positions",
          const_cast<int32_t *>(positions ? positions + begin * 2 : nullptr)},
         {"embeddings", embeddings.data() + begin * hidden}});
    Step step{.tokens = std::min(most, rows - begin)};
    LAPIDARY_TRY(runner->run(entry.index, {&step, 1}, entry.inputs,
                             entry.outputs[size_t(Wanted::Both)], cancel));
  }
  return embeddings;
}

Result<std::vector<float>>
Engine::embedImage(std::span<const float> patches,
                   std::span<const int32_t> positions) {
  const schema::Vision *vision = file->program().model()->vision();
  if (!vision || !findEntry(runner->target(), "embed_image"))
    return unsupported("this model does not take images");
  uint64_t row = uint64_t(vision->patch_size()) * vision->patch_size() * 3;
  if (patches.empty() || patches.size() % row != 0 ||
      positions.size() != patches.size() / row * 2)
    return invalidArgument(concat(
        "an image has ", patches.size(), " patch values and ", positions.size(),
        " position values, expected ", row, " and 2 for each patch"));
  for (int32_t position : positions)
    if (position < 0 || position >= vision->positions())
      return invalidArgument(concat("an image has a patch at coordinate ",
                                    position, ", but the model knows 0 to ",
                                    vision->positions() - 1));
  return embedRows("embed_image", patches, static_cast<int64_t>(row),
                   positions.data());
}

Result<std::vector<float>> Engine::embedAudio(std::span<const float> frames) {
  const schema::Audio *audio = file->program().model()->audio();
  if (!audio || !findEntry(runner->target(), "embed_audio"))
    return unsupported("this model does not take sounds");
  uint64_t row = audio->samples_per_token();
  if (frames.empty() || frames.size() % row != 0)
    return invalidArgument(concat("a sound has ", frames.size(),
                                  " samples, expected a multiple of ", row,
                                  " and one frame at least"));
  return embedRows("embed_audio", frames, static_cast<int64_t>(row), nullptr);
}

Result<std::unique_ptr<Sequence>> Engine::createSequence() {
  if (liveSequences >= plan.sequences)
    return invalidArgument(
        concat("the engine was made for ", plan.sequences,
               plan.sequences == 1 ? " sequence" : " sequences",
               ", which exist already"));
  std::unique_ptr<SequenceCaches> caches = LAPIDARY_TRY(runner->createCaches());
  std::unique_ptr<Sequence> sequence(new (std::nothrow) Sequence(*this));
  if (!sequence)
    return outOfMemory("no memory for a sequence");
  sequence->caches = std::move(caches);
  ++liveSequences;
  return sequence;
}

Status Engine::checkWork(const Work &work) const {
  int32_t vocabulary = file->program().model()->vocabulary();
  if (!work.sequence || &work.sequence->engine != this)
    return invalidArgument("a step's work is of no sequence of this engine");
  if (work.tokens.empty())
    return invalidArgument("a step's work has no tokens");
  size_t soft = 0;
  for (int32_t token : work.tokens) {
    if (token < 0 || token >= vocabulary)
      return invalidArgument(concat("the token is ", token,
                                    ", but the vocabulary has 0 to ",
                                    vocabulary - 1));
    soft += !work.generated && isSoft(token);
  }
  if (work.media.size() != soft || work.keys.size() != soft)
    return invalidArgument(concat(
        "a step's work has ", soft, " soft tokens, but ", work.media.size(),
        " embeddings and ", work.keys.size(), " keys of them"));
  if (int64_t left = plan.context - work.sequence->position();
      work.tokens.size() > static_cast<uint64_t>(left))
    return invalidArgument(
        left == 0
            ? concat("the context of ", plan.context, " positions is full")
            : concat("a step's work has ", work.tokens.size(),
                     " tokens, but of the context's ", plan.context,
                     " positions ", left, " are left"));
  if (work.logitRows < 0 ||
      static_cast<uint64_t>(work.logitRows) > work.tokens.size())
    return invalidArgument(concat("logits of ", work.logitRows, " of ",
                                  work.tokens.size(),
                                  " tokens were asked for"));
  return {};
}

Status Engine::checkWorks(std::span<const Work> works) const {
  uint64_t tokens = 0, rows = 0;
  if (works.empty())
    return invalidArgument("a step has no work");
  for (size_t index = 0; index < works.size(); ++index) {
    LAPIDARY_TRY(checkWork(works[index]));
    for (const Work &other : works.first(index))
      if (other.sequence == works[index].sequence)
        return invalidArgument("a sequence is in a step twice");
    tokens += works[index].tokens.size();
    rows += static_cast<uint64_t>(works[index].logitRows);
  }
  if (tokens > static_cast<uint64_t>(plan.chunk) ||
      rows > static_cast<uint64_t>(plan.logitRows))
    return invalidArgument(concat(
        "a step has ", tokens, " tokens and logits of ", rows,
        " of them, expected at most ", plan.chunk, " and ", plan.logitRows));
  return {};
}

Status Engine::step(std::span<Work> works) {
  LAPIDARY_TRY(checkWorks(works));
  LAPIDARY_TRY(ready());
  try {
    steps.clear();
    for (const Work &work : works) {
      const auto tokens = static_cast<int64_t>(work.tokens.size());
      work.sequence->prepare(work.sequence->position() + tokens);
      steps.push_back({.tokens = tokens,
                       .past = work.sequence->position(),
                       .caches = work.sequence->caches.get()});
    }
    const Wanted wanted = choose(works);
    LAPIDARY_TRY(works.size() == 1 && works[0].generated &&
                         works[0].tokens.size() == 1 && works[0].logitRows == 1
                     ? runDecode(works[0], wanted)
                     : runPrefill(works, wanted));
    for (const Work &work : works)
      work.sequence->advance(work.tokens, work.keys, work.generated);
  } catch (const std::bad_alloc &) {
    for (size_t index = 0; index < steps.size(); ++index)
      works[index].sequence->past.cut(steps[index].past);
    return outOfMemory("no memory for a step");
  }
  return {};
}

Status Engine::runDecode(Work &work, Wanted wanted) {
  tokenBuffer.as<int32_t>()[0] = work.tokens[0];
  LAPIDARY_TRY(run(decodeEntry, wanted));
  if (wanted == Wanted::Both)
    LAPIDARY_TRY(checkCandidates(1));
  handOut(work, 0, wanted);
  work.hidden = {};
  if (hasCompanion())
    work.hidden = {hiddenBuffer.as<float>(),
                   static_cast<size_t>(file->program().model()->hidden())};
  return {};
}

void Engine::fillInputs(const Work &work, int64_t begin, int32_t &rows) {
  const auto hidden = static_cast<size_t>(file->program().model()->hidden());
  auto *tokenOut = tokenBuffer.as<int32_t>() + begin,
       *rowOut = rowBuffer.as<int32_t>() + begin,
       *visible = visibleBuffer.as<int32_t>() + begin;
  std::span<const int32_t> tokens = work.tokens;
  std::span<const float *const> media = work.media;
  for (size_t index = 0; index < tokens.size(); ++index) {
    tokenOut[index] = tokens[index];
    rowOut[index] = -1;
    if (work.generated || !isSoft(tokens[index]))
      continue;
    std::memcpy(mediaBuffer.as<float>() + static_cast<size_t>(rows) * hidden,
                media.front(), hidden * sizeof(float));
    media = media.subspan(1);
    rowOut[index] = rows++;
  }
  // From the back, so that every position of a block gets the block's end.
  for (size_t index = tokens.size(); index-- > 0;) {
    bool inside = !work.generated && index + 1 < tokens.size() &&
                  isBlock(tokens[index]) && isBlock(tokens[index + 1]);
    visible[index] = inside ? visible[index + 1]
                            : static_cast<int32_t>(work.sequence->position() +
                                                   int64_t(index) + 1);
  }
}

Status Engine::runPrefill(std::span<Work> works, Wanted wanted) {
  const auto width = static_cast<size_t>(file->program().model()->hidden());
  int64_t tokens = 0;
  int32_t mediaRows = 0;
  for (const Work &work : works) {
    fillInputs(work, tokens, mediaRows);
    tokens += static_cast<int64_t>(work.tokens.size());
  }
  const Entry &entry =
      extending && extendEntry && tokens <= extendEntry->maxTokens
          ? *extendEntry
          : prefillEntry;
  LAPIDARY_TRY(run(entry, wanted));
  // The media are read; their buffer takes the rows that logits are wanted of.
  size_t rows = 0;
  const float *hidden = hiddenBuffer.as<float>();
  for (Work &work : works) {
    const auto own = static_cast<size_t>(work.logitRows);
    work.hidden = {hidden, work.tokens.size() * width};
    handOut(work, rows, wanted);
    hidden += work.hidden.size();
    std::memcpy(mediaBuffer.as<float>() + rows * width, hidden - own * width,
                own * width * sizeof(float));
    rows += own;
  }
  LAPIDARY_TRY(runLogits(mediaBuffer.as<float>(), static_cast<int64_t>(rows),
                         logitsBuffer.as<float>(), wanted));
  return wanted == Wanted::Both ? checkCandidates(static_cast<int64_t>(rows))
                                : Status();
}

Status Engine::runLogits(const float *hidden, int64_t rows, float *out,
                         Wanted wanted) {
  const schema::Model &model = *file->program().model();
  const int64_t most = std::min(logitsEntry.maxTokens, plan.chunk);
  for (int64_t row = 0; row < rows; row += most) {
    Step step{.tokens = std::min(most, rows - row)};
    // The kernels only read inputs.
    const Entry entry = bindEntry(
        "logits",
        {{"hidden", const_cast<float *>(hidden + row * model.hidden())},
         {"logits", out + row * model.vocabulary()},
         {"top_logits", topLogitsBuffer.as<float>() + row * candidateCount},
         {"top_tokens", topTokenBuffer.as<int32_t>() + row * candidateCount}});
    LAPIDARY_TRY(runner->run(entry.index, {&step, 1}, entry.inputs,
                             entry.outputs[size_t(wanted)], cancel));
  }
  return {};
}

Status Engine::computeLogits(std::span<const float> hidden,
                             std::span<float> logits) {
  const schema::Model &model = *file->program().model();
  const auto width = static_cast<size_t>(model.hidden()),
             vocabulary = static_cast<size_t>(model.vocabulary());
  const size_t rows = hidden.size() / width;
  if (rows == 0 || hidden.size() % width != 0 ||
      logits.size() / vocabulary != rows || logits.size() % vocabulary != 0)
    return invalidArgument(concat(hidden.size(), " hidden values and ",
                                  logits.size(), " logits, expected ", width,
                                  " and ", vocabulary, " for each row"));
  LAPIDARY_TRY(ready());
  return runLogits(hidden.data(), static_cast<int64_t>(rows), logits.data());
}

Status Engine::computeLogits(std::span<const float> hidden,
                             const LogitsCallback &onLogits) {
  const schema::Model &model = *file->program().model();
  const int64_t width = model.hidden(), vocabulary = model.vocabulary();
  const auto rows = static_cast<int64_t>(hidden.size()) / width;
  LAPIDARY_TRY(ready());
  // Behind the rows of a step's own.
  const int64_t stepRows = plan.sequences * (1 + plan.drafts);
  float *out = logitsBuffer.as<float>() + stepRows * vocabulary;
  const int64_t most = plan.logitRows - stepRows;
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(most, rows - row);
    LAPIDARY_TRY(runLogits(hidden.data() + row * width, count, out));
    for (int64_t index = 0; index < count; ++index)
      LAPIDARY_TRY(onLogits(row + index, {out + index * vocabulary,
                                          static_cast<size_t>(vocabulary)}));
  }
  return {};
}

} // namespace lapidary
