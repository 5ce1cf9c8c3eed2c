// Tasks with a known answer: a folder's tasks.jsonl, and how many of them a
// bundle answers exactly right.
#pragma once

#include "tools/lapidary/Conversation.h"
#include "tools/lapidary/Eval.h"

#include <span>

namespace lapidary::cli {

struct EvalTask {
  /// "tasks.jsonl:12", for messages.
  std::string place;
  std::string kind;
  Conversation conversation;
  std::vector<MediaFile> media;
  std::string answer;
};

/// Reads FOLDER/tasks.jsonl, an object a line: `kind`, `messages`, `answer`,
/// and where needed `options` (as ChatTemplate takes them) and `media`, the
/// files in FOLDER/media for the media of the messages in order: a name,
/// or `{"frames": [names], "fps": number}` for a video. Other keys are ignored.
/// That the files are there is checked; what is in them is not.
Result<std::vector<EvalTask>> readTasks(const std::string &folder);
/// The same for a text in the file's place.
Result<std::vector<EvalTask>> parseTasks(std::string_view text,
                                         const std::string &folder);

/// An error that names the first task whose media the model cannot take.
Status checkModalities(const EvalModel &model, std::span<const EvalTask> tasks);

/// Answers every task greedily. An answer is right when it ends by itself and
/// its text, special tokens shown and the one that ended it left out, is the
/// task's, byte for byte. Fills the accuracies and the decode rate of `result`,
/// and its prefill rate if there is none.
Status evaluateTasks(const EvalModel &model, std::span<const EvalTask> tasks,
                     const EvalRun &run, EvalResult &result);

} // namespace lapidary::cli
