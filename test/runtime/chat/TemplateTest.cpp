// Templates against what Python's jinja2 makes of them (templates.json, which
// test/tools/templates.py writes), limits, and errors with line and column.
#include "runtime/chat/ChatTemplate.h"

#include "frontends/formats/ChatTemplateFile.h"
#include "test/TinyTokenizer.h"

#include <gmock/gmock.h>

#include <pthread.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

using namespace lapidary;
using nlohmann::ordered_json;
using testing::HasSubstr;

namespace {

const std::string testFolder = LAPIDARY_TEST_DIR "/";

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

const ordered_json hello = {{{"role", "user"}, {"content", "Hi"}}};

Result<std::string> render(const std::string &source,
                           const ordered_json &messages = hello,
                           const ordered_json &options = nullptr) {
  const std::vector<uint8_t> table = LAPIDARY_TRY(
      compileTemplate(source, "t.jinja", {{"bos_token", "<bos>"}}));
  const ChatTemplate chat =
      LAPIDARY_TRY(ChatTemplate::create(table, test::tinyTokenizer()));
  return chat.render(messages, options);
}

std::string errorOf(const std::string &source) {
  const auto text = render(source);
  return text.ok() ? "no error: " + *text : text.status().message();
}

/// What errorOf finds on a thread with a stack of this size.
std::string errorOnStack(const std::string &source, size_t stackBytes) {
  struct Task {
    const std::string &source;
    std::string error;
  } task = {source, {}};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stackBytes);
  pthread_t thread;
  const auto work = [](void *argument) -> void * {
    Task &own = *static_cast<Task *>(argument);
    own.error = errorOf(own.source);
    return nullptr;
  };
  EXPECT_EQ(pthread_create(&thread, &attributes, work, &task), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  return task.error;
}

void compareAll(const ordered_json &file, size_t least) {
  ASSERT_GE(file["cases"].size(), least);
  for (const ordered_json &each : file["cases"]) {
    const std::string source =
        each.contains("file")
            ? readFile(testFolder + each["file"].get<std::string>())
            : each["template"].get<std::string>();
    const ordered_json &options =
        each["options"] == "data" ? file["data"] : each["options"];
    const ordered_json messages =
        each.contains("messages") ? each["messages"] : hello;
    SCOPED_TRACE(
        (each.contains("file") ? messages.dump() + options.dump() : source));
    const auto text = render(source, messages, options);
    if (each.contains("error")) {
      EXPECT_FALSE(text.ok()) << *text << "\nPython: " << each["error"];
      continue;
    }
    ASSERT_TRUE(text.ok()) << text.status().message();
    EXPECT_EQ(Tokenizer::unprotected(*text), each["output"].get<std::string>());
  }
}

} // namespace

TEST(TemplateTest, GivesWhatJinjaGives) {
  compareAll(
      ordered_json::parse(readFile(testFolder + "runtime/chat/templates.json")),
      300);
}

// For test/tools/templates.test, with cases that are made as it runs.
TEST(TemplateTest, GivesWhatJinjaGivesForOtherCases) {
  const char *path = std::getenv("LAPIDARY_TEMPLATE_CASES");
  if (!path)
    GTEST_SKIP() << "no cases";
  compareAll(ordered_json::parse(readFile(path)), 300);
}

TEST(TemplateTest, UnsupportedSyntaxIsAnErrorWithItsPlace) {
  EXPECT_THAT(errorOf("a\n  {% include 'x' %}"),
              HasSubstr("t.jinja:2:6: the statement 'include' is not"));
  EXPECT_THAT(errorOf("{{ x | wordwrap }}"),
              HasSubstr("t.jinja:1:8: the filter 'wordwrap' is not supported"));
  EXPECT_THAT(errorOf("{{ x is escaped }}"),
              HasSubstr("1:9: the test 'escaped'"));
  EXPECT_THAT(errorOf("\n{{ x.format(1) }}"),
              HasSubstr("2:5: the method 'format'"));
  EXPECT_THAT(errorOf("{{ strftime_now('%Y') }}"),
              HasSubstr("1:4: the function 'strftime_now'"));
  EXPECT_THAT(errorOf("{% for x in y %}{{ loop.parent }}{% endfor %}"),
              HasSubstr("1:20: 'loop.parent' is not supported"));
  EXPECT_THAT(errorOf("{{ x|join(by=1) }}"),
              HasSubstr("1:11: the filter 'join' has no argument 'by'"));
  EXPECT_THAT(errorOf("{% if x %}"), HasSubstr("expected {% endif %}"));
  EXPECT_THAT(errorOf("{{ x "), HasSubstr("1:1: this tag has no end"));
  EXPECT_THAT(errorOf("{{ 'x }}"), HasSubstr("1:4: this string has no end"));
  EXPECT_THAT(errorOf("{# x"), HasSubstr("1:1: this comment has no end"));
  EXPECT_THAT(errorOf("{% raw %}"), HasSubstr("1:1: this raw block"));
  EXPECT_THAT(errorOf("{{ ? }}"), HasSubstr("1:4: expected an expression"));
  EXPECT_THAT(errorOf("{{ 1 + }}"), HasSubstr("1:8: expected an expression"));
  EXPECT_THAT(errorOf("{{ f(*x) }}"), HasSubstr("1:6: arguments from a list"));
  EXPECT_THAT(errorOf("{% for x in y recursive %}"),
              HasSubstr("1:15: recursive"));
  EXPECT_THAT(errorOf("{% break %}"), HasSubstr("outside of a loop"));
  EXPECT_THAT(errorOf("{% set loop = 1 %}"), HasSubstr("1:8: 'loop' cannot"));
  EXPECT_THAT(errorOf("\xFF"), HasSubstr("expected UTF-8"));
  EXPECT_THAT(errorOf(std::string(2 << 20, 'x')), HasSubstr("at most"));
}

TEST(TemplateTest, ErrorsOfAConversationNameTheLine) {
  EXPECT_THAT(errorOf("\n\n{{ raise_exception('no') }}"),
              HasSubstr("the chat template, line 3: the template refuses the "
                        "conversation: no"));
  EXPECT_THAT(errorOf("{% macro m() %}\n{{ x.y }}{% endmacro %}{{ m() }}"),
              HasSubstr("line 2: 'x' is undefined"));
}

TEST(TemplateTest, LimitsHold) {
  EXPECT_THAT(errorOf("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("too deeply"));
  EXPECT_THAT(errorOf("{% for a in range(100000) %}{% for b in range(100000) %}"
                      "{% endfor %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(errorOf("{% set n = namespace(s='xxxxxxxx') %}{% for i in "
                      "range(60) %}{% set n.s = n.s + n.s %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(errorOf("{% set n = namespace(l=[1]) %}{% for i in range(60) "
                      "%}{% set n.l = n.l + n.l %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(errorOf("{% set n = namespace(l=[]) %}{% for i in range(1000) "
                      "%}{% set n.l = [n.l] %}{% endfor %}"),
              HasSubstr("levels"));
  // Values share parts: what a walk would see is known before it is walked.
  for (const char *use :
       {"{{ ns.a }}", "{{ ns.a == ns.b }}", "{{ ns.a|tojson }}",
        "{{ 1 in [ns.a] }}", "{{ ns.a is eq ns.b }}"}) {
    SCOPED_TRACE(use);
    EXPECT_THAT(
        errorOf(std::string("{% set ns = namespace(a=[1, 1], b=[1, 1]) %}"
                            "{% for i in range(60) %}"
                            "{% set ns.a = [ns.a, ns.a] %}"
                            "{% set ns.b = [ns.b, ns.b] %}{% endfor %}") +
                use),
        HasSubstr("too many steps"));
  }
  EXPECT_THAT(errorOf("{% set l = range(100000)|list %}{% for i in "
                      "range(100000) %}{% set m = l|list %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(errorOf("{% set t = 'x' * 100000 %}{% for i in range(100000) %}"
                      "{% set m = t|length + (t < t ~ 'y')|int %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(errorOf("{{ 'x' * 1000000000 }}"), HasSubstr("2^28"));
  EXPECT_THAT(errorOf("{% set a = 'x' * 100000 %}{{ a.replace('x', a) }}"),
              HasSubstr("may have more than"));
  EXPECT_THAT(errorOf("{% set n = namespace() %}{% set n.n = n %}"),
              HasSubstr("a namespace in a namespace"));
  EXPECT_THAT(errorOf("{{ 9223372036854775807 + 1 }}"), HasSubstr("digits"));
  EXPECT_THAT(errorOf("{{ 999999999999999999 * 999999999999999999 }}"),
              HasSubstr("64 bits"));
  EXPECT_THAT(errorOf("{{ " + std::string(5000, '(') + "1" +
                      std::string(5000, ')') + " }}"),
              HasSubstr("levels"));
  std::string sum = "{{ 1";
  for (int i = 0; i < 1000; ++i)
    sum += " + 1";
  EXPECT_THAT(errorOf(sum + " }}"), HasSubstr("levels"));
}

TEST(TemplateTest, TheDeepestCallsFitIntoAStack) {
#if defined(__OPTIMIZE__) && !__has_feature(address_sanitizer)
  constexpr size_t stackBytes = size_t(1) << 20;
#else
  constexpr size_t stackBytes = size_t(8) << 20;
#endif
  // A macro that calls itself from each place that has a value or statements.
  const auto deep = [](const std::string &before, const std::string &after,
                       int times, const std::string &call = "m()") {
    std::string text = call;
    for (int i = 0; i < times; ++i)
      text = before + text + after;
    return text;
  };
  std::vector<std::string> bodies;
  for (int times : {1, 20}) {
    for (auto [before, after] : {std::pair{"[", "]"},
                                 {"{'a': ", "}"},
                                 {"{'a': 1, 'b': ", "}"},
                                 {"-", ""},
                                 {"not ", ""},
                                 {"(1 + ", ")"},
                                 {"('a' ~ ", ")"},
                                 {"(1 if ", ")"},
                                 {"(1 if m.a else ", ")"},
                                 {"(x or ", ")"},
                                 {"(1 == ", ")"},
                                 {"'a'[", "]"},
                                 {"'a'[", ":]"},
                                 {"'a'[1:2:", "]"},
                                 {"(", ".a)"},
                                 {"'a'|default(", ")"},
                                 {"(", "|trim)"},
                                 {"'a' is eq(", ")"},
                                 {"'a'.strip(", ")"},
                                 {"m(", ")"},
                                 {"dict(a=", ")"},
                                 {"range(", ")"},
                                 {"namespace(a=", ").a"}})
      bodies.push_back("{{ " + deep(before, after, times) + " }}");
    for (auto [before, after] :
         {std::pair{"{% if true %}", "{% endif %}"},
          {"{% if x %}{% else %}", "{% endif %}"},
          {"{% for i in 'a' %}", "{% endfor %}"},
          {"{% for i in '' %}{% else %}", "{% endfor %}"},
          {"{% set t %}", "{% endset %}"}})
      bodies.push_back(deep(before, after, times, "{{ m() }}"));
  }
  bodies.insert(bodies.end(),
                {"{% for i in m() %}{% endfor %}", "{% set t = m() %}",
                 "{% for i in 'a' if m() %}{% endfor %}"});
  for (const std::string &body : bodies) {
    SCOPED_TRACE(body);
    EXPECT_THAT(
        errorOnStack("{% macro m(a) %}" + body + "{% endmacro %}{{ m() }}",
                     stackBytes),
        HasSubstr("too deeply"));
  }
  EXPECT_THAT(
      errorOnStack("{% macro m(a=m()) %}{% endmacro %}{{ m() }}", stackBytes),
      HasSubstr("too deeply"));
}

TEST(TemplateTest, AnAlteredTableIsRefusedOrHarmless) {
  const auto table = *compileTemplate(
      readFile(testFolder + "models/tiny/chat_template.jinja"), "t", {});
  for (size_t size = 0; size < table.size(); size += 7)
    EXPECT_FALSE(ChatTemplate::create(std::span(table).first(size),
                                      test::tinyTokenizer())
                     .ok());
  size_t opened = 0;
  for (size_t at = 0; at < table.size(); at += 3) {
    std::vector<uint8_t> altered = table;
    altered[at] ^= static_cast<uint8_t>(1 + at % 255);
    auto chat = ChatTemplate::create(altered, test::tinyTokenizer());
    if (!chat.ok())
      continue;
    ++opened;
    static_cast<void>(chat->render(hello, nullptr));
  }
  EXPECT_GT(opened, 0u);
}
