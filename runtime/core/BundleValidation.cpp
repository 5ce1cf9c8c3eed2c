// Checks of an untrusted program. Limits on counts are far above any model's
// and only keep later arithmetic within 64 bits: a check here is what lets the
// rest of the runtime multiply without looking.
#include "runtime/core/BundleValidation.h"

#include "runtime/core/Bundle.h"
#include "runtime/core/Limits.h"
#include "runtime/core/ValidationChecks.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lapidary {
namespace {

using flatbuffers::Vector;

constexpr int64_t maxVocabulary = 1 << 24, maxHidden = 1 << 20,
                  maxLayers = 1 << 16;
/// Positions are 32-bit in the kernels' inputs.
constexpr int64_t maxContext = (int64_t(1) << 31) - 64;
constexpr uint64_t maxRowBytes = uint64_t(1) << 24;
constexpr size_t maxCaches = 1 << 20;

Status checkTokens(const Vector<int32_t> *tokens, int64_t vocabulary,
                   std::string_view what) {
  if (!tokens)
    return {};
  for (int32_t token : *tokens)
    if (token < 0 || token >= vocabulary)
      return invalidData(concat(what, " have the token ", token,
                                ", but the vocabulary ends at ",
                                vocabulary - 1));
  return {};
}

Status checkFinite(const Vector<float> *values, std::string_view what) {
  if (!values)
    return {};
  for (float value : *values)
    if (!std::isfinite(value))
      return invalidData(concat(what, " have a value that is not finite"));
  return {};
}

template <typename T> size_t count(const Vector<T> *vector) {
  return vector ? vector->size() : 0;
}

class Validator {
public:
  Validator(const schema::Program &program, uint64_t programEnd,
            uint64_t fileBytes)
      : program(program), model(*program.model()), programEnd(programEnd),
        fileBytes(fileBytes) {}

  Status check() {
    LAPIDARY_TRY(checkSegments());
    LAPIDARY_TRY(checkModel());
    LAPIDARY_TRY(checkSchemes());
    LAPIDARY_TRY(checkWeights());
    LAPIDARY_TRY(checkCaches());
    LAPIDARY_TRY(validateTargets(program));
    return checkSelfTests();
  }

private:
  Status checkSegments();
  Status checkModel();
  Status checkSchemes();
  bool hasScheme(std::string_view name) const;
  Status checkWeights();
  Status checkCaches();
  Status checkSelfTests();
  Status checkSelfTest(const schema::SelfTest &test, const std::string &what);
  bool isSoft(int32_t token) const {
    return token >= 0 &&
           (token == model.image_token() || token == model.video_token() ||
            token == model.audio_token());
  }

  const schema::Program &program;
  const schema::Model &model;
  uint64_t programEnd, fileBytes;
};

Status Validator::checkSegments() {
  std::vector<std::pair<uint64_t, uint32_t>> order;
  uint64_t end = programEnd;
  const auto &segments = *program.segments();
  for (uint32_t index = 0; index < segments.size(); ++index) {
    const schema::Segment &segment = *segments.Get(index);
    std::string what = concat("segment ", index);
    if (segment.kind() > schema::SegmentKind::MAX)
      return invalidData(
          concat(what, " has the unknown kind ", int(segment.kind())));
    if (segment.offset() % bundleSegmentAlignment != 0)
      return invalidData(concat(what, " begins at byte ", segment.offset(),
                                ", expected a multiple of ",
                                bundleSegmentAlignment));
    if (segment.size() == 0)
      return invalidData(concat(what, " is empty"));
    if (segment.size() > UINT64_MAX - segment.offset())
      return invalidData(concat(what, " has ", segment.size(),
                                " bytes, more than 64 bits can address"));
    if (segment.offset() < programEnd)
      return invalidData(concat(what, " begins at byte ", segment.offset(),
                                ", inside the program, which ends at ",
                                programEnd));
    end = std::max(end, segment.offset() + segment.size());
    order.emplace_back(segment.offset(), index);
  }
  std::sort(order.begin(), order.end());
  for (size_t next = 1; next < order.size(); ++next) {
    const schema::Segment &before = *segments.Get(order[next - 1].second);
    if (order[next].first < before.offset() + before.size())
      return invalidData(concat("segments ", order[next - 1].second, " and ",
                                order[next].second, " overlap at byte ",
                                order[next].first));
  }
  if (end > fileBytes)
    return invalidData(concat("the file is truncated: it has ", fileBytes,
                              " bytes, expected ", end));
  // A writer may pad the last segment to a whole page.
  if (fileBytes - end >= bundleSegmentAlignment)
    return invalidData(concat("the file has ", fileBytes,
                              " bytes, but its last segment ends at ", end));
  if (program.chat_template() >= 0)
    LAPIDARY_TRY(checkSegmentIndex(
        program, static_cast<uint32_t>(program.chat_template()),
        schema::SegmentKind::ChatTemplate, "the chat template"));
  return checkSegmentIndex(program, program.tokenizer(),
                           schema::SegmentKind::Tokenizer, "the tokenizer");
}

Status Validator::checkModel() {
  LAPIDARY_TRY(checkName(program.producer(), "the producer"));
  LAPIDARY_TRY(checkName(model.name(), "the model"));
  LAPIDARY_TRY(checkName(model.architecture(), "the model's architecture"));
  LAPIDARY_TRY(checkRange(model.vocabulary(), 1, maxVocabulary,
                          "the model's vocabulary"));
  LAPIDARY_TRY(
      checkRange(model.hidden(), 1, maxHidden, "the model's hidden size"));
  LAPIDARY_TRY(
      checkRange(model.layers(), 1, maxLayers, "the model's layer count"));
  LAPIDARY_TRY(
      checkRange(model.context(), 1, maxContext, "the model's context"));
  int64_t last = model.vocabulary() - 1;
  LAPIDARY_TRY(
      checkRange(model.bos_token(), -1, last, "the model's bos_token"));
  LAPIDARY_TRY(
      checkRange(model.pad_token(), -1, last, "the model's pad_token"));
  LAPIDARY_TRY(
      checkRange(model.image_token(), -1, last, "the model's image_token"));
  LAPIDARY_TRY(
      checkRange(model.video_token(), -1, last, "the model's video_token"));
  LAPIDARY_TRY(
      checkRange(model.audio_token(), -1, last, "the model's audio_token"));
  LAPIDARY_TRY(checkTokens(model.stop_tokens(), model.vocabulary(),
                           "the model's stop_tokens"));
  LAPIDARY_TRY(checkTokens(model.suppress_tokens(), model.vocabulary(),
                           "the model's suppress_tokens"));
  if (const schema::Vision *vision = model.vision()) {
    LAPIDARY_TRY(checkRange(vision->patch_size(), 1, maxPatchSize,
                            "the vision patch_size"));
    LAPIDARY_TRY(checkRange(vision->max_soft_tokens(), 1, maxStepTokens,
                            "the vision max_soft_tokens"));
    LAPIDARY_TRY(checkRange(vision->video_soft_tokens(), 0, maxStepTokens,
                            "the vision video_soft_tokens"));
    LAPIDARY_TRY(checkRange(vision->video_frames(), 0, maxStepTokens,
                            "the vision video_frames"));
    LAPIDARY_TRY(
        checkRange(vision->positions(), 1, maxContext, "the vision positions"));
  }
  if (const schema::Audio *audio = model.audio()) {
    LAPIDARY_TRY(checkRange(audio->rate(), 1, 1 << 20, "the audio rate"));
    LAPIDARY_TRY(checkRange(audio->samples_per_token(), 1, 1 << 20,
                            "the audio samples_per_token"));
    LAPIDARY_TRY(checkRange(audio->max_tokens(), 1, maxStepTokens,
                            "the audio max_tokens"));
  }
  if (const schema::Sampling *sampling = model.sampling()) {
    // Written so that NaN fails.
    if (!(sampling->temperature() >= 0 && sampling->temperature() <= 1e6f))
      return invalidData(
          "the suggested temperature is not within 0 to 1000000");
    if (!(sampling->top_p() >= 0 && sampling->top_p() <= 1))
      return invalidData("the suggested top_p is not within 0 to 1");
    LAPIDARY_TRY(
        checkRange(sampling->top_k(), 0, maxVocabulary, "the suggested top_k"));
  }
  return {};
}

bool Validator::hasScheme(std::string_view name) const {
  if (!program.schemes())
    return false;
  return std::ranges::any_of(*program.schemes(), [&](const auto *scheme) {
    return scheme->name()->string_view() == name;
  });
}

Status Validator::checkSchemes() {
  UniqueNames names;
  if (!program.schemes())
    return {};
  // Far above what a checkpoint of mixed types has.
  constexpr uint32_t maxSchemes = 1024;
  if (program.schemes()->size() > maxSchemes)
    return invalidData(concat("the program has ", program.schemes()->size(),
                              " schemes, expected at most ", maxSchemes));
  for (const schema::Scheme *scheme : *program.schemes()) {
    LAPIDARY_TRY(checkName(scheme->name(), "a scheme"));
    names.add(scheme->name());
  }
  return names.check("schemes");
}

Status Validator::checkWeights() {
  UniqueNames names;
  for (uint32_t index = 0; index < program.weights()->size(); ++index) {
    const schema::Weight &weight = *program.weights()->Get(index);
    LAPIDARY_TRY(checkName(weight.name(), concat("weight ", index)));
    std::string what = concat("weight ", quote(weight.name()));
    LAPIDARY_TRY(checkName(weight.scheme(), concat("the scheme of ", what)));
    LAPIDARY_TRY(checkName(weight.layout(), concat("the layout of ", what)));
    LAPIDARY_TRY(checkSegmentIndex(program, weight.segment(),
                                   schema::SegmentKind::Weight, what));
    names.add(weight.name());

    LAPIDARY_TRY(checkAlignment(weight.shape(), what));
    int64_t elements = 1;
    for (int64_t size : *weight.shape())
      if (size < 1 || __builtin_mul_overflow(elements, size, &elements) ||
          elements > maxElements)
        return invalidData(
            concat(what, " has a dimension of ", size,
                   " in its shape, which is below 1 or too large"));
    // Layouts may pad, so these are lower bounds; how many bits a quantized
    // weight has is the compiler's own affair, but it has one at least.
    std::string_view scheme = weight.scheme()->string_view();
    uint64_t least = uint64_t(elements) / 8;
    if (scheme == "f32")
      least = uint64_t(elements) * 4;
    else if (scheme == "bf16" || scheme == "f16")
      least = uint64_t(elements) * 2;
    else if (!hasScheme(scheme))
      return invalidData(concat(what, " is stored in the scheme \"", scheme,
                                "\", which the program does not have"));
    uint64_t size = program.segments()->Get(weight.segment())->size();
    if (size < least)
      return invalidData(concat(what, " needs at least ", least, " bytes as ",
                                scheme, ", but its segment ", weight.segment(),
                                " has ", size));
  }
  return names.check("weights");
}

Status Validator::checkCaches() {
  UniqueNames names;
  if (program.caches()->size() > maxCaches)
    return invalidData(concat("the program has ", program.caches()->size(),
                              " caches, expected at most ", maxCaches));
  for (uint32_t index = 0; index < program.caches()->size(); ++index) {
    const schema::Cache &cache = *program.caches()->Get(index);
    LAPIDARY_TRY(checkName(cache.name(), concat("cache ", index)));
    std::string what = concat("cache ", quote(cache.name()));
    names.add(cache.name());
    if (cache.format())
      LAPIDARY_TRY(checkName(cache.format(), concat("the format of ", what)));
    if (cache.kind() > schema::CacheKind::MAX)
      return invalidData(
          concat(what, " has the unknown kind ", int(cache.kind())));
    if (cache.row_bytes() < 1 || cache.row_bytes() > maxRowBytes)
      return invalidData(concat(what, " has rows of ", cache.row_bytes(),
                                " bytes, expected 1 to ", maxRowBytes));
    bool ring = cache.kind() == schema::CacheKind::Ring;
    LAPIDARY_TRY(checkRange(cache.window(), ring ? 1 : 0, ring ? maxContext : 0,
                            concat("the window of ", what)));
  }
  return names.check("caches");
}

Status Validator::checkSelfTests() {
  UniqueNames names;
  for (uint32_t index = 0; index < program.self_tests()->size(); ++index) {
    const schema::SelfTest &test = *program.self_tests()->Get(index);
    LAPIDARY_TRY(checkName(test.name(), concat("self-test ", index)));
    LAPIDARY_TRY(checkSelfTest(test, concat("self-test ", quote(test.name()))));
    names.add(test.name());
  }
  return names.check("self-tests");
}

Status Validator::checkSelfTest(const schema::SelfTest &test,
                                const std::string &what) {
  if (test.tokens()->size() == 0)
    return invalidData(concat(what, " has no tokens"));
  LAPIDARY_TRY(checkTokens(test.tokens(), model.vocabulary(),
                           concat("the tokens of ", what)));
  LAPIDARY_TRY(checkTokens(test.decoded(), model.vocabulary(),
                           concat("the decoded tokens of ", what)));
  LAPIDARY_TRY(checkTokens(test.logit_ids(), model.vocabulary(),
                           concat("the logit_ids of ", what)));
  if (int64_t(test.tokens()->size()) + int64_t(count(test.decoded())) >
      model.context())
    return invalidData(concat(what,
                              " has more tokens than the model's context of ",
                              model.context()));
  if (test.logits()->size() == 0 ||
      test.logits()->size() != test.logit_ids()->size())
    return invalidData(
        concat(what, " has ", test.logits()->size(), " logits for ",
               test.logit_ids()->size(),
               " logit_ids, expected as many, and one at least"));
  LAPIDARY_TRY(checkFinite(test.logits(), concat("the logits of ", what)));
  LAPIDARY_TRY(
      checkFinite(test.embeddings(), concat("the embeddings of ", what)));
  LAPIDARY_TRY(checkFinite(test.patches(), concat("the patches of ", what)));
  LAPIDARY_TRY(checkFinite(test.frames(), concat("the frames of ", what)));
  if (!(test.bound() > 0 && std::isfinite(test.bound())))
    return invalidData(concat(what, " has no bound above 0"));
  LAPIDARY_TRY(checkRange(test.embedding_stride(), 1, INT32_MAX,
                          concat("the embedding_stride of ", what)));

  uint64_t rows = 0;
  size_t patches = count(test.patches()), frames = count(test.frames());
  if (patches) {
    if (!model.vision())
      return invalidData(
          concat(what, " has patches, but the model has no vision"));
    uint64_t size = uint64_t(model.vision()->patch_size()) *
                    model.vision()->patch_size() * 3;
    rows += patches / size;
    if (patches % size != 0)
      return invalidData(concat(what, " has ", patches,
                                " patch values, expected a multiple of ",
                                size));
    for (uint32_t index = 0; index < count(test.positions()); ++index)
      if (int32_t position = test.positions()->Get(index);
          position < 0 || position >= model.vision()->positions())
        return invalidData(concat(what, " has the patch position ", position,
                                  ", expected 0 to ",
                                  model.vision()->positions() - 1));
  }
  // Only patches have been counted so far.
  if (count(test.positions()) != rows * 2)
    return invalidData(concat(what, " has ", count(test.positions()),
                              " position values, expected ", rows * 2));
  if (frames) {
    if (!model.audio())
      return invalidData(
          concat(what, " has frames, but the model has no audio"));
    uint64_t size = uint64_t(model.audio()->samples_per_token());
    rows += frames / size;
    if (frames % size != 0)
      return invalidData(concat(what, " has ", frames,
                                " samples, expected a multiple of ", size));
  }
  if (rows &&
      !(test.embedding_bound() > 0 && std::isfinite(test.embedding_bound())))
    return invalidData(concat(what, " has no embedding_bound above 0"));
  uint64_t soft = std::count_if(test.tokens()->begin(), test.tokens()->end(),
                                [&](int32_t t) { return isSoft(t); });
  if (soft != rows)
    return invalidData(concat(what, " has ", soft, " soft tokens for ", rows,
                              " rows of media"));
  uint64_t stride = test.embedding_stride();
  uint64_t values = (rows * uint64_t(model.hidden()) + stride - 1) / stride;
  if (count(test.embeddings()) != values)
    return invalidData(concat(what, " has ", count(test.embeddings()),
                              " embedding values, expected ", values));
  return {};
}

} // namespace

std::optional<int64_t> evaluate(const schema::Extent &extent, int64_t tokens) {
  int64_t value;
  if (__builtin_mul_overflow(extent.per_token(), tokens, &value) ||
      __builtin_add_overflow(value, extent.constant(), &value))
    return std::nullopt;
  return value;
}

Status validateProgram(const schema::Program &program, uint64_t programEnd,
                       uint64_t fileBytes) {
  return Validator(program, programEnd, fileBytes).check();
}

} // namespace lapidary
