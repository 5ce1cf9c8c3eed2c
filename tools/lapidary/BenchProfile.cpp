// Times come from the profile; bytes and operations from the program, which
// knows what each dispatch reads and how much it computes.
#include "tools/lapidary/BenchProfile.h"

#include "runtime/core/BundleValidation.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

namespace lapidary::cli {

namespace {

const schema::Kernel &kernelOf(const schema::Target &target, uint32_t entry,
                               uint32_t index) {
  const schema::Dispatch &dispatch =
      *target.entries()->Get(entry)->dispatches()->Get(index);
  return *target.kernels()->Get(dispatch.kernel());
}

/// Of a table only the tokens' rows are read.
uint64_t weightBytes(const schema::Program &program,
                     const schema::Weight &weight, bool lookup,
                     int64_t tokens) {
  const uint64_t bytes = program.segments()->Get(weight.segment())->size();
  // A token's angles are two rows of a table; one is what it takes at least.
  lookup |= weight.name()->string_view().starts_with("rope.");
  if (!lookup || weight.shape()->size() == 0 || weight.shape()->Get(0) <= 0)
    return bytes;
  const double row =
      static_cast<double>(bytes) / static_cast<double>(weight.shape()->Get(0));
  return std::min(bytes, static_cast<uint64_t>(row * double(tokens)));
}

/// Over a cache; the merge of parts is not.
bool isAttention(std::string_view kernel) {
  return kernel.starts_with("attention") ||
         kernel.starts_with("partial_attention");
}

/// Attention reads what the step's tokens see, anything else touches their own
/// rows.
uint64_t cacheRowsTouched(const schema::Cache &cache, bool attention,
                          const Profile::Dispatch &event) {
  if (!attention)
    return static_cast<uint64_t>(event.tokens);
  const int64_t all = event.past + event.tokens;
  return static_cast<uint64_t>(
      cache.kind() == schema::CacheKind::Ring
          ? std::min(all, cache.window() + event.tokens - 1)
          : all);
}

void addBytes(KernelProfile &line, const schema::Program &program,
              const schema::Dispatch &dispatch,
              const Profile::Dispatch &event) {
  const bool lookup = line.kernel.starts_with("embed"),
             attention = isAttention(line.kernel);
  for (const schema::BufferRef *operand : *dispatch.operands()) {
    if (operand->kind() == schema::BufferKind::Weight)
      line.bytes +=
          weightBytes(program, *program.weights()->Get(operand->index()),
                      lookup, event.tokens);
    if (operand->kind() == schema::BufferKind::Cache) {
      const schema::Cache &cache = *program.caches()->Get(operand->index());
      line.bytes +=
          cacheRowsTouched(cache, attention, event) * cache.row_bytes();
    }
  }
}

double rate(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : 0;
}

} // namespace

std::vector<KernelProfile> summarize(const Profile &profile,
                                     const schema::Program &program,
                                     const schema::Target &target) {
  struct Total {
    KernelProfile line;
    int64_t wall = 0, inside = 0;
  };
  // By entry point, tokens and kernel.
  using Key = std::tuple<uint32_t, int64_t, uint32_t>;
  std::map<Key, Total> totals;
  auto total = [&](uint32_t entry, int64_t tokens, uint32_t index) -> Total & {
    return totals[Key(
        entry, tokens,
        target.entries()->Get(entry)->dispatches()->Get(index)->kernel())];
  };
  for (const Profile::Dispatch &event : profile.dispatches) {
    const schema::EntryPoint &entry = *target.entries()->Get(event.entry);
    const schema::Kernel &kernel = kernelOf(target, event.entry, event.index);
    Total &here = total(event.entry, event.tokens, event.index);
    here.line.tokens = event.tokens;
    here.line.entry = entry.name()->str();
    here.line.kernel = kernel.symbol()->str();
    ++here.line.calls;
    here.line.tiles += static_cast<uint64_t>(event.tiles);
    here.wall += event.end - event.begin;
    addBytes(here.line, program, *entry.dispatches()->Get(event.index), event);
    if (!isAttention(here.line.kernel))
      here.line.operations +=
          2 * static_cast<double>(event.tiles) *
          static_cast<double>(
              evaluate(*kernel.tile_work(), event.tokens).value_or(0));
  }
  for (const std::vector<Profile::Call> &calls : profile.calls)
    for (const Profile::Call &call : calls)
      total(call.entry, call.tokens, call.index).inside +=
          call.end - call.begin;

  std::vector<std::pair<Key, KernelProfile>> lines;
  for (auto &[key, here] : totals) {
    here.line.seconds = static_cast<double>(here.wall) * 1e-9;
    here.line.busy = rate(static_cast<double>(here.inside),
                          static_cast<double>(here.wall) *
                              static_cast<double>(profile.calls.size()));
    lines.emplace_back(key, std::move(here.line));
  }
  auto place = [](const std::pair<Key, KernelProfile> &line) {
    return std::tuple(std::get<0>(line.first), std::get<1>(line.first),
                      -line.second.seconds, std::get<2>(line.first));
  };
  std::sort(lines.begin(), lines.end(),
            [&](const auto &left, const auto &right) {
              return place(left) < place(right);
            });
  std::vector<KernelProfile> kernels;
  for (auto &[key, line] : lines)
    kernels.push_back(std::move(line));
  return kernels;
}

std::string profileTable(const std::vector<KernelProfile> &kernels) {
  std::map<std::pair<std::string, int64_t>, double> totals;
  size_t width = 6;
  for (const KernelProfile &line : kernels) {
    totals[{line.entry, line.tokens}] += line.seconds;
    width = std::max(width, line.kernel.size());
  }
  std::string table;
  char text[256];
  std::pair<std::string, int64_t> group;
  for (const KernelProfile &line : kernels) {
    if (std::pair here(line.entry, line.tokens); here != group) {
      group = std::move(here);
      std::snprintf(text, sizeof(text),
                    "\n%s, %lld token%s: %.3f ms in kernels\n",
                    line.entry.c_str(), static_cast<long long>(line.tokens),
                    line.tokens == 1 ? "" : "s", totals[group] * 1e3);
      table += text;
      table += std::string("  kernel").append(width - 4, ' ');
      table += "    calls    time ms  share  busy       MB     GB/s    GOP/s  "
               "    tiles\n";
    }
    char operations[32] = "-";
    if (line.operations > 0)
      std::snprintf(operations, sizeof(operations), "%.1f",
                    rate(line.operations, line.seconds) / 1e9);
    char busy[16] = "-"; // a GPU does not tell
    if (line.busy > 0)
      std::snprintf(busy, sizeof(busy), "%.0f%%", line.busy * 100);
    std::snprintf(text, sizeof(text),
                  "  %8llu %10.3f %5.1f%% %5s %8.1f %8.1f %8s %10llu\n",
                  static_cast<unsigned long long>(line.calls),
                  line.seconds * 1e3, rate(line.seconds, totals[group]) * 100,
                  busy, static_cast<double>(line.bytes) / 1e6,
                  rate(static_cast<double>(line.bytes), line.seconds) / 1e9,
                  operations, static_cast<unsigned long long>(line.tiles));
    table += "  " + line.kernel + std::string(width - line.kernel.size(), ' ') +
             text;
  }
  return table;
}

std::string submissionTable(const Profile &profile,
                            const schema::Target &target) {
  // A shape of step is the same each time, but where sequences differ.
  std::map<std::pair<uint32_t, int64_t>, Profile::Submission> shapes;
  for (const Profile::Submission &each : profile.submissions)
    shapes.insert_or_assign({each.entry, each.tokens}, each);
  std::string table;
  for (const auto &[key, each] : shapes) {
    char text[256];
    std::snprintf(
        text, sizeof(text),
        "\n%s, %lld token%s: %llu dispatches and %llu barriers in one "
        "submission\n",
        target.entries()->Get(key.first)->name()->c_str(),
        static_cast<long long>(key.second), key.second == 1 ? "" : "s",
        static_cast<unsigned long long>(each.dispatches),
        static_cast<unsigned long long>(each.barriers));
    table += text;
  }
  return table;
}

nlohmann::ordered_json profileJson(const std::vector<KernelProfile> &kernels) {
  nlohmann::ordered_json lines = nlohmann::ordered_json::array();
  for (const KernelProfile &line : kernels)
    lines.push_back({{"entry", line.entry},
                     {"tokens", line.tokens},
                     {"kernel", line.kernel},
                     {"calls", line.calls},
                     {"seconds", line.seconds},
                     {"busy", line.busy},
                     {"bytes", line.bytes},
                     {"operations", line.operations},
                     {"tiles", line.tiles}});
  return lines;
}

std::string chromeTrace(const Profile &profile, const schema::Target &target) {
  int64_t origin = INT64_MAX;
  for (const Profile::Dispatch &event : profile.dispatches)
    origin = std::min(origin, event.begin);
  std::string trace = "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n";
  char text[512];
  // A bundle may have any names.
  auto quote = [](const std::string &name) {
    constexpr size_t most = 38; // each character may take six in JSON
    std::string text = nlohmann::json(name).dump(
        -1, ' ', true, nlohmann::json::error_handler_t::replace);
    return text.size() <= 6 * most + 2
               ? text
               : nlohmann::json(name.substr(0, most))
                     .dump(-1, ' ', true,
                           nlohmann::json::error_handler_t::replace);
  };
  auto add = [&](const std::string &name, size_t thread, int64_t begin,
                 int64_t end, const char *arguments) {
    std::snprintf(text, sizeof(text),
                  "%s{\"name\": %.240s, \"ph\": \"X\", \"pid\": 1, "
                  "\"tid\": %zu, \"ts\": %.3f, \"dur\": %.3f, \"args\": {%s}}",
                  trace.ends_with("[\n") ? "" : ",\n", quote(name).c_str(),
                  thread, static_cast<double>(begin - origin) * 1e-3,
                  static_cast<double>(end - begin) * 1e-3, arguments);
    trace += text;
  };
  char arguments[160];
  for (const Profile::Dispatch &event : profile.dispatches) {
    std::snprintf(arguments, sizeof(arguments),
                  "\"dispatch\": %u, \"tokens\": %lld, \"past\": %lld, "
                  "\"tiles\": %lld",
                  event.index, static_cast<long long>(event.tokens),
                  static_cast<long long>(event.past),
                  static_cast<long long>(event.tiles));
    add(target.entries()->Get(event.entry)->name()->str() + " " +
            kernelOf(target, event.entry, event.index).symbol()->str(),
        0, event.begin, event.end, arguments);
  }
  for (size_t thread = 0; thread < profile.calls.size(); ++thread)
    for (const Profile::Call &call : profile.calls[thread]) {
      std::snprintf(arguments, sizeof(arguments), "\"tiles\": [%lld, %lld]",
                    static_cast<long long>(call.tileBegin),
                    static_cast<long long>(call.tileEnd));
      add(kernelOf(target, call.entry, call.index).symbol()->str(), thread + 1,
          call.begin, call.end, arguments);
    }
  for (size_t thread = 0; thread <= profile.calls.size(); ++thread) {
    const std::string name =
        thread == 0 ? "dispatches" : "thread " + std::to_string(thread - 1);
    std::snprintf(text, sizeof(text),
                  "%s{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, "
                  "\"tid\": %zu, \"args\": {\"name\": \"%s\"}}",
                  trace.ends_with("[\n") ? "" : ",\n", thread, name.c_str());
    trace += text;
  }
  return trace + "\n]}\n";
}

} // namespace lapidary::cli
