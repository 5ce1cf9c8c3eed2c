// A conversation that grows by turns: its messages and media, the sequence that
// has read them, and what the last turn took.
#pragma once

#include "runtime/chat/AnswerParser.h"
#include "runtime/chat/ChatConstraint.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/model/Session.h"
#include "tools/lapidary/Conversation.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lapidary::cli {

class ChatTurns {
public:
  ChatTurns(std::unique_ptr<Session> session, Tokenizer tokenizer,
            ChatTemplate chat)
      : session(std::move(session)), tokenizer(std::move(tokenizer)),
        chat(std::move(chat)) {}

  /// Goes before the conversation; empty: nothing.
  std::string system;
  bool thinks = false;

  /// What every answer must be, thoughts aside. An error where the model or
  /// the rules do not allow it.
  Status setRules(ChatRules rules);

  /// Goes with the next text. An error where the model cannot take it or there
  /// is no such file; what it holds is seen when it is answered.
  Status addMedium(MediaFile file);
  size_t waitingMedia() const { return waiting.size(); }

  /// Puts a text into the conversation and answers it. `onDelta` gets the
  /// answer as it comes; what came before a cancellation stays in the
  /// conversation. After an error neither the text nor the media that waited
  /// for it are in it.
  Result<GenerateResult>
  answer(const std::string &text, GenerateOptions options,
         const std::function<void(const AnswerDelta &)> &onDelta);

  /// Begins anew; system and thinking stay.
  void clear();
  /// Writes the conversation to `path`, and what the model knows of it to
  /// `path`.state.
  Status save(const std::string &path) const;
  /// Takes both back. The model reads a conversation without a fitting state
  /// anew; `note` says so.
  Status load(const std::string &path, std::string &note);

  int64_t position() const { return session->position(); }
  int64_t context() const { return session->context(); }
  size_t messageCount() const { return messages.size(); }

private:
  Result<GenerateResult>
  tryAnswer(const std::string &text, GenerateOptions options,
            const std::function<void(const AnswerDelta &)> &onDelta);
  Result<std::shared_ptr<Constraint>> makeRules(std::string_view prompt) const;
  const schema::Model &model() const {
    return *session->bundle().program().model();
  }

  std::unique_ptr<Session> session;
  Tokenizer tokenizer;
  ChatTemplate chat;
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  /// Of all messages in order, then those that wait for the next one.
  std::vector<MediaFile> media, waiting;
  /// Of one answer each, and what all of them need.
  std::optional<ChatRules> rules;
  std::optional<TokenTable> tokens;
};

} // namespace lapidary::cli
