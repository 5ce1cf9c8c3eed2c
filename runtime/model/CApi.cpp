// The C API over Bundle, Session and generate: checks pointers and struct
// sizes, turns values into codes, keeps exceptions in.
#include "lapidary/lapidary.h"

#include "runtime/core/Text.h"
#include "runtime/model/Generator.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

struct lapidary_bundle {
  std::shared_ptr<const lapidary::Bundle> bundle;
  lapidary::Tokenizer tokenizer;
};

struct lapidary_session {
  std::shared_ptr<const lapidary::Bundle> bundle;
  lapidary::Tokenizer tokenizer;
  std::unique_ptr<lapidary::Session> session;
  int32_t draft = 0;
  std::atomic<bool> cancel = false;
};

namespace lapidary {
namespace {

static_assert(LAPIDARY_INVALID_ARGUMENT == int(StatusCode::InvalidArgument) &&
                  LAPIDARY_INTERNAL == int(StatusCode::Internal),
              "the codes of the C API are those of StatusCode");
static_assert(std::atomic<bool>::is_always_lock_free,
              "cancel may be called from a signal handler");

std::string &lastError() {
  thread_local std::string message;
  return message;
}

lapidary_status report(Status status) {
  if (!status.ok())
    lastError() = status.message();
  return static_cast<lapidary_status>(status.getCode());
}

/// Runs `body`, which gives a Status, and keeps its exceptions in.
template <typename Body> lapidary_status guarded(const Body &body) {
  try {
    return report(body());
  } catch (const std::bad_alloc &) {
    return report(outOfMemory("no memory"));
  } catch (const std::exception &error) {
    return report(internalError(error.what()));
  } catch (...) {
    return report(internalError("unknown exception"));
  }
}

/// The same for a session's steps, which cancel can stop. The request is used
/// up by the step that it stopped.
template <typename Body>
lapidary_status guardedStep(lapidary_session *session, const Body &body) {
  if (!session)
    return report(invalidArgument("the session is NULL"));
  lapidary_status status = guarded([&] {
    session->session->setCancelFlag(&session->cancel);
    return body();
  });
  if (status == LAPIDARY_CANCELLED)
    session->cancel = false;
  return status;
}

/// Copies a caller's struct, which may be of an older or a newer header, over
/// `known`, which holds zeros.
template <typename Struct>
Status readStruct(const Struct *given, Struct &known, const char *what) {
  known = {};
  if (!given)
    return {};
  size_t size = given->size;
  if (size < sizeof(size))
    return invalidArgument(
        concat(what, "->size is ", size, ", expected sizeof(*", what, ")"));
  const char *bytes = reinterpret_cast<const char *>(given);
  for (size_t index = sizeof(Struct); index < size; ++index)
    if (bytes[index] != 0)
      return unsupported(concat(
          what,
          " uses a field that this version of the library does not know"));
  std::memcpy(&known, given, std::min(size, sizeof(Struct)));
  return {};
}

/// Copies as much of `known` as the caller's header has.
template <typename Struct>
Status writeStruct(Struct known, Struct *given, const char *what) {
  size_t size = given->size;
  if (size < sizeof(size))
    return invalidArgument(
        concat(what, "->size is ", size, ", expected sizeof(*", what, ")"));
  known.size = size;
  std::memcpy(given, &known, std::min(size, sizeof(Struct)));
  return {};
}

Status checkArray(const void *pointer, size_t count, const char *what) {
  if (!pointer && count != 0)
    return invalidArgument(
        concat(what, " is NULL, but has ", count, " elements"));
  return {};
}

/// `values` times `row` as a size; an error on overflow.
Result<size_t> product(size_t count, int64_t row) {
  size_t result;
  if (__builtin_mul_overflow(count, static_cast<size_t>(row), &result) ||
      result > SIZE_MAX / sizeof(double))
    return invalidArgument(
        concat(count, " rows are more than memory can hold"));
  return result;
}

Result<std::vector<MediaInput>>
readMedia(const Session &session, const lapidary_media *media, size_t count) {
  LAPIDARY_TRY(checkArray(media, count, "media"));
  std::vector<MediaInput> inputs;
  for (size_t index = 0; index < count; ++index) {
    LAPIDARY_TRY(checkArray(media[index].embeddings, media[index].count,
                            "a media item"));
    size_t values = LAPIDARY_TRY(product(
        media[index].count, session.bundle().program().model()->hidden()));
    MediaInput input;
    input.embeddings = {media[index].embeddings, values};
    inputs.push_back(input);
  }
  return inputs;
}

lapidary_model_info describe(const schema::Model &model) {
  lapidary_model_info info = {};
  info.context = model.context();
  info.vocabulary = model.vocabulary();
  info.hidden = model.hidden();
  info.bos_token = model.bos_token();
  info.image_token = model.image_token();
  info.video_token = model.video_token();
  info.audio_token = model.audio_token();
  info.patch_values = model.vision() ? model.vision()->patch_size() *
                                           model.vision()->patch_size() * 3
                                     : 0;
  info.frame_samples = model.audio() ? model.audio()->samples_per_token() : 0;
  return info;
}

/// What the engine has for it: all is -1 there, and none 0.
Result<int32_t> readGpuLayers(int32_t layers) {
  if (layers < LAPIDARY_GPU_LAYERS_NONE)
    return invalidArgument(concat("gpu_layers is ", layers,
                                  ", expected a number of layers, 0 "
                                  "for all of them, or ",
                                  int(LAPIDARY_GPU_LAYERS_NONE), " for none"));
  return layers == 0 ? -1 : std::max(layers, 0);
}

/// GenerateOptions::draft.
Result<int32_t> readDraft(int32_t draft, const schema::Model &model) {
  if (draft < LAPIDARY_DRAFT_OFF)
    return invalidArgument(
        concat("draft is ", draft, ", expected a number of tokens, ",
               int(LAPIDARY_DRAFT_AUTO), " for as many as are worth it, or ",
               int(LAPIDARY_DRAFT_OFF), " for none"));
  if (draft == LAPIDARY_DRAFT_AUTO || (draft == 0 && model.assistant()))
    return draftAuto;
  return std::max(draft, 0);
}

/// A field of 0 is the default, which is off and 1 for some.
float orOff(float value) { return value == 0 ? 1 : value; }

Result<GenerateOptions> readOptions(const lapidary_generate_options &known) {
  LAPIDARY_TRY(
      checkArray(known.logit_bias, known.logit_bias_count, "logit_bias"));
  LAPIDARY_TRY(checkArray(known.stop, known.stop_count, "stop"));
  GenerateOptions options;
  options.maxTokens = known.max_tokens;
  SamplerOptions &sampling = options.sampling;
  sampling.temperature = known.temperature;
  sampling.topK = known.top_k;
  sampling.topP = orOff(known.top_p);
  sampling.seed = known.seed;
  sampling.minP = known.min_p;
  sampling.typicalP = orOff(known.typical_p);
  sampling.penalties.repeat = orOff(known.repeat_penalty);
  sampling.penalties.presence = known.presence_penalty;
  sampling.penalties.frequency = known.frequency_penalty;
  if (known.repeat_last_n != 0)
    sampling.penalties.lastTokens = known.repeat_last_n;
  for (size_t index = 0; index < known.logit_bias_count; ++index)
    sampling.logitBias.push_back(
        {known.logit_bias[index].token, known.logit_bias[index].bias});
  for (size_t index = 0; index < known.stop_count; ++index) {
    LAPIDARY_TRY(checkArray(known.stop[index], 1, "a string of stop"));
    options.stop.emplace_back(known.stop[index]);
  }
  options.specialTokens = known.special_tokens != 0;
  return options;
}

Status generateInto(lapidary_session &handle, const GenerateInput &input,
                    const lapidary_generate_options &known, int32_t *ids,
                    size_t capacity, lapidary_generate_result *result) {
  GenerateOptions options = LAPIDARY_TRY(readOptions(known));
  options.cancel = &handle.cancel;
  options.draft = handle.draft;
  if (known.on_text)
    options.onText = [&](std::string_view text) {
      return known.on_text(known.user, text.data(), text.size()) != 0;
    };
  GenerateResult answer =
      LAPIDARY_TRY(generate(*handle.session, handle.tokenizer, input, options));
  if (answer.finishReason == "cancelled")
    handle.cancel = false;
  std::copy_n(answer.ids.begin(), std::min(capacity, answer.ids.size()), ids);
  if (!result)
    return {};
  lapidary_generate_result filled = {};
  filled.count = answer.ids.size();
  filled.finish = answer.finishReason == "stop"     ? LAPIDARY_FINISH_STOP
                  : answer.finishReason == "length" ? LAPIDARY_FINISH_LENGTH
                                                    : LAPIDARY_FINISH_CANCELLED;
  filled.prefill_seconds = answer.prefillSeconds;
  filled.decode_seconds = answer.decodeSeconds;
  filled.reused = static_cast<size_t>(answer.reusedTokens);
  filled.drafted = static_cast<uint64_t>(answer.draftedTokens);
  filled.accepted = static_cast<uint64_t>(answer.acceptedTokens);
  return writeStruct(filled, result, "result");
}

} // namespace
} // namespace lapidary

using namespace lapidary;

const char *lapidary_version(void) { return LAPIDARY_VERSION; }

const char *lapidary_error_message(void) { return lastError().c_str(); }

lapidary_status lapidary_bundle_open(const char *path,
                                     lapidary_bundle **bundle) {
  return guarded([&]() -> Status {
    if (!path || !bundle)
      return invalidArgument("path or bundle is NULL");
    std::shared_ptr<const Bundle> opened = LAPIDARY_TRY(Bundle::open(path));
    Tokenizer tokenizer = LAPIDARY_TRY(
        Tokenizer::create(opened->segment(opened->program().tokenizer())));
    *bundle = new lapidary_bundle{std::move(opened), std::move(tokenizer)};
    return {};
  });
}

void lapidary_bundle_close(lapidary_bundle *bundle) { delete bundle; }

lapidary_status lapidary_bundle_verify(const lapidary_bundle *bundle) {
  return guarded([&]() -> Status {
    if (!bundle)
      return invalidArgument("the bundle is NULL");
    return bundle->bundle->verifyWeights();
  });
}

lapidary_status lapidary_bundle_model(const lapidary_bundle *bundle,
                                      lapidary_model_info *info) {
  return guarded([&]() -> Status {
    if (!bundle || !info)
      return invalidArgument("bundle or info is NULL");
    return writeStruct(describe(*bundle->bundle->program().model()), info,
                       "info");
  });
}

lapidary_status lapidary_bundle_tokenize(const lapidary_bundle *bundle,
                                         const char *text, size_t text_bytes,
                                         int32_t *ids, size_t capacity,
                                         size_t *count) {
  return guarded([&]() -> Status {
    if (!bundle || !count)
      return invalidArgument("bundle or count is NULL");
    LAPIDARY_TRY(checkArray(text, text_bytes, "text"));
    LAPIDARY_TRY(checkArray(ids, capacity, "ids"));
    std::vector<int32_t> encoded = bundle->tokenizer.encode({text, text_bytes});
    std::copy_n(encoded.begin(), std::min(capacity, encoded.size()), ids);
    *count = encoded.size();
    return {};
  });
}

lapidary_status lapidary_bundle_detokenize(const lapidary_bundle *bundle,
                                           const int32_t *ids, size_t count,
                                           int special_tokens, char *text,
                                           size_t capacity, size_t *bytes) {
  return guarded([&]() -> Status {
    if (!bundle || !bytes)
      return invalidArgument("bundle or bytes is NULL");
    LAPIDARY_TRY(checkArray(ids, count, "ids"));
    LAPIDARY_TRY(checkArray(text, capacity, "text"));
    std::string decoded =
        bundle->tokenizer.decode({ids, count}, special_tokens == 0);
    std::copy_n(decoded.begin(), std::min(capacity, decoded.size()), text);
    *bytes = decoded.size();
    return {};
  });
}

lapidary_status lapidary_session_create(const lapidary_bundle *bundle,
                                        const lapidary_session_options *options,
                                        lapidary_session **session) {
  return guarded([&]() -> Status {
    if (!bundle || !session)
      return invalidArgument("bundle or session is NULL");
    lapidary_session_options known;
    LAPIDARY_TRY(readStruct(options, known, "options"));
    SessionOptions chosen;
    chosen.context = known.context;
    chosen.chunk = known.chunk;
    chosen.threads = known.threads;
    chosen.device = known.device ? known.device : "cpu";
    chosen.snapshotMemory = known.snapshot_memory;
    chosen.gpuLayers = LAPIDARY_TRY(readGpuLayers(known.gpu_layers));
    const int32_t draft = LAPIDARY_TRY(
        readDraft(known.draft, *bundle->bundle->program().model()));
    chosen.drafts = draft == draftAuto ? mostAutoDrafts : draft;
    std::unique_ptr<Session> created =
        LAPIDARY_TRY(Session::create(bundle->bundle, chosen));
    *session = new lapidary_session{bundle->bundle, bundle->tokenizer,
                                    std::move(created), draft};
    return {};
  });
}

void lapidary_session_destroy(lapidary_session *session) { delete session; }

lapidary_status lapidary_session_embed_image(lapidary_session *session,
                                             const float *patches,
                                             const int32_t *positions,
                                             size_t count, float *embeddings) {
  return guardedStep(session, [&]() -> Status {
    if (!patches || !positions || !embeddings)
      return invalidArgument("patches, positions or embeddings is NULL");
    int64_t row = describe(*session->bundle->program().model()).patch_values;
    size_t values = LAPIDARY_TRY(product(count, row)),
           coordinates = LAPIDARY_TRY(product(count, 2));
    std::vector<float> rows = LAPIDARY_TRY(session->session->embedImage(
        {patches, values}, {positions, coordinates}));
    std::copy(rows.begin(), rows.end(), embeddings);
    return {};
  });
}

lapidary_status lapidary_session_embed_audio(lapidary_session *session,
                                             const float *frames, size_t count,
                                             float *embeddings) {
  return guardedStep(session, [&]() -> Status {
    if (!frames || !embeddings)
      return invalidArgument("frames or embeddings is NULL");
    int64_t row = describe(*session->bundle->program().model()).frame_samples;
    size_t values = LAPIDARY_TRY(product(count, row));
    std::vector<float> rows =
        LAPIDARY_TRY(session->session->embedAudio({frames, values}));
    std::copy(rows.begin(), rows.end(), embeddings);
    return {};
  });
}

lapidary_status lapidary_session_prefill(lapidary_session *session,
                                         const int32_t *tokens, size_t count,
                                         const lapidary_media *media,
                                         size_t media_count) {
  return guardedStep(session, [&]() -> Status {
    LAPIDARY_TRY(checkArray(tokens, count, "tokens"));
    Session::Prompt prompt{{tokens, count}, {}};
    for (const MediaInput &input :
         LAPIDARY_TRY(readMedia(*session->session, media, media_count)))
      prompt.media.push_back(input.embeddings);
    return session->session->prefill(prompt);
  });
}

lapidary_status lapidary_session_decode(lapidary_session *session,
                                        int32_t token) {
  return guardedStep(session, [&] { return session->session->decode(token); });
}

lapidary_status lapidary_session_logits(const lapidary_session *session,
                                        const float **logits, size_t *count) {
  return guarded([&]() -> Status {
    if (!session || !logits || !count)
      return invalidArgument("session, logits or count is NULL");
    std::span<const float> values = session->session->logits();
    if (values.empty())
      return invalidArgument("the session has no logits: no step has succeeded "
                             "since it was made, reset or failed, or the last "
                             "one was an answer's on a GPU");
    *logits = values.data();
    *count = values.size();
    return {};
  });
}

int64_t lapidary_session_position(const lapidary_session *session) {
  return session ? session->session->position() : -1;
}

lapidary_status lapidary_session_reset(lapidary_session *session) {
  return guarded([&]() -> Status {
    if (!session)
      return invalidArgument("the session is NULL");
    session->session->reset();
    return {};
  });
}

lapidary_status lapidary_session_go_back(lapidary_session *session,
                                         int64_t position, int64_t *reached) {
  return guarded([&]() -> Status {
    if (!session)
      return invalidArgument("the session is NULL");
    if (position < 0 || position > session->session->position())
      return invalidArgument(concat("the position is ", position,
                                    ", but the session has 0 to ",
                                    session->session->position()));
    int64_t found = session->session->goBack(position);
    if (reached)
      *reached = found;
    return {};
  });
}

lapidary_status lapidary_session_save(const lapidary_session *session,
                                      const char *path) {
  return guarded([&]() -> Status {
    if (!session || !path)
      return invalidArgument("session or path is NULL");
    return session->session->sequence().save(path);
  });
}

lapidary_status lapidary_session_load(lapidary_session *session,
                                      const char *path) {
  return guarded([&]() -> Status {
    if (!session || !path)
      return invalidArgument("session or path is NULL");
    return session->session->load(path);
  });
}

void lapidary_session_cancel(lapidary_session *session) {
  if (session)
    session->cancel = true;
}

lapidary_status lapidary_session_generate(
    lapidary_session *session, const int32_t *tokens, size_t count,
    const lapidary_media *media, size_t media_count,
    const lapidary_generate_options *options, int32_t *ids, size_t capacity,
    lapidary_generate_result *result) {
  return guardedStep(session, [&]() -> Status {
    LAPIDARY_TRY(checkArray(tokens, count, "tokens"));
    LAPIDARY_TRY(checkArray(ids, capacity, "ids"));
    if (result && result->size < sizeof(result->size))
      return invalidArgument(concat("result->size is ", result->size,
                                    ", expected sizeof(*result)"));
    lapidary_generate_options known;
    LAPIDARY_TRY(readStruct(options, known, "options"));
    GenerateInput input{
        {tokens, count},
        LAPIDARY_TRY(readMedia(*session->session, media, media_count)),
        known.whole != 0};
    return generateInto(*session, input, known, ids, capacity, result);
  });
}
