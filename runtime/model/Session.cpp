// Turns prompts into steps: where chunks are cut, which row of media stands for
// a token, and how far a position may look.
#include "runtime/model/Session.h"

#include "runtime/core/Text.h"
#include "runtime/model/EntryPoints.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>

namespace lapidary {
Result<std::unique_ptr<Session>>
Session::create(std::shared_ptr<const Bundle> bundle,
                const SessionOptions &options) {
  std::unique_ptr<Session> session(new (std::nothrow) Session());
  if (!session)
    return outOfMemory("no memory for a session");
  session->plan = LAPIDARY_TRY(planMemory(bundle->program(), options));
  const MemoryPlan &plan = session->plan;
  LAPIDARY_TRY(plan.check());
  session->runner =
      LAPIDARY_TRY(createDevice(bundle, options.device, plan.deviceOptions()));
  session->file = std::move(bundle);
  LAPIDARY_TRY(session->allocate());
  session->bind();
  return session;
}

Status Session::allocate() {
  const schema::Model &model = *file->program().model();
  uint64_t chunk = plan.chunk, row = uint64_t(model.hidden()) * sizeof(float);
  uint64_t logitsRow = uint64_t(model.vocabulary()) * sizeof(float);
  int64_t batch = std::min(maxTokens(runner->target(), "logits"), plan.chunk);
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
  logitsBuffer = LAPIDARY_TRY(ReservedMemory::reserve(logitsRow, "logits"));
  batchBuffer = LAPIDARY_TRY(ReservedMemory::reserve(
      logitsRow * static_cast<uint64_t>(batch), "logits of a prompt"));
  return {};
}

Session::Entry Session::bindEntry(
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
  for (const schema::Binding *binding : *description.outputs())
    entry.outputs.push_back(find(*binding));
  return entry;
}

void Session::bind() {
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
                                     {"logits", logitsBuffer.data()}});
  logitsEntry = bindEntry("logits", {});
  for (const schema::Binding *binding :
       *runner->target().entries()->Get(prefillEntry.index)->inputs())
    takesMedia |= binding->name()->string_view() == "media";
}

Status Session::ready() {
  if (!weightsVerified)
    LAPIDARY_TRY(file->verifyWeights());
  weightsVerified = true;
  return {};
}

bool Session::isSoft(int32_t token) const {
  const schema::Model &model = *file->program().model();
  return takesMedia && token >= 0 &&
         (isVisionToken(model, token) || token == model.audio_token());
}

bool Session::isBlock(int32_t token) const {
  const schema::Model &model = *file->program().model();
  return takesMedia && model.bidirectional_vision() &&
         isVisionToken(model, token);
}

Result<std::vector<float>> Session::embedRows(std::string_view name,
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
    Step step{.tokens = std::min(most, rows - begin), .past = 0};
    LAPIDARY_TRY(
        runner->run(entry.index, step, entry.inputs, entry.outputs, cancel));
  }
  return embeddings;
}

Result<std::vector<float>>
Session::embedImage(std::span<const float> patches,
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

Result<std::vector<float>> Session::embedAudio(std::span<const float> frames) {
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

Status Session::checkPrompt(const Prompt &prompt) const {
  const schema::Model &model = *file->program().model();
  if (prompt.tokens.empty())
    return invalidArgument("the prompt is empty");
  if (prompt.tokens.size() > static_cast<uint64_t>(plan.context - past))
    return invalidArgument(concat("the prompt has ", prompt.tokens.size(),
                                  " tokens, but of the context's ",
                                  plan.context, " positions ",
                                  plan.context - past, " are left"));
  uint64_t soft = 0;
  for (size_t index = 0; index < prompt.tokens.size(); ++index) {
    int32_t token = prompt.tokens[index];
    if (token < 0 || token >= model.vocabulary())
      return invalidArgument(concat("token ", index, " of the prompt is ",
                                    token, ", but the vocabulary has 0 to ",
                                    model.vocabulary() - 1));
    soft += isSoft(token);
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
  if (endsInBlock && isBlock(prompt.tokens[0]))
    return invalidArgument(
        "the prompt begins with image tokens right after image tokens of the "
        "step before; a block "
        "that sees itself both ways must come in one prompt");
  if (int64_t longest = model.bidirectional_vision() && takesMedia
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

Status Session::prefill(const Prompt &prompt, const LogitsCallback &onLogits,
                        int64_t firstRow) {
  LAPIDARY_TRY(checkPrompt(prompt));
  LAPIDARY_TRY(ready());
  hasLogits = false;
  size_t hidden = static_cast<size_t>(file->program().model()->hidden());
  // One pointer a soft token, in the prompt's order.
  std::vector<const float *> rows;
  for (std::span<const float> item : prompt.media)
    for (size_t row = 0; row < item.size() / hidden; ++row)
      rows.push_back(item.data() + row * hidden);

  std::span<const float *const> mediaLeft = rows;
  std::span<const int32_t> tokens = prompt.tokens;
  for (size_t begin = 0; begin < tokens.size();) {
    size_t end =
        std::min(tokens.size(), begin + static_cast<size_t>(plan.chunk));
    // A block that would be cut waits for the next chunk whole; checkPrompt
    // made sure that it fits there.
    if (end < tokens.size() && isBlock(tokens[end]))
      while (end > begin && isBlock(tokens[end - 1]))
        --end;
    std::span<const int32_t> chunk = tokens.subspan(begin, end - begin);
    LAPIDARY_TRY(runChunk(chunk, mediaLeft));
    endsInBlock = isBlock(chunk.back());
    past += static_cast<int64_t>(chunk.size());
    LAPIDARY_TRY(reportLogits(static_cast<int64_t>(begin),
                              static_cast<int64_t>(end), onLogits, firstRow,
                              end == tokens.size()));
    begin = end;
  }
  hasLogits = true;
  return {};
}

Status Session::runChunk(std::span<const int32_t> tokens,
                         std::span<const float *const> &media) {
  size_t hidden = static_cast<size_t>(file->program().model()->hidden());
  auto *tokenOut = tokenBuffer.as<int32_t>(), *rowOut = rowBuffer.as<int32_t>(),
       *visible = visibleBuffer.as<int32_t>();
  int32_t rows = 0;
  for (size_t index = 0; index < tokens.size(); ++index) {
    tokenOut[index] = tokens[index];
    rowOut[index] = -1;
    if (!isSoft(tokens[index]))
      continue;
    std::memcpy(mediaBuffer.as<float>() + rows * hidden, media.front(),
                hidden * sizeof(float));
    media = media.subspan(1);
    rowOut[index] = rows++;
  }
  // From the back, so that every position of a block gets the block's end.
  for (size_t index = tokens.size(); index-- > 0;) {
    bool inside = index + 1 < tokens.size() && isBlock(tokens[index]) &&
                  isBlock(tokens[index + 1]);
    visible[index] =
        inside ? visible[index + 1]
               : static_cast<int32_t>(past + static_cast<int64_t>(index) + 1);
  }
  Step step{.tokens = static_cast<int64_t>(tokens.size()), .past = past};
  hiddenRows = 0;
  const Entry &entry = extendEntry && step.tokens <= extendEntry->maxTokens
                           ? *extendEntry
                           : prefillEntry;
  LAPIDARY_TRY(
      runner->run(entry.index, step, entry.inputs, entry.outputs, cancel));
  hiddenRows = step.tokens;
  return {};
}

Status Session::runLogits(const float *hidden, int64_t rows, float *out) {
  const void *input = hidden;
  void *output = out;
  return runner->run(logitsEntry.index, {.tokens = rows, .past = past},
                     {&input, 1}, {&output, 1}, cancel);
}

/// After a chunk of the prompt's rows [begin, end): gives the wanted ones to
/// the callback and keeps the prompt's last.
Status Session::reportLogits(int64_t begin, int64_t end,
                             const LogitsCallback &onLogits, int64_t firstRow,
                             bool last) {
  int64_t vocabulary = file->program().model()->vocabulary(),
          hidden = file->program().model()->hidden();
  const float *states = hiddenBuffer.as<float>();
  if (onLogits) {
    int64_t most = std::min(logitsEntry.maxTokens, plan.chunk);
    for (int64_t row = std::max(begin, firstRow); row < end; row += most) {
      int64_t rows = std::min(most, end - row);
      LAPIDARY_TRY(runLogits(states + (row - begin) * hidden, rows,
                             batchBuffer.as<float>()));
      for (int64_t index = 0; index < rows; ++index)
        LAPIDARY_TRY(
            onLogits(row + index, {batchBuffer.as<float>() + index * vocabulary,
                                   size_t(vocabulary)}));
    }
  }
  if (!last)
    return {};
  if (onLogits && firstRow < end) {
    // The callback's last row.
    int64_t most = std::min(logitsEntry.maxTokens, plan.chunk),
            row = (end - 1 - std::max(begin, firstRow)) % most;
    std::memcpy(logitsBuffer.data(), batchBuffer.as<float>() + row * vocabulary,
                static_cast<size_t>(vocabulary) * sizeof(float));
    return {};
  }
  return runLogits(states + (end - begin - 1) * hidden, 1,
                   logitsBuffer.as<float>());
}

Status Session::decode(int32_t token) {
  int32_t vocabulary = file->program().model()->vocabulary();
  if (token < 0 || token >= vocabulary)
    return invalidArgument(concat("the token is ", token,
                                  ", but the vocabulary has 0 to ",
                                  vocabulary - 1));
  if (past >= plan.context)
    return invalidArgument(
        concat("the context of ", plan.context, " positions is full"));
  LAPIDARY_TRY(ready());
  hasLogits = false;
  hiddenRows = 0;
  tokenBuffer.as<int32_t>()[0] = token;
  LAPIDARY_TRY(runner->run(decodeEntry.index, {.tokens = 1, .past = past},
                           decodeEntry.inputs, decodeEntry.outputs, cancel));
  ++past;
  endsInBlock = false;
  hasLogits = true;
  return {};
}

std::span<const float> Session::logits() const {
  if (!hasLogits)
    return {};
  return {logitsBuffer.as<float>(),
          static_cast<size_t>(file->program().model()->vocabulary())};
}

std::span<const float> Session::hiddenStates() const {
  return {hiddenBuffer.as<float>(),
          static_cast<size_t>(hiddenRows * file->program().model()->hidden())};
}

Status Session::computeLogits(std::span<const float> hidden,
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
  const auto most =
      static_cast<size_t>(std::min(logitsEntry.maxTokens, plan.chunk));
  for (size_t row = 0; row < rows; row += most)
    LAPIDARY_TRY(runLogits(hidden.data() + row * width,
                           static_cast<int64_t>(std::min(most, rows - row)),
                           logits.data() + row * vocabulary));
  return {};
}

Status Session::assumeTokens(int64_t position) {
  if (position < 0 || position > plan.context)
    return invalidArgument(concat("a state of ", position,
                                  " tokens was asked for, but the session "
                                  "holds 0 to ",
                                  plan.context));
  if (!touched)
    runner->touchCaches();
  touched = true;
  past = position;
  hiddenRows = 0;
  hasLogits = endsInBlock = false;
  return {};
}

void Session::reset() {
  past = hiddenRows = 0;
  hasLogits = endsInBlock = touched = false;
  runner->clearCaches();
}

} // namespace lapidary
