// `lapidary tokenize`: text to ids and back, with the tokenizer that a bundle
// carries.
#include "frontends/formats/Json.h"
#include "runtime/model/Tokenizer.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

namespace lapidary::cli {

namespace {

/// Far over any context, far under memory: encoding takes about 50 bytes a
/// byte.
constexpr uint64_t inputLimit = uint64_t(64) << 20;

struct TokenizeOptions {
  std::string bundle;
  bool decode = false;
  bool skipSpecial = false;
};

/// An entry that is no token id, as a message shows it.
std::string describeEntry(const nlohmann::json &entry) {
  constexpr size_t longest = 100;
  if (entry.is_structured())
    return entry.is_array() ? "a list" : "an object";
  std::string text =
      entry.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() > longest ? text.substr(0, longest) + "..." : text;
}

Status decodeIds(const TokenizeOptions &options, const Tokenizer &tokenizer,
                 const std::string &input) {
  const Result<nlohmann::json> parsed = parseJson(input, "stdin");
  if (!parsed.ok() || !parsed->is_array())
    return invalidData("stdin is no JSON list of token ids, such as "
                       "[2, 105, 106]" +
                       (parsed.ok() ? "" : "\n" + parsed.status().message()));
  const nlohmann::json &list = *parsed;
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const auto &entry : list) {
    // Compared as unsigned, so that ids near 2^64 are refused too.
    if (!entry.is_number_unsigned() ||
        entry.get<uint64_t>() >=
            static_cast<uint64_t>(tokenizer.vocabularySize())) {
      return invalidData("entry " + std::to_string(ids.size()) +
                         " of the list is " + describeEntry(entry) +
                         "; a token id is a whole number from 0 to " +
                         std::to_string(tokenizer.vocabularySize() - 1));
    }
    ids.push_back(entry.get<int32_t>());
  }
  return writeOutput(tokenizer.decode(ids, options.skipSpecial));
}

Status tokenize(const TokenizeOptions &options) {
  auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  const Tokenizer tokenizer = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  const std::string input = LAPIDARY_TRY(readInput(inputLimit));
  if (options.decode)
    return decodeIds(options, tokenizer, input);
  return writeOutput(nlohmann::json(tokenizer.encode(input)).dump() + "\n");
}

} // namespace

void addTokenizeCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App *command = app.add_subcommand(
      "tokenize", "Turn text on stdin into token ids, or ids into text");
  command->footer(
      "Special tokens written in the text, such as <bos>, become their ids; "
      "none is added.\nExamples:\n  echo -n \"Hello\" | lapidary tokenize "
      "model.lap\n  echo \"[2, 105]\" | lapidary tokenize model.lap --decode");
  addBundleArgument(*command, options->bundle);
  CLI::Option *decode =
      command->add_flag("--decode", options->decode,
                        "Read a JSON list of ids and print their text");
  command
      ->add_flag("--skip-special", options->skipSpecial,
                 "With --decode: leave special tokens out of the text")
      ->needs(decode);
  command->final_callback([options, &action] {
    action = [options] {
      const Status status = tokenize(*options);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
