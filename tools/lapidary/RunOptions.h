// The options of `lapidary run`, as they stand on the command line.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/model/MemoryPlan.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Conversation.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <vector>

namespace lapidary::cli {

struct RunOptions {
  std::string bundle;
  std::string prompt;
  std::string messages;
  std::string system;
  bool raw = false;
  /// In the order of the command line across the kinds.
  std::vector<MediaFile> media;
  double videoFps = 0;
  int64_t maxTokens = 0;
  int64_t context = 0;
  int32_t threads = 0;
  DeviceChoice device;
  bool lock = false;
  std::optional<float> temperature;
  std::optional<int32_t> topK;
  std::optional<float> topP;
  std::optional<float> minP, typicalP;
  std::optional<uint64_t> seed;
  PenaltyOptions penalties;
  std::vector<TokenBias> logitBias;
  std::vector<std::string> stop;
  /// N, "auto" or "off"; empty: auto where the bundle has a companion.
  std::string draft;
  int32_t logprobs = 0;
  bool special = false;
  /// A file or the schema itself, and a file of GBNF; empty: not given.
  std::string jsonSchema, grammar;
  bool json = false;
  std::string state;

  /// As CLI11 collects them: files of each kind, and the budget for images
  /// without one of their own.
  std::vector<std::string> images, sounds, videos;
  int32_t imageTokens = 0;
};

/// Splits "page.png:1120". A file that really has such a name is taken by it.
Result<MediaFile> parseImage(const std::string &argument, int32_t budget);

/// How answers are chosen, and how long they may be.
void addSamplingOptions(CLI::App &command, RunOptions &options);
/// "ID=BIAS" of `--logit-bias`, where BIAS is a number or -inf.
Result<TokenBias> parseTokenBias(const std::string &text);
/// How many tokens are guessed ahead.
void addDraftOption(CLI::App &command, std::string &draft,
                    const std::string &help = "");
/// What that comes to for GenerateOptions::draft, and for the engine's room.
int32_t chooseDraft(const std::string &draft, const schema::Model &model);
int32_t draftRoom(const std::string &draft, const schema::Model &model);

/// Completes what an engine is made with. A step has room for an image of that
/// many soft tokens, where steps of the bundle do; it must be seen in one. A
/// context that was not asked for (0) is the model's longest, halved while it
/// is above `bound` and does not fit into memory.
Result<SessionOptions> fitSession(const schema::Program &program,
                                  SessionOptions session, int64_t imageTokens,
                                  int64_t bound);

/// ", 3.1 tokens a step, 71 % of 52 drafts right", or nothing without drafts.
std::string describeDrafts(int64_t steps, uint64_t tokens, int64_t drafted,
                           int64_t accepted);

/// What those options come to for a model; a seed is chosen where there is
/// none.
GenerateOptions makeGenerateOptions(const RunOptions &options,
                                    const schema::Model &model);

void addRunOptions(CLI::App &command, RunOptions &options);

/// Orders the media and takes budgets off their names (`--image F:1120`). An
/// error is one of usage.
Status finishRunOptions(const CLI::App &command, RunOptions &options);

} // namespace lapidary::cli
