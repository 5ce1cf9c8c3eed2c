// Everything that can be wrong with the file is found before the first answer;
// media are read one task at a time.
#include "tools/lapidary/EvalTasks.h"

#include "frontends/formats/Json.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/core/Text.h"
#include "runtime/model/Session.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <filesystem>

namespace lapidary::cli {

namespace {

using nlohmann::json;

constexpr uint64_t fileLimit = uint64_t(256) << 20;
/// Nesting that a task may have, tools' schemas included.
constexpr int maxTaskDepth = 128;
constexpr double fastestFrames = 1000;
/// Sessions are made for this many positions or a multiple, so that most tasks
/// can share one.
constexpr int64_t contextStep = 1024;

/// The path of a medium. A tasks file may come from anywhere: it names files of
/// its own folder and no others.
Result<std::string> mediaPath(const std::string &folder, const json &name,
                              const std::string &place) {
  if (!name.is_string())
    return invalidData(place +
                       ": expected the name of a file in media/, "
                       "found " +
                       describeJson(&name));
  const std::string text = name.get<std::string>();
  const std::filesystem::path path(text);
  const bool leaves = path.is_absolute() ||
                      std::ranges::find(path, "..") != path.end() ||
                      text.find('\0') != std::string::npos;
  if (text.empty() || leaves)
    return invalidData(place +
                       ": expected the name of a file in media/, "
                       "found " +
                       describeJson(&name) +
                       (leaves ? ", which may lead out of it" : ""));
  const std::filesystem::path whole =
      std::filesystem::path(folder) / "media" / path;
  std::error_code error;
  if (!std::filesystem::exists(whole, error))
    return notFound(place + ": there is no file '" + whole.string() + "'");
  return whole.string();
}

/// A video as a list of pictures.
Result<MediaFile> readFrameList(const std::string &folder, const json &value,
                                const std::string &place) {
  MediaFile file{MediaKind::Video, {}};
  const auto frames = value.find("frames");
  if (frames == value.end() || !frames->is_array() || frames->empty())
    return invalidData(
        place + ".frames: expected a list of names, found " +
        describeJson(frames == value.end() ? nullptr : &*frames));
  for (size_t i = 0; i < frames->size(); ++i)
    file.frames.push_back(LAPIDARY_TRY(
        mediaPath(folder, (*frames)[i], concat(place, ".frames[", i, "]"))));
  file.path = file.frames.front();
  if (const auto fps = value.find("fps"); fps != value.end()) {
    file.frameRate = fps->is_number() ? fps->get<double>() : 0;
    if (!(file.frameRate > 0 && file.frameRate <= fastestFrames))
      return invalidData(place +
                         ".fps: expected frames a second, above 0 and at "
                         "most 1000, found " +
                         describeJson(&*fps));
  }
  return file;
}

Status readMedia(const std::string &folder, const json &media, EvalTask &task) {
  const std::vector<MediaKind> kinds =
      conversationMedia(task.conversation.messages);
  const std::string where = task.place + ": media";
  if (!media.is_array() || media.size() != kinds.size())
    return invalidData(concat(where, ": expected a list of ", kinds.size(),
                              ", one for each medium of the messages, found ",
                              media.is_array()
                                  ? concat("a list of ", media.size())
                                  : describeJson(&media)));
  for (size_t i = 0; i < kinds.size(); ++i) {
    const std::string place = concat(where, "[", i, "]");
    if (!media[i].is_object()) {
      task.media.push_back(
          {kinds[i], LAPIDARY_TRY(mediaPath(folder, media[i], place))});
      continue;
    }
    if (kinds[i] != MediaKind::Video)
      return invalidData(concat(place, ": expected the name of an ",
                                mediaName(kinds[i]),
                                " file, found a list of frames"));
    task.media.push_back(LAPIDARY_TRY(readFrameList(folder, media[i], place)));
  }
  return {};
}

Result<EvalTask> readTask(const std::string &folder, std::string_view line,
                          const std::string &place) {
  const json object = LAPIDARY_TRY(parseJson(line, place, maxTaskDepth));
  if (!object.is_object())
    return invalidData(place + ": expected an object, found " +
                       describeJson(&object));
  EvalTask task;
  task.place = place;
  JsonFields fields(object, place, "");
  for (const auto &[key, text] :
       {std::pair("kind", &task.kind), std::pair("answer", &task.answer)}) {
    if (!fields.get(key))
      return fields.wrong(key, "a string", nullptr);
    *text = LAPIDARY_TRY(fields.string(key, ""));
  }
  const json *messages = fields.get("messages");
  if (!messages)
    return fields.wrong("messages", "a list of messages", nullptr);
  const json *options = fields.get("options"), *media = fields.get("media");
  // Again, with keys in their order, which templates see.
  auto ordered = LAPIDARY_TRY(parseOrderedJson(line, place, maxTaskDepth));
  task.conversation = {std::move(ordered["messages"]),
                       options ? std::move(ordered["options"])
                               : nlohmann::ordered_json()};
  Status checked = chat::checkOptions(task.conversation.options);
  if (checked.ok())
    checked = chat::normalizeMessages(task.conversation.messages).status();
  if (!checked.ok())
    return Status(checked.getCode(), place + ": " + checked.message());
  LAPIDARY_TRY(readMedia(folder, media ? *media : json::array(), task));
  return task;
}

/// A session that can hold the task; the one of the task before if it can.
Status makeRoom(const EvalModel &model, const PreparedPrompt &prompt,
                int64_t answer, const EvalRun &run,
                std::unique_ptr<Session> &session) {
  SessionOptions options;
  options.threads = run.threads;
  run.device.apply(options);
  const schema::Program &program = model.bundle->program();
  const int64_t needed = static_cast<int64_t>(prompt.tokens.size()) + answer;
  options.context =
      std::min((needed + contextStep - 1) / contextStep * contextStep,
               program.model()->context());
  options.chunk = LAPIDARY_TRY(requiredChunk(program, prompt.tokens, options));
  if (session && session->context() >= options.context &&
      session->memoryPlan().chunk >= options.chunk) {
    session->reset();
    return {};
  }
  session.reset();
  session = LAPIDARY_TRY(Session::create(model.bundle, options));
  return {};
}

/// Counts over the tasks.
struct Tally {
  struct Kind {
    std::string name;
    uint64_t right = 0, tasks = 0;
  };
  std::vector<Kind> kinds;
  uint64_t promptTokens = 0, decodedTokens = 0;
  double promptSeconds = 0, decodeSeconds = 0;

  void add(const std::string &kind, bool right) {
    auto found = std::ranges::find(kinds, kind, &Kind::name);
    if (found == kinds.end())
      found = kinds.insert(found, {kind});
    found->right += right;
    ++found->tasks;
  }
};

Status runTask(const EvalModel &model, const ChatTemplate &chat,
               const EvalTask &task, const EvalRun &run,
               std::unique_ptr<Session> &session, Tally &tally) {
  const std::string text = LAPIDARY_TRY(
      chat.render(task.conversation.messages, task.conversation.options));
  const PreparedPrompt prompt = LAPIDARY_TRY(
      preparePrompt(model.model(), model.tokenizer, text, task.media, 0));
  GenerateOptions options;
  options.cancel = run.cancel;
  options.specialTokens = true;
  // No right answer has more tokens than bytes, and the one that ends it.
  options.maxTokens = static_cast<int64_t>(task.answer.size()) + 1;
  // A wrong answer need not be read to its end.
  std::string given;
  options.onText = [&](std::string_view part) {
    given += part;
    return task.answer.starts_with(given);
  };
  LAPIDARY_TRY(makeRoom(model, prompt, options.maxTokens, run, session));
  GenerateResult result = LAPIDARY_TRY(
      generate(*session, model.tokenizer, prompt.input(), options));
  if (run.cancel && *run.cancel)
    return cancelled("interrupted");
  tally.promptTokens += result.promptIds.size();
  tally.promptSeconds += result.prefillSeconds;
  tally.decodedTokens += result.ids.empty() ? 0 : result.ids.size() - 1;
  tally.decodeSeconds += result.decodeSeconds;
  bool right = result.finishReason == "stop";
  if (right) {
    result.ids.pop_back();
    right = model.tokenizer.decode(result.ids, false) == task.answer;
  }
  tally.add(task.kind, right);
  return {};
}

} // namespace

Result<std::vector<EvalTask>> parseTasks(std::string_view text,
                                         const std::string &folder) {
  const std::string path = folder + "/tasks.jsonl";
  std::vector<EvalTask> tasks;
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = text.find('\n');
    const std::string_view content = text.substr(0, end);
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
    if (content.find_first_not_of(" \t\r") == std::string_view::npos)
      continue;
    tasks.push_back(
        LAPIDARY_TRY(readTask(folder, content, concat(path, ":", line))));
  }
  if (tasks.empty())
    return invalidData(path + ": expected a task a line, found none");
  return tasks;
}

Result<std::vector<EvalTask>> readTasks(const std::string &folder) {
  const std::string text =
      LAPIDARY_TRY(lapidary::readTextFile(folder + "/tasks.jsonl", fileLimit));
  return parseTasks(text, folder);
}

Status checkModalities(const EvalModel &model,
                       std::span<const EvalTask> tasks) {
  for (const EvalTask &task : tasks)
    for (const MediaFile &file : task.media)
      if (const Status status = checkModality(model.model(), file);
          !status.ok())
        return {status.getCode(),
                concat(task.place, " (", task.kind, "): ", status.message())};
  return {};
}

Status evaluateTasks(const EvalModel &model, std::span<const EvalTask> tasks,
                     const EvalRun &run, EvalResult &result) {
  const ChatTemplate chat =
      LAPIDARY_TRY(ChatTemplate::create(*model.bundle, model.tokenizer));
  Progress progress("Answering tasks with " + model.bundle->path());
  std::unique_ptr<Session> session;
  Tally tally;
  for (size_t i = 0; i < tasks.size(); ++i) {
    progress.update(i, tasks.size());
    const Status status = runTask(model, chat, tasks[i], run, session, tally);
    if (!status.ok())
      return {status.getCode(), tasks[i].place + ": " + status.message()};
  }
  uint64_t right = 0;
  for (const Tally::Kind &kind : tally.kinds) {
    right += kind.right;
    result.accuracyByKind.emplace_back(kind.name,
                                       static_cast<double>(kind.right) /
                                           static_cast<double>(kind.tasks));
  }
  result.accuracy =
      static_cast<double>(right) / static_cast<double>(tasks.size());
  if (tally.decodedTokens > 0 && tally.decodeSeconds > 0)
    result.decodeRate =
        static_cast<double>(tally.decodedTokens) / tally.decodeSeconds;
  if (!result.prefillRate && tally.promptSeconds > 0)
    result.prefillRate =
        static_cast<double>(tally.promptTokens) / tally.promptSeconds;
  return {};
}

} // namespace lapidary::cli
