// generation_config.json. Ways to choose tokens that the runtime does not have
// must be switched off in it.
#include "frontends/formats/GenerationConfig.h"

#include "frontends/formats/Json.h"

namespace lapidary {

using nlohmann::json;

Status applyGenerationConfig(const std::optional<std::string> &text,
                             const std::string &origin, ModelConfig &model) {
  if (!text)
    return {};
  json root = LAPIDARY_TRY(parseJsonObject(*text, origin));
  JsonFields fields(root, origin, "");
  auto stops = LAPIDARY_TRY(
      fields.integers("eos_token_id", 0, model.text.vocabulary - 1));
  if (stops)
    model.stopTokens = *std::move(stops);
  auto suppress = LAPIDARY_TRY(
      fields.integers("suppress_tokens", 0, model.text.vocabulary - 1));
  if (suppress)
    model.suppressTokens = *std::move(suppress);
  model.bosToken = LAPIDARY_TRY(fields.integer("bos_token_id", model.bosToken,
                                               0, model.text.vocabulary - 1));
  model.padToken = LAPIDARY_TRY(fields.integer("pad_token_id", model.padToken,
                                               0, model.text.vocabulary - 1));
  SamplingConfig &sampling = model.sampling;
  sampling.enabled = LAPIDARY_TRY(fields.flag("do_sample", false));
  sampling.temperature = LAPIDARY_TRY(fields.number("temperature", 1, 0, 1e4));
  // The reference takes 50 where the file says nothing, and none where it says
  // null.
  sampling.topK = LAPIDARY_TRY(
      fields.integer("top_k", fields.has("top_k") ? 0 : 50, 0, INT32_MAX));
  sampling.topP = LAPIDARY_TRY(fields.number("top_p", 1, 0, 1));
  // Other ways to bend the distribution, at the values that leave it alone.
  for (const char *key :
       {"repetition_penalty", "encoder_repetition_penalty", "typical_p",
        "length_penalty", "num_beams", "num_beam_groups",
        "num_return_sequences", "guidance_scale"})
    LAPIDARY_TRY(fields.expect(key, {1}));
  for (const char *key :
       {"no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_p",
        "epsilon_cutoff", "eta_cutoff", "diversity_penalty", "min_length",
        "min_new_tokens", "penalty_alpha"})
    LAPIDARY_TRY(fields.expect(key, {0}));
  for (const char *key :
       {"bad_words_ids", "begin_suppress_tokens", "sequence_bias",
        "forced_bos_token_id", "forced_eos_token_id",
        "exponential_decay_length_penalty"})
    LAPIDARY_TRY(fields.expect(key, {}));
  // How long to go on, and how the reference keeps its cache.
  fields.ignore({"_from_model_config", "cache_implementation", "max_length",
                 "max_new_tokens", "transformers_version", "trust_remote_code",
                 "use_cache"});
  return fields.finish();
}

} // namespace lapidary
