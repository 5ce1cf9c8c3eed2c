// What a constrained token costs at a vocabulary of 262,144 tokens: the first
// mask of a state, and whole answers token by token (restrict and accept).
#include "frontends/formats/TokenizerJson.h"
#include "runtime/chat/ChatConstraint.h"
#include "runtime/grammar/JsonSchema.h"
#include "runtime/grammar/TokenGrammar.h"
#include "runtime/schema/bundle_generated.h"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

using namespace lapidary;
using Json = nlohmann::ordered_json;

namespace {

constexpr size_t vocabularySize = 262144;

/// Words, code and other scripts in the shares that large vocabularies have.
std::string makeToken(std::mt19937 &random) {
  static const std::vector<std::string> syllables = [] {
    std::vector<std::string> all;
    for (const char *first : {"b", "c", "d", "f", "g", "l", "m", "n", "p", "r",
                              "s", "t", "v", "st", "tr", "ch", "th", ""})
      for (const char *last :
           {"a", "e", "i", "o", "u", "er", "in", "on", "al", "ing", "ed", "ar"})
        all.push_back(std::string(first) + last);
    return all;
  }();
  constexpr std::string_view punctuation = "\"{}[]:,()<>;=_-\n\t'/\\.!?*#$";
  const auto appendScript = [&](std::string &text, uint32_t first,
                                uint32_t count, size_t length) {
    for (size_t i = 0; i < length; ++i) {
      uint32_t c = first + random() % count;
      if (c < 0x800) {
        text += static_cast<char>(0xC0 | c >> 6);
      } else {
        text += static_cast<char>(0xE0 | c >> 12);
        text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
      }
      text += static_cast<char>(0x80 | (c & 0x3F));
    }
  };
  std::string text = random() % 2 ? "\xE2\x96\x81" : "";
  switch (random() % 20) {
  case 0:
  case 1: // code
    text.clear();
    for (size_t i = 0, n = 1 + random() % 4; i < n; ++i)
      text += punctuation[random() % punctuation.size()];
    if (random() % 2)
      text += syllables[random() % syllables.size()];
    break;
  case 2:
    for (size_t i = 0, n = 1 + random() % 4; i < n; ++i)
      text += static_cast<char>('0' + random() % 10);
    break;
  case 3:
  case 4:
  case 5:
    appendScript(text, 0x430, 32, 2 + random() % 7);
    break;
  case 6:
  case 7:
    appendScript(text, 0x4E00, 3000, 1 + random() % 3);
    break;
  case 8:
    appendScript(text, 0x627, 36, 2 + random() % 5);
    break;
  default:
    for (size_t i = 0, n = 1 + random() % 4; i < n; ++i)
      text += syllables[random() % syllables.size()];
    if (random() % 4 == 0)
      text[0] = static_cast<char>(text[0] & 0x80 ? text[0] : text[0] & ~0x20);
  }
  return text;
}

struct Setup {
  std::vector<uint8_t> table, modelBytes;
  std::optional<Tokenizer> tokenizer;
  std::optional<TokenTable> tokens;
  const schema::Model *model = nullptr;
};

const Setup &setup() {
  static const Setup made = [] {
    Setup setup;
    std::ifstream file(LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json");
    Json json = Json::parse(file);
    std::mt19937 random(1);
    std::set<std::string> all;
    size_t taken = json["model"]["vocab"].size();
    while (all.size() + taken < vocabularySize) {
      std::string token = makeToken(random);
      if (!token.empty() && !json["model"]["vocab"].contains(token))
        all.insert(token);
    }
    // ordered_json looks names up one by one, which takes too long for these.
    nlohmann::json large = nlohmann::json::parse(json.dump());
    for (const std::string &token : all)
      large["model"]["vocab"][token] = taken++;
    auto table = compileTokenizer(large.dump(), "tokenizer.json");
    if (!table.ok()) {
      std::fprintf(stderr, "%s\n", table.status().message().c_str());
      std::exit(1);
    }
    setup.table = *std::move(table);
    setup.tokenizer = *Tokenizer::create(setup.table);
    setup.tokens = *TokenTable::create(*setup.tokenizer);
    schema::ModelT model;
    model.name = "benchmark";
    model.architecture = "gemma4_unified";
    model.vocabulary = vocabularySize;
    model.stop_tokens = {1, 106, 50};
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(schema::Model::Pack(builder, &model));
    setup.modelBytes.assign(builder.GetBufferPointer(),
                            builder.GetBufferPointer() + builder.GetSize());
    setup.model = flatbuffers::GetRoot<schema::Model>(setup.modelBytes.data());
    return setup;
  }();
  return made;
}

/// As a model mostly writes: the longest token that fits.
std::vector<int32_t> cut(std::string_view text) {
  static const auto byText = [] {
    std::unordered_map<std::string_view, int32_t> all;
    for (int32_t id : setup().tokens->all().tokens)
      all.emplace(setup().tokens->bytes(id), id);
    return all;
  }();
  std::vector<int32_t> ids;
  while (!text.empty()) {
    size_t size = std::min<size_t>(text.size(), 32);
    while (!byText.contains(text.substr(0, size)))
      --size;
    ids.push_back(byText.at(text.substr(0, size)));
    text.remove_prefix(size);
  }
  return ids;
}

const char *personSchema =
    R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
"code":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},"note":{"type":"string","maxLength":200},
"tags":{"type":"array","items":{"type":"string","enum":["new","old","rare"]}},
"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"date":{"type":"string","format":"date"}},"required":["street","city"]}},
"required":["name","age"]})";
const char *personText =
    R"({"name": "Marta Antonelli-Terino", "age": 42, "code": "ABC-1234", "note": "she came in late and stole the content of a large tin of sardines", "tags": ["new", "rare"],
 "address": {"street": "Corso Vittorio Emanuele 12", "city": "Torino", "date": "2024-02-29"}})";

void makeTable(benchmark::State &state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(TokenTable::create(*setup().tokenizer));
}
BENCHMARK(makeTable)->Unit(benchmark::kMillisecond);

/// The first mask after a text.
void firstMask(benchmark::State &state, const char *schema,
               const char *prefix) {
  GrammarBuilder builder(0);
  auto grammar =
      *builder.finish(*addSchema(builder, {}, Json::parse(schema), ""));
  std::vector<int32_t> ids = cut(prefix);
  for (auto _ : state) {
    state.PauseTiming();
    TokenGrammar tokens(grammar, *setup().tokens, {});
    TokenGrammar::State at = tokens.start();
    for (int32_t id : ids)
      at = tokens.step(at, id);
    state.ResumeTiming();
    if (at == Automaton::dead || !tokens.mask(at).ok())
      state.SkipWithError("no mask");
  }
}
BENCHMARK_CAPTURE(firstMask, object, personSchema, "{")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(firstMask, text, personSchema, "{\"name\": \"Ma")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(firstMask, boundedText,
                  R"({"type":"string","maxLength":200})", "\"Ma")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(firstMask, anyJson, "{}", "[{\"a\":")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(firstMask, pattern,
                  R"({"type":"string","pattern":"^(\\w+ )*\\w{2,9}$"})", "\"Ma")
    ->Unit(benchmark::kMillisecond);

Json tools() {
  return Json::array(
      {{{"type", "function"},
        {"function",
         {{"name", "save"}, {"parameters", Json::parse(personSchema)}}}}});
}

/// A whole answer; the time is that of one token.
void answer(benchmark::State &state, const ChatRules &rules,
            const std::vector<int32_t> &ids) {
  std::vector<uint32_t> bits(vocabularySize / 32);
  double slowest = 0;
  for (auto _ : state) {
    auto constraint = makeConstraint(*setup().model, *setup().tokenizer,
                                     *setup().tokens, rules);
    if (!constraint.ok()) {
      state.SkipWithError(constraint.status().message().c_str());
      return;
    }
    for (int32_t id : ids) {
      auto before = std::chrono::steady_clock::now();
      std::fill(bits.begin(), bits.end(), ~0u);
      (*constraint)->restrict(bits);
      if (!(bits[id / 32] >> id % 32 & 1) || !(*constraint)->accept(id).ok())
        state.SkipWithError("not allowed");
      slowest = std::max(slowest, std::chrono::duration<double, std::milli>(
                                      std::chrono::steady_clock::now() - before)
                                      .count());
    }
  }
  double count = static_cast<double>(ids.size());
  state.counters["tokens"] = count;
  state.counters["us_a_token"] = benchmark::Counter(
      count * 1e-6, benchmark::Counter::kIsIterationInvariantRate |
                        benchmark::Counter::kInvert);
  state.counters["slowest_ms"] = slowest;
}
void schemaAnswer(benchmark::State &state) {
  ChatRules rules;
  rules.schema = Json::parse(personSchema);
  answer(state, rules, cut(personText));
}
BENCHMARK(schemaAnswer)->Unit(benchmark::kMillisecond);
void jsonObjectAnswer(benchmark::State &state) {
  ChatRules rules;
  rules.jsonObject = true;
  answer(state, rules, cut(personText));
}
BENCHMARK(jsonObjectAnswer)->Unit(benchmark::kMillisecond);
void freeAnswerWithTools(benchmark::State &state) {
  ChatRules rules;
  rules.tools = tools();
  std::vector<int32_t> ids;
  for (int i = 0; i < 10; ++i)
    for (int32_t id : cut(personText))
      ids.push_back(id);
  answer(state, rules, ids);
}
BENCHMARK(freeAnswerWithTools)->Unit(benchmark::kMillisecond);

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  std::printf("%zu nodes for %d tokens\n", setup().tokens->all().nodes.size(),
              setup().tokens->vocabularySize());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
