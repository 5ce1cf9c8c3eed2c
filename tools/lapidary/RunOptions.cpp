// Help texts are for people who never ran a model; each names the unit and what
// happens without the option.
#include "tools/lapidary/RunOptions.h"

#include "runtime/core/Limits.h"
#include "runtime/model/EntryPoints.h"
#include "tools/lapidary/Command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>

namespace lapidary::cli {

namespace {

/// The budgets that the model was trained with.
constexpr std::array<int32_t, 5> imageBudgets = {70, 140, 280, 560, 1120};
constexpr const char *budgetList = "70, 140, 280, 560 or 1120";

} // namespace

Result<MediaFile> parseImage(const std::string &argument, int32_t budget) {
  MediaFile file{MediaKind::Image, argument, budget};
  const size_t colon = argument.rfind(':');
  if (colon == std::string::npos || colon + 1 == argument.size() || colon == 0)
    return file;
  const std::string digits = argument.substr(colon + 1);
  if (digits.find_first_not_of("0123456789") != std::string::npos)
    return file;
  std::error_code error;
  if (std::filesystem::exists(argument, error))
    return file;
  const auto found = std::find_if(
      imageBudgets.begin(), imageBudgets.end(),
      [&](int32_t allowed) { return std::to_string(allowed) == digits; });
  if (found == imageBudgets.end()) {
    return invalidArgument("--image " + argument +
                           ": an image's budget of soft tokens is " +
                           budgetList + ", not " + digits);
  }
  file.path = argument.substr(0, colon);
  file.imageTokens = *found;
  return file;
}

namespace {

void addPromptOptions(CLI::App &command, RunOptions &options) {
  const char *group = "Prompt";
  CLI::Option *prompt =
      command
          .add_option("-p,--prompt", options.prompt,
                      "What to say to the model; - reads stdin")
          ->type_name("TEXT")
          ->group(group);
  CLI::Option *system =
      command
          .add_option("--system", options.system,
                      "Instructions that come before the conversation")
          ->type_name("TEXT")
          ->group(group);
  CLI::Option *raw =
      command
          .add_flag(
              "--raw", options.raw,
              "Take -p as the whole prompt, without the form of a chat; <bos> "
              "is not put before "
              "it, and media fill the <|image|>, <|audio|> and <|video|> in it")
          ->needs(prompt)
          ->excludes(system)
          ->group(group);
  command
      .add_option("--messages", options.messages,
                  "Instead of -p: a JSON file {\"messages\": [...], "
                  "\"tools\": [...]} with a whole conversation as "
                  "OpenAI's API writes it; media files fill its placeholders "
                  "in order; - reads stdin")
      ->type_name("FILE")
      ->excludes(prompt)
      ->excludes(system)
      ->excludes(raw)
      ->group(group);
}

void addMediaOptions(CLI::App &command, RunOptions &options) {
  const char *group = "Media (as often as you like; they come before the text "
                      "in the order given)";
  command
      .add_option("--image", options.images,
                  "PNG, JPEG or WebP; FILE:N gives this image N soft tokens "
                  "(see --image-tokens)")
      ->type_name("FILE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--audio", options.sounds,
                  "WAV, FLAC, OGG or MP3, 30 seconds at most")
      ->type_name("FILE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--video", options.videos,
                  "MP4, WebM or GIF, or a folder of images")
      ->type_name("FILE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option(
          "--image-tokens", options.imageTokens,
          std::string(
              "How closely images are looked at, in soft tokens each: ") +
              budgetList +
              "; 1120 reads documents. The checkpoint's own budget unless "
              "given")
      ->type_name("N")
      ->check(CLI::IsMember(
          std::vector<int32_t>(imageBudgets.begin(), imageBudgets.end())))
      ->group(group);
  command
      .add_option("--video-fps", options.videoFps,
                  "Frames a second to take from a video file (evenly spread "
                  "frames unless given), or that a folder "
                  "holds (1 unless given)")
      ->type_name("N")
      ->check(inRange(0.001, 1000))
      ->group(group);
}

void addOutputOptions(CLI::App &command, RunOptions &options) {
  CLI::Option *json = command.add_flag(
      "--json", options.json,
      "Print one JSON object at the end: prompt_tokens, prompt_ids, "
      "reused_tokens, ids, text, logprobs, token_logprobs, finish_reason, "
      "stop_string, steps, drafted_tokens, accepted_tokens, timings");
  command
      .add_option("--logprobs", options.logprobs,
                  "With --json: for each token of the answer, the N likeliest "
                  "tokens and their log-probabilities")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->needs(json);
  command.add_flag(
      "--special", options.special,
      "Show special tokens in the text: turns, tool calls, channels");
}

void addPenaltyOptions(CLI::App &command, RunOptions &options,
                       const char *group) {
  command
      .add_option("--repeat-penalty", options.penalties.repeat,
                  "Make tokens that came before less likely: divides positive "
                  "logits and multiplies negative ones; 1, which is off, "
                  "unless given")
      ->type_name("X")
      ->check(inRange(0.001, 1000))
      ->group(group);
  command
      .add_option("--repeat-last-n", options.penalties.lastTokens,
                  "How many of the last tokens of prompt and answer the "
                  "penalties count; 0 none, -1 all, 64 unless given")
      ->type_name("N")
      ->check(CLI::Range(-1, 1 << 30))
      ->group(group);
  command
      .add_option("--presence-penalty", options.penalties.presence,
                  "Taken from the logits of tokens that came before; 0 unless "
                  "given")
      ->type_name("X")
      ->check(inRange(-100, 100))
      ->group(group);
  command
      .add_option("--frequency-penalty", options.penalties.frequency,
                  "Taken from a token's logit for each time that it came "
                  "before; 0 unless given")
      ->type_name("X")
      ->check(inRange(-100, 100))
      ->group(group);
}

} // namespace

Result<TokenBias> parseTokenBias(const std::string &text) {
  TokenBias bias;
  const char *end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, bias.id);
  bool good = error == std::errc() && after != end && *after == '=';
  if (good) {
    const auto [last, wrong] = std::from_chars(after + 1, end, bias.bias);
    good = wrong == std::errc() && last == end &&
           (std::abs(bias.bias) <= 1e6f ||
            bias.bias == -std::numeric_limits<float>::infinity());
  }
  if (!good || bias.id < 0)
    return invalidArgument("'" + text +
                           "' is not ID=BIAS, a token's number and a number "
                           "from -1000000 to 1000000 or -inf");
  return bias;
}

void addSamplingOptions(CLI::App &command, RunOptions &options) {
  const char *group =
      "Answer (sampled as the checkpoint suggests, unless these say otherwise)";
  command
      .add_option("--max-tokens", options.maxTokens,
                  "Longest answer; until the context is full unless given")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40))
      ->group(group);
  command
      .add_option("--temperature", options.temperature,
                  "How freely to choose: 0 always takes the likeliest token, 1 "
                  "follows the model's probabilities")
      ->type_name("T")
      ->check(inRange(0, 100))
      ->group(group);
  command
      .add_option("--top-k", options.topK,
                  "Choose among the N likeliest tokens only; 0 is no limit")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 30))
      ->group(group);
  command
      .add_option("--top-p", options.topP,
                  "Choose among the likeliest tokens that have this "
                  "probability together; 1 is no limit")
      ->type_name("P")
      ->check(inRange(0, 1))
      ->group(group);
  command
      .add_option("--min-p", options.minP,
                  "Choose among tokens that are at least P times as likely as "
                  "the likeliest; 0 is no limit")
      ->type_name("P")
      ->check(inRange(0, 1))
      ->group(group);
  command
      .add_option("--typical-p", options.typicalP,
                  "Choose among the tokens that surprise as much as the model "
                  "expects, which have this probability together; 1 is no "
                  "limit")
      ->type_name("P")
      ->check(inRange(0, 1))
      ->group(group);
  addPenaltyOptions(command, options, group);
  command
      .add_option_function<std::vector<std::string>>(
          "--logit-bias",
          [&options](const std::vector<std::string> &texts) {
            for (const std::string &text : texts) {
              const Result<TokenBias> bias = parseTokenBias(text);
              if (!bias.ok())
                throw CLI::ValidationError("--logit-bias",
                                           bias.status().message());
              options.logitBias.push_back(*bias);
            }
          },
          "Add BIAS to the logit of token ID, as often as you like; -inf "
          "forbids the token (lapidary tokenize tells ids)")
      ->type_name("ID=BIAS")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--stop", options.stop,
                  "End the answer before this text, as often as you like; in "
                  "thoughts and tool calls it ends nothing")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--seed", options.seed,
                  "The same seed gives the same answer; random unless given")
      ->type_name("N")
      ->check([](const std::string &text) {
        // CLI11 would wrap a negative number around and cut a long one short.
        uint64_t value = 0;
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole =
            error == std::errc() && end == text.data() + text.size();
        return whole ? std::string()
                     : "'" + text + "' is no whole number from 0 to 2^64 - 1";
      })
      ->group(group);
  CLI::Option *schema =
      command
          .add_option("--json-schema", options.jsonSchema,
                      "Answer in JSON that this JSON schema allows: a file, or "
                      "the schema itself; {} allows any JSON")
          ->type_name("FILE|TEXT")
          ->group(group);
  command
      .add_option("--grammar", options.grammar,
                  "Answer with a text of this grammar, a file in llama.cpp's "
                  "GBNF")
      ->type_name("FILE")
      ->excludes(schema)
      ->group(group);
}

void addDraftOption(CLI::App &command, std::string &draft,
                    const std::string &help) {
  const char *usual =
      "Guess N tokens ahead in each step, with the companion that the bundle "
      "has or else from the text so far: what is chosen has the same odds, "
      "only sooner. auto guesses as many as are worth it, and none where "
      "that is fastest; off never does. auto unless given, off for bundles "
      "without a "
      "companion";
  command.add_option("--draft", draft, help.empty() ? usual : help)
      ->type_name("N|auto|off")
      ->check([](const std::string &text) {
        int32_t value = 0;
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), value);
        const bool number = error == std::errc() &&
                            end == text.data() + text.size() && value >= 0 &&
                            value <= maxDrafts;
        return text == "auto" || text == "off" || number
                   ? std::string()
                   : "'" + text + "' is neither auto nor off nor 0 to " +
                         std::to_string(maxDrafts);
      });
}

int32_t chooseDraft(const std::string &draft, const schema::Model &model) {
  if (draft == "auto" || (draft.empty() && model.assistant()))
    return draftAuto;
  if (draft.empty() || draft == "off")
    return 0;
  return static_cast<int32_t>(std::strtol(draft.c_str(), nullptr, 10));
}

int32_t draftRoom(const std::string &draft, const schema::Model &model) {
  const int32_t chosen = chooseDraft(draft, model);
  return chosen == draftAuto ? mostAutoDrafts : chosen;
}

Result<SessionOptions> fitSession(const schema::Program &program,
                                  SessionOptions session, int64_t imageTokens,
                                  int64_t bound) {
  const schema::Model &model = *program.model();
  if (imageTokens > 0 && model.vision() && model.image_token() >= 0) {
    const schema::Target *target =
        LAPIDARY_TRY(findTarget(program, session.device));
    const int64_t most = std::min(
        {imageTokens, maxTokens(*target, "prefill"),
         session.context > 0 ? session.context : int64_t(model.context())});
    const std::vector<int32_t> image(static_cast<size_t>(most),
                                     model.image_token());
    session.chunk = LAPIDARY_TRY(requiredChunk(program, image, session));
  }
  const bool isGiven = session.context > 0;
  MemoryPlan plan = LAPIDARY_TRY(planMemory(program, session));
  while (!isGiven && !plan.fits() && plan.context > bound) {
    session.context = plan.context / 2;
    plan = LAPIDARY_TRY(planMemory(program, session));
  }
  if (!isGiven && session.context > 0 && plan.fits())
    std::fprintf(stderr,
                 "lapidary: context %lld, which is what fits into memory; "
                 "--context chooses another\n",
                 static_cast<long long>(session.context));
  return session;
}

std::string describeDrafts(int64_t steps, uint64_t tokens, int64_t drafted,
                           int64_t accepted) {
  if (drafted == 0 || steps == 0)
    return "";
  char text[128];
  std::snprintf(
      text, sizeof(text), ", %.2f tokens a step, %.0f %% of %lld drafts right",
      static_cast<double>(tokens) / static_cast<double>(steps),
      100 * static_cast<double>(accepted) / static_cast<double>(drafted),
      static_cast<long long>(drafted));
  return text;
}

GenerateOptions makeGenerateOptions(const RunOptions &options,
                                    const schema::Model &model) {
  GenerateOptions generate;
  generate.maxTokens = options.maxTokens;
  generate.logprobs = options.logprobs;
  generate.specialTokens = options.special;
  generate.draft = chooseDraft(options.draft, model);
  generate.sampling = suggestedSampling(model);
  if (options.temperature)
    generate.sampling.temperature = *options.temperature;
  else if ((options.topK || options.topP || options.minP || options.typicalP) &&
           generate.sampling.temperature == 0)
    generate.sampling.temperature = 1;
  if (options.topK)
    generate.sampling.topK = *options.topK;
  if (options.topP)
    generate.sampling.topP = *options.topP;
  generate.sampling.minP = options.minP.value_or(0);
  generate.sampling.typicalP = options.typicalP.value_or(1);
  generate.sampling.penalties = options.penalties;
  generate.sampling.logitBias = options.logitBias;
  generate.stop = options.stop;
  if (options.seed) {
    generate.sampling.seed = *options.seed;
  } else {
    std::random_device device;
    generate.sampling.seed = (uint64_t(device()) << 32) | device();
  }
  return generate;
}

void addRunOptions(CLI::App &command, RunOptions &options) {
  addBundleArgument(command, options.bundle);
  addPromptOptions(command, options);
  addMediaOptions(command, options);
  addSamplingOptions(command, options);
  addOutputOptions(command, options);
  addContextOption(command, options.context,
                   "Positions to reserve memory for, prompt and answer; unless "
                   "given the model's longest, or what "
                   "fits into memory");
  addThreadsOption(command, options.threads);
  addDeviceOptions(command, options.device);
  addDraftOption(command, options.draft);
  command
      .add_option("--state", options.state,
                  "Keep what was read and answered in FILE: a next prompt that "
                  "begins alike, media included, reads only the rest. The file "
                  "is made if it is not there, and is good for this bundle "
                  "only; it never changes an answer")
      ->type_name("FILE");
  addLockOption(command, options.lock);
  command.footer(
      "The answer streams to stdout, everything else goes to stderr. Exit "
      "codes: 0, 1 (failed), 2 (usage), "
      "130 (^C).\nExamples:\n"
      "  lapidary run model.lap -p \"Write a haiku about stones\"\n"
      "  lapidary run model.lap --image page.png:1120 -p \"Read this page\" "
      "--temperature 0\n"
      "  lapidary run model.lap --messages chat.json --image cat.png --json");
}

Status finishRunOptions(const CLI::App &command, RunOptions &options) {
  if (command.count("--prompt") == 0 && command.count("--messages") == 0)
    return invalidArgument("run needs a prompt: -p TEXT, or --messages FILE");
  size_t image = 0, sound = 0, video = 0;
  for (const CLI::Option *option : command.parse_order()) {
    if (option->check_name("--image")) {
      options.media.push_back(LAPIDARY_TRY(
          parseImage(options.images[image++], options.imageTokens)));
    } else if (option->check_name("--audio")) {
      options.media.push_back({MediaKind::Audio, options.sounds[sound++], 0});
    } else if (option->check_name("--video")) {
      options.media.push_back({MediaKind::Video, options.videos[video++], 0});
    }
  }
  return {};
}

} // namespace lapidary::cli
