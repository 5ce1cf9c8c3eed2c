// `lapidary run`: one prompt, one answer. The answer streams to stdout, or is
// one JSON object; everything else goes to stderr.
#include "runtime/chat/ChatTemplate.h"
#include "tools/lapidary/AnswerRules.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/RunOptions.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <variant>

namespace lapidary::cli {

namespace {

/// A prompt beyond this is no prompt for any context there is.
constexpr uint64_t inputLimit = uint64_t(64) << 20;

struct Timings {
  double load = 0;
  double verify = 0;
  double media = 0;
  double total = 0;
};

/// A text, or what a chat template makes one of.
using PromptSource = std::variant<std::string, Conversation>;

/// `request`: the messages' file.
Result<PromptSource> readPrompt(const RunOptions &options,
                                std::string &request) {
  if (!options.messages.empty()) {
    request =
        options.messages == "-"
            ? LAPIDARY_TRY(readInput(inputLimit))
            : LAPIDARY_TRY(cli::readTextFile(options.messages, inputLimit));
    return PromptSource(
        LAPIDARY_TRY(readConversation(request, "'" + options.messages + "'")));
  }
  const std::string text = options.prompt == "-"
                               ? LAPIDARY_TRY(readInput(inputLimit))
                               : options.prompt;
  if (text.find_first_not_of(" \t\r\n") == std::string::npos &&
      options.media.empty())
    return invalidArgument("the prompt is empty");
  if (options.raw)
    return PromptSource(text);
  return PromptSource(
      Conversation{makeMessages(options.system, text, options.media), {}});
}

/// The text before media are put into it.
Result<std::string> renderPrompt(const PromptSource &source,
                                 const Bundle &bundle,
                                 const Tokenizer &tokenizer) {
  if (const auto *text = std::get_if<std::string>(&source))
    return *text;
  const auto &conversation = std::get<Conversation>(source);
  const ChatTemplate chat =
      LAPIDARY_TRY(ChatTemplate::create(bundle, tokenizer));
  return chat.render(conversation.messages, conversation.options);
}

Result<SessionOptions> chooseSession(const RunOptions &options,
                                     const schema::Program &program,
                                     const std::vector<int32_t> &tokens) {
  SessionOptions session;
  session.threads = options.threads;
  options.device.apply(session);
  session.context = options.context;
  session.drafts = draftRoom(options.draft, *program.model());
  // An image must be seen in one step.
  session.chunk = LAPIDARY_TRY(requiredChunk(program, tokens, session));
  const int64_t answer = options.maxTokens > 0 ? options.maxTokens : 256;
  const int64_t needed = static_cast<int64_t>(tokens.size()) + answer;
  return fitSession(program, session, 0, 2 * needed - 1);
}

/// Decode steps: the first token comes from the prefill's logits.
size_t decodedTokens(const GenerateResult &result) {
  return result.ids.empty() ? 0 : result.ids.size() - 1;
}

Status printJson(const GenerateResult &result, const Timings &timings) {
  auto logprobs = nlohmann::ordered_json::array(),
       chosen = nlohmann::ordered_json::array();
  for (const TokenChoice &token : result.logprobs) {
    auto list = nlohmann::ordered_json::array();
    for (const TokenLogprob &entry : token.top)
      list.push_back({{"id", entry.id}, {"logprob", entry.logprob}});
    logprobs.push_back(std::move(list));
    chosen.push_back(token.logprob);
  }
  return writeJson({{"prompt_tokens", result.promptIds.size()},
                    {"prompt_ids", result.promptIds},
                    {"reused_tokens", result.reusedTokens},
                    {"ids", result.ids},
                    {"text", result.text},
                    {"logprobs", logprobs},
                    {"token_logprobs", chosen},
                    {"finish_reason", result.finishReason},
                    {"stop_string", result.stopString},
                    {"steps", result.steps},
                    {"drafted_tokens", result.draftedTokens},
                    {"accepted_tokens", result.acceptedTokens},
                    {"timings",
                     {{"load_s", timings.load},
                      {"verify_s", timings.verify},
                      {"media_s", timings.media},
                      {"embed_s", result.embedSeconds},
                      {"prefill_s", result.prefillSeconds},
                      {"decode_s", result.decodeSeconds},
                      {"total_s", timings.total},
                      {"prefill_tokens_per_second",
                       rate(result.promptIds.size() -
                                static_cast<size_t>(result.reusedTokens),
                            result.prefillSeconds)},
                      {"decode_tokens_per_second",
                       rate(decodedTokens(result), result.decodeSeconds)}}}},
                   -1);
}

void printStatistics(const GenerateResult &result, const Timings &timings) {
  if (!isInteractive())
    return;
  const auto reused = static_cast<size_t>(result.reusedTokens);
  std::fprintf(
      stderr,
      "[%zu prompt tokens%s, %.1f/s; %zu tokens, %.1f/s%s; %.2f s in all]\n",
      result.promptIds.size(),
      reused > 0
          ? (" of which " + std::to_string(reused) + " were known").c_str()
          : "",
      rate(result.promptIds.size() - reused, result.prefillSeconds),
      result.ids.size(), rate(decodedTokens(result), result.decodeSeconds),
      describeDrafts(result.steps, decodedTokens(result), result.draftedTokens,
                     result.acceptedTokens)
          .c_str(),
      timings.total);
}

Result<int> answer(const RunOptions &options) {
  const std::atomic<bool> &cancel = watchInterrupts();
  Timings timings;
  const double start = now();
  std::string request;
  const PromptSource source = LAPIDARY_TRY(readPrompt(options, request));
  ChatRules rules = LAPIDARY_TRY(readOptionRules(options));
  if (!request.empty())
    rules = LAPIDARY_TRY(readAnswerRules(
        rules, nlohmann::ordered_json::parse(request, nullptr, false)));

  double mark = now();
  const auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  if (options.lock)
    LAPIDARY_TRY(bundle->lock());
  const schema::Model &model = *bundle->program().model();
  const Tokenizer tokenizer = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  timings.load = now() - mark;

  mark = now();
  const std::string text =
      LAPIDARY_TRY(renderPrompt(source, *bundle, tokenizer));
  const PreparedPrompt prompt = LAPIDARY_TRY(
      preparePrompt(model, tokenizer, text, options.media, options.videoFps));
  timings.media = now() - mark;

  mark = now();
  const SessionOptions sessionOptions =
      LAPIDARY_TRY(chooseSession(options, bundle->program(), prompt.tokens));
  const auto session = LAPIDARY_TRY(Session::create(bundle, sessionOptions));
  timings.load += now() - mark;

  if (!options.state.empty()) {
    const Status loaded = session->load(options.state);
    if (!loaded.ok() && loaded.getCode() != StatusCode::NotFound)
      return loaded;
  }

  mark = now();
  LAPIDARY_TRY(verifyWeights(*bundle));
  timings.verify = now() - mark;

  GenerateOptions generateWith = makeGenerateOptions(options, model);
  generateWith.cancel = &cancel;
  std::optional<TokenTable> table;
  if (asksForRules(rules)) {
    table = LAPIDARY_TRY(TokenTable::create(tokenizer));
    generateWith.constraint = LAPIDARY_TRY(
        makeConstraint(model, tokenizer, *table, rulesAfter(rules, text)));
  }
  Status written;
  bool endsLine = false;
  Progress reading("Reading " + std::to_string(prompt.tokens.size()) +
                   " tokens");
  generateWith.onText = [&](std::string_view part) {
    reading.clear();
    if (options.json || part.empty())
      return true;
    endsLine = part.back() == '\n';
    written = writeOutput(part);
    return written.ok();
  };
  GenerateInput input = prompt.input();
  input.whole = true;
  const Result<GenerateResult> result =
      generate(*session, tokenizer, input, generateWith);
  reading.clear();
  if (!result.ok())
    return result.status();
  // The answer goes out whether it can be saved or not.
  const Status saved = options.state.empty()
                           ? Status()
                           : session->sequence().save(options.state);
  timings.total = now() - start;
  if (written.ok())
    written = options.json ? printJson(*result, timings)
              : endsLine   ? Status()
                           : writeOutput("\n");
  if (!written.ok())
    return written;
  if (!saved.ok())
    return saved;
  if (!options.json)
    printStatistics(*result, timings);
  return static_cast<int>(wasInterrupted() ? Interrupted : Success);
}

} // namespace

void addRunCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand(
      "run", "Answer a prompt: text, images, sounds, videos");
  addRunOptions(*command, *options);
  command->final_callback([options, command, &action] {
    action = [options, command] {
      const Status usage = finishRunOptions(*command, *options);
      if (!usage.ok())
        return failUsage(usage.message() + "\nTry: lapidary run --help");
      const Result<int> result = answer(*options);
      return result.ok() ? *result : fail(result.status());
    };
  });
}

} // namespace lapidary::cli
