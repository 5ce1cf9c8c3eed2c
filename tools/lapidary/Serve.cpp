// `lapidary serve`: its options, and the way from a bundle to a server that
// answers until it is told to stop. The server itself is in tools/serve.
#include "tools/serve/Server.h"

#include "runtime/core/Limits.h"
#include "runtime/core/Text.h"
#include "runtime/media/ImagePreprocess.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/RunOptions.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>
#include <thread>

namespace lapidary::cli {

namespace {

struct ServeOptions {
  std::string bundle;
  std::string alias;
  std::string keyFile;
  int64_t context = 0;
  int32_t threads = 0;
  DeviceChoice device;
  int32_t parallel = 4;
  int32_t imageTokens = maxSoftTokenBudget;
  uint64_t snapshotMemory = 0;
  std::string draft;
  double stopSeconds = 30;
  bool lock = false;
  serve::ServerOptions server;
};

/// A file of keys, one a line.
Status readKeys(ServeOptions &options) {
  if (options.keyFile.empty())
    return {};
  std::string text = LAPIDARY_TRY(cli::readTextFile(options.keyFile, 1 << 20));
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string key = text.substr(at, end - at);
    while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back())))
      key.pop_back();
    if (!key.empty())
      options.server.access.keys.push_back(std::move(key));
    at = end + 1;
  }
  if (options.server.access.keys.empty())
    return invalidData(concat("'", options.keyFile, "' has no key"));
  return {};
}

/// What does not need the bundle.
Status checkOptions(ServeOptions &options) {
  LAPIDARY_TRY(readKeys(options));
  serve::AccessRules &access = options.server.access;
  for (const std::string &key : access.keys)
    if (key.empty())
      return invalidArgument("--api-key needs a key that is not empty");
  access.loopback = serve::isLoopback(options.server.host);
  if (!access.loopback && access.keys.empty())
    return invalidArgument(
        concat("--host ", options.server.host,
               " is not this machine's own address, so that others could use "
               "the server: give --api-key or --api-key-file"));
  return {};
}

Result<SessionOptions> chooseSession(const ServeOptions &options,
                                     const Bundle &bundle) {
  const schema::Program &program = bundle.program();
  SessionOptions session;
  session.threads = options.threads;
  options.device.apply(session);
  session.context = options.context;
  session.sequences = options.parallel;
  session.snapshotMemory = options.snapshotMemory;
  session.drafts = draftRoom(options.draft, *program.model());
  return fitSession(program, session, options.imageTokens, 2048);
}

Result<int> runServe(ServeOptions &options) {
  const std::atomic<bool> &interrupted = watchInterrupts();
  const auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  if (options.lock)
    LAPIDARY_TRY(bundle->lock());
  // Before the time that the rest takes; connections wait until then.
  const std::unique_ptr<serve::ServedModel> model =
      LAPIDARY_TRY(serve::ServedModel::create(bundle, options.alias));
  model->setDraft(chooseDraft(options.draft, model->model()));
  serve::ServerOptions &chosen = options.server;
  chosen.limits.vocabulary = model->model().vocabulary();
  if (chosen.threads == 0)
    chosen.threads = 64 + chosen.queue + static_cast<size_t>(options.parallel);
  const std::unique_ptr<serve::Server> server =
      LAPIDARY_TRY(serve::Server::bind(chosen));
  const SessionOptions session = LAPIDARY_TRY(chooseSession(options, *bundle));
  const std::unique_ptr<serve::EngineLoop> loop =
      LAPIDARY_TRY(serve::EngineLoop::create(bundle, model->tokenizer(),
                                             session, chosen.queue));
  if (interrupted)
    return static_cast<int>(Interrupted);
  LAPIDARY_TRY(verifyWeights(*bundle));
  if (interrupted)
    return static_cast<int>(Interrupted);
  model->setMemoryPlan(loop->memoryPlan());
  model->setImageTokens(options.imageTokens);
  std::fprintf(
      stderr,
      "lapidary: '%s' with a context of %lld for each of %d answers at once\n"
      "lapidary: http://%s:%d\n",
      model->name().c_str(), static_cast<long long>(model->contextSize()),
      options.parallel, chosen.host.c_str(), server->port());

  std::atomic<bool> ended = false;
  std::thread serving([&] {
    server->serve(*model, *loop);
    ended = true;
  });
  while (!interrupted)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (loop->processing() + loop->waiting() > 0)
    std::fprintf(stderr,
                 "lapidary: stopping; %zu answers have %.0f s to end, ^C again "
                 "ends them now\n",
                 loop->processing() + loop->waiting(), options.stopSeconds);
  loop->drain(options.stopSeconds);
  // The listener may not have begun yet.
  while (!ended) {
    server->stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  serving.join();
  return static_cast<int>(Success);
}

void addNetworkOptions(CLI::App &command, ServeOptions &options) {
  const char *group = "Network";
  serve::ServerOptions &server = options.server;
  command
      .add_option("--host", server.host,
                  "Address to listen on; 127.0.0.1 unless given. Another than "
                  "this machine's own needs --api-key")
      ->type_name("ADDRESS")
      ->group(group);
  command
      .add_option("--port", server.port,
                  "Port to listen on, 0 for any that is free; 8080 unless "
                  "given")
      ->type_name("N")
      ->check(CLI::Range(0, 65535))
      ->group(group);
  command
      .add_option("--api-key", server.access.keys,
                  "Answer only who sends this key; may be given more than once")
      ->type_name("KEY")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--api-key-file", options.keyFile,
                  "The same for each line of a file")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--cors-origin", server.access.origins,
                  "Let pages of this origin (https://example.com), or of any "
                  "(*), use the server; may be given more than once. None "
                  "unless given")
      ->type_name("ORIGIN")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--allow-media-host", server.limits.mediaHosts,
                  "Fetch media from http and https URLs of this host; may be "
                  "given more than once. Media must be inline unless given, "
                  "and private addresses are never connected to")
      ->type_name("HOST")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--threads-http", server.threads,
                  "Connections at once; 64 more than answers may be at hand "
                  "unless given")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->group(group);
}

void addLimitOptions(CLI::App &command, ServeOptions &options) {
  const char *group = "Limits";
  serve::ServerOptions &server = options.server;
  command
      .add_option("-n,--n-predict", server.limits.maxTokens,
                  "Longest answer in tokens, whatever a request asks for; "
                  "until the context is full unless given")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40))
      ->group(group);
  command
      .add_option("--timeout", server.answerSeconds,
                  "Seconds that a request may take, after which its answer "
                  "ends as one that is too long; 600 unless given")
      ->type_name("SECONDS")
      ->check(inRange(0.001, 1e6))
      ->group(group);
  command
      .add_option("--max-queue", server.queue,
                  "Answers that may wait for others; more are refused (429). "
                  "64 unless given")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->group(group);
  command
      .add_option("--max-body", server.maxBody,
                  "Longest body of a request: bytes, or with KB, MB, GB; 64 MB "
                  "unless given")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true))
      ->group(group);
  command
      .add_option("--max-media", server.limits.maxMedia,
                  "Longest image, sound or video of a request; 32 MB unless "
                  "given")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true))
      ->group(group);
  command
      .add_option("--max-choices", server.limits.maxChoices,
                  "Answers that a request may ask for by n; 8 unless given")
      ->type_name("N")
      ->check(CLI::Range(1, 128))
      ->group(group);
  command
      .add_option("--image-max-tokens", options.imageTokens,
                  "Most soft tokens of an image: 1120 unless given, less where "
                  "the bundle takes less")
      ->type_name("N")
      ->check(CLI::Range(1, maxSoftTokenBudget))
      ->group(group);
}

} // namespace

void addServeCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App *command = app.add_subcommand(
      "serve", "Answer over HTTP, as OpenAI's and Anthropic's APIs do");
  addBundleArgument(*command, options->bundle);
  command
      ->add_option("-a,--alias", options->alias,
                   "The model's name in answers; the checkpoint's unless given")
      ->type_name("NAME");
  command
      ->add_option("-c,--ctx-size,--context", options->context,
                   "Positions for each answer, prompt included; the model's "
                   "longest, or what fits into memory, unless given")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  command
      ->add_option("--np,--parallel", options->parallel,
                   "Answers to work on at once: each has memory of its own for "
                   "its context, and they share each reading of the weights; 4 "
                   "unless given")
      ->type_name("N")
      ->check(CLI::Range(1, maxSequences));
  command
      ->add_option("--snapshot-memory", options->snapshotMemory,
                   "Memory to remember the beginnings of prompts in: bytes, or "
                   "with KB, MB, GB; 0 unless given")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true));
  addDraftOption(*command, options->draft);
  addThreadsOption(*command, options->threads);
  addDeviceOptions(*command, options->device);
  addLockOption(*command, options->lock);
  command
      ->add_option("--stop-timeout", options->stopSeconds,
                   "Seconds that answers at hand have to end in after ^C or "
                   "SIGTERM; 30 unless given")
      ->type_name("SECONDS")
      ->check(inRange(0, 1e6));
  addNetworkOptions(*command, *options);
  addLimitOptions(*command, *options);
  command->footer(
      "Routes: /v1/chat/completions, /v1/completions, /v1/responses, "
      "/v1/messages, /v1/models,\n/tokenize, /detokenize, /apply-template, "
      "/health, /metrics, /props, /openapi.json, and a page at /.\n"
      "Example:\n"
      "  lapidary serve model.lap --parallel 8\n"
      "  curl http://127.0.0.1:8080/v1/chat/completions -d "
      "'{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'");
  command->final_callback([options, &action] {
    action = [options] {
      if (const Status usage = checkOptions(*options); !usage.ok())
        return usage.getCode() == StatusCode::InvalidArgument
                   ? failUsage(usage.message() + "\nTry: lapidary serve --help")
                   : fail(usage);
      const Result<int> result = runServe(*options);
      return result.ok() ? *result : fail(result.status());
    };
  });
}

} // namespace lapidary::cli
