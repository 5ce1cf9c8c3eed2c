// processor_config.json. The runtime's preprocessing is fixed, so the fields
// that would change it are compared with what it does.
#include "frontends/formats/ProcessorConfig.h"

#include "frontends/formats/Json.h"

#include <cmath>

namespace lapidary {

using nlohmann::json;

namespace {

/// What images and videos have in common. Returns the budget of soft tokens.
Result<int64_t> readPixels(JsonFields &fields, const VisionConfig &vision,
                           int64_t budget) {
  int64_t patch = LAPIDARY_TRY(fields.integer("patch_size", 16, 1, 1024));
  int64_t pooling =
      LAPIDARY_TRY(fields.integer("pooling_kernel_size", 3, 1, 64));
  if (patch * pooling != vision.patchSize)
    return invalidData(fields.where("patch_size") +
                       ": expected patch_size * pooling_kernel_size = " +
                       std::to_string(vision.patchSize) +
                       " as in config.json, found " +
                       std::to_string(patch * pooling));
  for (const char *key : {"do_resize", "do_rescale", "do_convert_rgb"})
    LAPIDARY_TRY(fields.expect(key, {true}));
  for (const char *key : {"do_center_crop", "do_pad"})
    LAPIDARY_TRY(fields.expect(key, {false}));
  // 3 is bicubic.
  LAPIDARY_TRY(fields.expect("resample", {3}));
  double factor =
      LAPIDARY_TRY(fields.number("rescale_factor", 1.0 / 255, 0, 1));
  if (std::abs(factor * 255 - 1) > 1e-6)
    return fields.wrong("rescale_factor", "1/255",
                        fields.get("rescale_factor"));
  // With these, normalizing changes nothing whether it is on or off.
  bool normalizes = LAPIDARY_TRY(fields.flag("do_normalize", false));
  const json *mean = fields.get("image_mean");
  const json *deviation = fields.get("image_std");
  if (normalizes && mean && *mean != json::array({0.0, 0.0, 0.0}))
    return fields.wrong("image_mean", "[0, 0, 0]", mean);
  if (normalizes && deviation && *deviation != json::array({1.0, 1.0, 1.0}))
    return fields.wrong("image_std", "[1, 1, 1]", deviation);
  fields.ignore({"crop_size", "data_format", "default_to_square", "device",
                 "disable_grouping", "image_seq_length", "input_data_format",
                 "processor_class", "return_tensors", "size", "size_divisor"});
  int64_t tokens =
      LAPIDARY_TRY(fields.integer("max_soft_tokens", budget, 1, 1120));
  for (int64_t known : {70, 140, 280, 560, 1120})
    if (tokens == known)
      return tokens;
  return fields.wrong("max_soft_tokens", "70, 140, 280, 560 or 1120",
                      fields.get("max_soft_tokens"));
}

Status readImages(const json &object, const std::string &origin,
                  VisionConfig &vision) {
  JsonFields fields(object, origin, "image_processor.");
  fields.ignore({"image_processor_type"});
  vision.maxSoftTokens =
      LAPIDARY_TRY(readPixels(fields, vision, vision.maxSoftTokens));
  return fields.finish();
}

Status readVideos(const json &object, const std::string &origin,
                  VisionConfig &vision) {
  JsonFields fields(object, origin, "video_processor.");
  fields.ignore({"video_processor_type", "return_metadata", "video_metadata"});
  LAPIDARY_TRY(fields.expect("do_sample_frames", {true}));
  // Frames are chosen by number, not by rate.
  LAPIDARY_TRY(fields.expect("fps", {}));
  vision.videoSoftTokens =
      LAPIDARY_TRY(readPixels(fields, vision, vision.videoSoftTokens));
  vision.videoFrames =
      LAPIDARY_TRY(fields.integer("num_frames", vision.videoFrames, 1, 4096));
  return fields.finish();
}

Status readSounds(const json &object, const std::string &origin,
                  AudioConfig &audio) {
  JsonFields fields(object, origin, "feature_extractor.");
  fields.ignore(
      {"feature_extractor_type", "processor_class", "return_attention_mask"});
  for (const char *key : {"audio_samples_per_token", "feature_size"})
    LAPIDARY_TRY(fields.expect(key, {audio.samplesPerToken}));
  LAPIDARY_TRY(fields.expect("padding_side", {"right"}));
  LAPIDARY_TRY(fields.expect("padding_value", {0.0}));
  audio.rate =
      LAPIDARY_TRY(fields.integer("sampling_rate", audio.rate, 1000, 384000));
  return fields.finish();
}

} // namespace

Status applyProcessorConfig(const std::optional<std::string> &text,
                            const std::string &origin, ModelConfig &model) {
  if (model.vision) {
    model.vision->maxSoftTokens = 280;
    model.vision->videoSoftTokens = 70;
    model.vision->videoFrames = 32;
  }
  if (model.audio) {
    model.audio->rate = 16000;
    model.audio->maxTokens = 750;
  }
  if (!text)
    return {};
  json root = LAPIDARY_TRY(parseJsonObject(*text, origin));
  JsonFields fields(root, origin, "");
  // The lengths of single inputs follow from the inputs.
  fields.ignore({"processor_class", "image_seq_length", "audio_ms_per_token"});
  const json *images = LAPIDARY_TRY(fields.child("image_processor"));
  const json *videos = LAPIDARY_TRY(fields.child("video_processor"));
  const json *sounds = LAPIDARY_TRY(fields.child("feature_extractor"));
  // Without the modality its processor is never used.
  if (images && model.vision)
    LAPIDARY_TRY(readImages(*images, origin, *model.vision));
  if (videos && model.vision)
    LAPIDARY_TRY(readVideos(*videos, origin, *model.vision));
  if (sounds && model.audio)
    LAPIDARY_TRY(readSounds(*sounds, origin, *model.audio));
  int64_t longest =
      LAPIDARY_TRY(fields.integer("audio_seq_length", 750, 1, 1 << 20));
  if (model.audio)
    model.audio->maxTokens = longest;
  return fields.finish();
}

} // namespace lapidary
