// The fields that say how to answer. Names are OpenAI's, and llama-server's
// where OpenAI has none.
#include "tools/serve/RequestParts.h"

#include "runtime/core/Text.h"

#include <charconv>

namespace lapidary::serve {

namespace {

constexpr int64_t mostTokens = int64_t(1) << 40;
constexpr size_t mostStops = 16, longestStop = 1024;
// Every chunk of a stream repeats it.
constexpr size_t longestModel = 256;

void addBias(const Parsing &parsing, const std::string &place,
             const Json &token, const Json &bias) {
  int64_t id = -1;
  if (token.is_string()) {
    const auto &text = token.get_ref<const std::string &>();
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size())
      id = -1;
  } else if (token.is_number_integer()) {
    id = token.is_number_unsigned() && token.get<uint64_t>() > INT32_MAX
             ? -1
             : token.get<int64_t>();
  }
  if (id < 0 || id >= parsing.limits.vocabulary)
    return parsing.problems.add(place,
                                concat("'", place,
                                       "' names a token that is no id from 0 "
                                       "to ",
                                       parsing.limits.vocabulary - 1));
  const bool never = bias.is_boolean() && !bias.get<bool>();
  if (!never && (!bias.is_number() || !(bias.get<double>() >= -100) ||
                 !(bias.get<double>() <= 100)))
    return parsing.problems.add(
        place, concat("'", place, "': the bias of ", id,
                      " must be a number from -100 to 100, or false"));
  // As in OpenAI's API, the least bias is a ban.
  const float value = never ? -100 : bias.get<float>();
  parsing.request.sampling.logitBias.emplace_back(static_cast<int32_t>(id),
                                                  value);
}

void readBias(const Parsing &parsing, const Fields &fields) {
  const Json *bias = fields.get("logit_bias");
  if (!bias)
    return;
  const std::string place = fields.where("logit_bias");
  if (bias->is_object()) {
    for (const auto &entry : bias->items())
      addBias(parsing, place, entry.key(), entry.value());
  } else if (bias->is_array() && bias->size() <= maxObjectMembers) {
    for (const Json &pair : *bias) {
      if (!pair.is_array() || pair.size() != 2)
        return fields.wrong("logit_bias", "an object, or pairs [id, bias]",
                            pair);
      addBias(parsing, place, pair[0], pair[1]);
    }
  } else {
    fields.wrong("logit_bias", "an object, or pairs [id, bias]", *bias);
  }
}

void readSampling(const Parsing &parsing, const Fields &fields) {
  SamplingFields &sampling = parsing.request.sampling;
  sampling.temperature = fields.number("temperature", 0, 100);
  sampling.topP = fields.number("top_p", 0, 1);
  sampling.minP = fields.number("min_p", 0, 1);
  sampling.typicalP = fields.number("typical_p", 0, 1);
  sampling.repeatPenalty = fields.number("repeat_penalty", 0.01, 100);
  sampling.presencePenalty = fields.number("presence_penalty", -100, 100);
  sampling.frequencyPenalty = fields.number("frequency_penalty", -100, 100);
  sampling.topK = fields.integer("top_k", -1, INT32_MAX);
  sampling.repeatLastN = fields.integer("repeat_last_n", -1, INT32_MAX);
  // -1 is a random one, as llama-server has it.
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX);
      seed && *seed != -1)
    sampling.seed = static_cast<uint64_t>(*seed);
  readBias(parsing, fields);
}

} // namespace

void readStop(const Parsing &parsing, const Fields &fields, const char *key) {
  const Json *stop = fields.get(key);
  if (!stop)
    return;
  const Json list = stop->is_string() ? Json::array({*stop}) : *stop;
  if (!list.is_array() || list.size() > mostStops)
    return fields.wrong(
        key, concat("a string or up to ", mostStops, " of them"), *stop);
  for (const Json &text : list) {
    if (!text.is_string() || text.get_ref<const std::string &>().empty() ||
        text.get_ref<const std::string &>().size() > longestStop)
      return fields.wrong(
          key, concat("strings of 1 to ", longestStop, " bytes"), text);
    parsing.request.stop.push_back(text.get<std::string>());
  }
}

void readCommon(const Parsing &parsing, const Fields &fields) {
  ChatRequest &request = parsing.request;
  request.model = fields.string("model").value_or("");
  if (request.model.size() > longestModel)
    fields.fail("model",
                concat("'model' has more than ", longestModel, " bytes"));
  request.stream = fields.flag("stream");
  if (const Json *options = fields.child("stream_options"))
    request.includeUsage = Fields(*options, "stream_options.", parsing.problems)
                               .flag("include_usage");
  for (const char *key : {"max_tokens", "max_completion_tokens", "n_predict"})
    if (const auto tokens = fields.integer(key, -1, mostTokens)) {
      if (*tokens == 0)
        fields.fail(key, concat("'", key, "' must be 1 or more, or -1"));
      request.maxTokens = std::max<int64_t>(*tokens, 0);
    }
  request.choices = static_cast<int32_t>(
      fields.integer("n", 1, parsing.limits.maxChoices).value_or(1));
  if (const auto milliseconds =
          fields.integer("t_max_predict_ms", -1, int64_t(1) << 40);
      milliseconds && *milliseconds > 0)
    request.maxSeconds = static_cast<double>(*milliseconds) / 1000;
  request.ignoreEnd = fields.flag("ignore_eos");
  readStop(parsing, fields, "stop");
  readSampling(parsing, fields);
  request.rules.grammar = fields.string("grammar").value_or("");
  if (const Json *schema = fields.child("json_schema"))
    request.rules.schema = *schema;
}

void finishRules(const Parsing &parsing) {
  // Where the rules allow nothing but the end, there would be no token left.
  if (parsing.request.ignoreEnd && isShaped(parsing.request.rules))
    parsing.problems.add("ignore_eos",
                         "'ignore_eos' cannot be had together with tools, a "
                         "schema or a grammar, which say where answers end");
}

void readEffort(const Parsing &parsing, const std::string &effort,
                const std::string &place) {
  struct Level {
    const char *name;
    int64_t budget;
  };
  constexpr Level levels[] = {{"none", 0},   {"minimal", 256},
                              {"low", 1024}, {"medium", 4096},
                              {"high", -1},  {"xhigh", -1}};
  for (const Level &level : levels)
    if (effort == level.name) {
      parsing.request.thinking = level.budget != 0;
      parsing.request.rules.thinkingBudget = level.budget;
      return;
    }
  parsing.problems.add(place, concat("'", place,
                                     "' must be none, minimal, low, medium, "
                                     "high or xhigh"));
}

} // namespace lapidary::serve
