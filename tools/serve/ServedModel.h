// The bundle as the server shows it, and what a request becomes before it goes
// to the engine: the rendered prompt's tokens, media cut into patches and
// frames, and the options of the answer. The one place where requests meet the
// chat template, the constraints and the sampler.
#pragma once

#include "runtime/chat/ChatTemplate.h"
#include "runtime/core/Bundle.h"
#include "runtime/media/PreparedPrompt.h"
#include "tools/serve/ChatRequest.h"
#include "tools/serve/EngineLoop.h"
#include "tools/serve/Reply.h"

#include <memory>

namespace lapidary::serve {

/// A prompt of a request.
struct ServedPrompt : PreparedPrompt {
  bool startsInThought = false;
};

/// What media may take.
struct MediaRoom {
  /// Soft tokens of one image, and of all media together.
  int64_t imageTokens = 0, tokens = 0;
  /// Bytes of a file that is fetched.
  size_t fileBytes = 0;
  /// Asked for the bytes of each medium that was cut; false: there is no more.
  std::function<bool(size_t)> take;
};

/// Safe to use from several threads at once.
class ServedModel {
public:
  /// `alias`: the name that clients see; empty: the checkpoint's.
  static Result<std::unique_ptr<ServedModel>>
  create(std::shared_ptr<const Bundle> bundle, std::string alias);

  const schema::Model &model() const { return *file->program().model(); }
  const Tokenizer &tokenizer() const { return tokens; }
  const std::string &name() const { return shownName; }

  /// After the engine was made: what prompts must fit in.
  void setMemoryPlan(const MemoryPlan &plan) {
    context = plan.context;
    chunk = plan.chunk;
  }
  int64_t contextSize() const { return context; }
  /// Soft tokens of an image, whatever a step could take.
  void setImageTokens(int32_t most) { imageTokens = most; }
  /// GenerateOptions::draft of all answers.
  void setDraft(int32_t count) { draft = count; }

  /// The prompt's text, media as placeholders; for Tokenizer::encodeProtected.
  Result<std::string> render(const ChatRequest &request) const;
  /// One for each prompt of the request. Errors are the client's. `take` is
  /// asked for the memory that stays with the prompts.
  std::optional<std::vector<ServedPrompt>>
  prepare(const ChatRequest &request, const RequestLimits &limits,
          const std::function<bool(size_t)> &take, Problems &problems) const;
  /// Everything but the callbacks and the constraint.
  GenerateOptions options(const ChatRequest &request,
                          const RequestLimits &limits) const;
  /// Makes the constraints of answers; null where there are none.
  std::optional<ConstraintMaker> constraints(const ChatRequest &request,
                                             const ServedPrompt &prompt,
                                             Problems &problems) const;

  /// A token's bytes as text; a mark's name for a special token.
  std::string tokenText(int32_t id) const;
  std::vector<ReplyToken>
  replyTokens(std::span<const TokenChoice> choices) const;

private:
  ServedModel(std::shared_ptr<const Bundle> bundle, Tokenizer table,
              TokenTable bytes, ChatTemplate form)
      : file(std::move(bundle)), tokens(std::move(table)),
        tokenBytes(std::move(bytes)), form(std::move(form)) {}
  void checkLength(const ServedPrompt &prompt, Problems &problems) const;

  std::shared_ptr<const Bundle> file;
  Tokenizer tokens;
  /// What constraints look at.
  TokenTable tokenBytes;
  /// The checkpoint's own.
  ChatTemplate form;
  std::string shownName;
  int64_t context = 0, chunk = 0, imageTokens = INT32_MAX;
  int32_t draft = 0;
};

/// Decodes media and cuts them. What is wrong goes to `problems`, with the
/// field's name.
LoadedMedia loadMedia(const schema::Model &model,
                      const std::vector<MediaSource> &media,
                      const MediaRoom &room, Problems &problems);

} // namespace lapidary::serve
