// Numbers keep about four digits: more would be noise of the text chosen.
#include "tools/lapidary/EvalReport.h"

#include "runtime/core/Memory.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <filesystem>

namespace lapidary::cli {

namespace {

using Json = nlohmann::ordered_json;
using Table = std::vector<std::vector<std::string>>;

template <typename T> Json orNull(const std::optional<T> &value) {
  return value ? Json(*value) : Json(nullptr);
}

__attribute__((format(printf, 1, 2))) std::string format(const char *form,
                                                         ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, form);
  std::vsnprintf(text, sizeof(text), form, arguments);
  va_end(arguments);
  return text;
}

std::string cell(const char *form, const std::optional<double> &value) {
  if (!value)
    return "-";
  char text[64];
  std::snprintf(text, sizeof(text), form, *value);
  return text;
}

std::string percent(double share) { return format("%.1f %%", 100 * share); }

std::string fileName(const EvalResult &result) {
  return std::filesystem::path(result.file).filename().string();
}

/// Columns of a terminal, near enough: characters.
size_t columns(std::string_view text) {
  size_t count = 0;
  for (; !text.empty(); ++count)
    text.remove_prefix(readUtf8(text).size);
  return count;
}

/// The first column to the left, numbers to the right, two blanks between.
std::string align(const Table &table) {
  std::vector<size_t> widths(table.front().size());
  for (const auto &row : table)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns(row[i]));
  std::string text;
  for (const auto &row : table) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - columns(row[i]), ' ');
      text += i == 0 ? row[i] + blanks : "  " + blanks + row[i];
    }
    text += '\n';
  }
  return text;
}

} // namespace

Json evalJson(const EvalResult &result) {
  Json kinds = nullptr;
  if (result.accuracy) {
    kinds = Json::object();
    for (const auto &[kind, share] : result.accuracyByKind)
      kinds[kind] = share;
  }
  return {{"file", result.file},
          {"perplexity", orNull(result.perplexity)},
          {"perplexity_error", orNull(result.perplexityError)},
          {"scored_tokens", orNull(result.scoredTokens)},
          {"kl_mean", orNull(result.klMean)},
          {"kl_p999", orNull(result.klP999)},
          {"top1", orNull(result.top1)},
          {"accuracy", orNull(result.accuracy)},
          {"accuracy_by_kind", kinds},
          {"bits_per_weight", orNull(result.bitsPerWeight)},
          {"bytes", result.bytes},
          {"prefill_tokens_per_second", orNull(result.prefillRate)},
          {"decode_tokens_per_second", orNull(result.decodeRate)}};
}

std::string evalTable(std::span<const EvalResult> results) {
  const EvalResult &first = results.front();
  const bool text = first.perplexity.has_value(),
             compared = first.klMean.has_value(),
             tasks = first.accuracy.has_value();
  std::vector<std::string> head{"bundle", "size", "bits/weight"};
  if (text)
    head.insert(head.end(), {"perplexity", "+-"});
  if (compared)
    head.insert(head.end(), {"KL mean", "KL 99.9 %", "same top"});
  if (tasks)
    head.emplace_back("tasks right");
  head.emplace_back("prompt tok/s");
  if (tasks)
    head.emplace_back("answer tok/s");
  Table table{head};
  for (const EvalResult &result : results) {
    std::vector<std::string> row{fileName(result), formatBytes(result.bytes),
                                 cell("%.3f", result.bitsPerWeight)};
    if (text)
      row.insert(row.end(), {cell("%.4f", result.perplexity),
                             cell("%.4f", result.perplexityError)});
    if (compared)
      row.insert(row.end(),
                 {cell("%.3g", result.klMean), cell("%.3g", result.klP999),
                  percent(result.top1.value_or(0))});
    if (tasks)
      row.push_back(percent(result.accuracy.value_or(0)));
    row.push_back(cell("%.1f", result.prefillRate));
    if (tasks)
      row.push_back(cell("%.1f", result.decodeRate));
    table.push_back(std::move(row));
  }
  std::string out = align(table);
  if (!tasks)
    return out;

  // Every bundle had the same tasks, so the kinds agree.
  Table kinds{{"tasks right"}};
  for (const EvalResult &result : results)
    kinds.front().push_back(fileName(result));
  for (size_t i = 0; i < first.accuracyByKind.size(); ++i) {
    std::vector<std::string> row{first.accuracyByKind[i].first};
    for (const EvalResult &result : results)
      row.push_back(percent(result.accuracyByKind[i].second));
    kinds.push_back(std::move(row));
  }
  return out + "\n" + align(kinds);
}

ScatterPlot evalPlot(std::span<const EvalResult> results, bool compared) {
  uint64_t largest = 0;
  for (const EvalResult &result : results)
    largest = std::max(largest, result.bytes);
  constexpr double mega = 1e6, giga = 1e9;
  const bool large = static_cast<double>(largest) >= giga;
  ScatterPlot plot;
  plot.title = compared ? "Divergence from the reference against size"
                        : "Perplexity against size";
  plot.xLabel = large ? "file size (GB)" : "file size (MB)";
  plot.yLabel = compared ? "mean KL divergence (nats)" : "perplexity";
  plot.logarithmic = compared;
  for (const EvalResult &result : results) {
    const double value =
        (compared ? result.klMean : result.perplexity).value_or(0);
    // A bundle that is beyond use has a perplexity beyond numbers.
    if (!std::isfinite(value))
      continue;
    const double bits = result.bitsPerWeight.value_or(0);
    plot.points.push_back(
        {std::filesystem::path(result.file).stem().string(),
         format(compared ? "KL %.3g, %.3f bits a weight"
                         : "perplexity %.4g, %.3f bits a weight",
                value, bits),
         static_cast<double>(result.bytes) / (large ? giga : mega), value});
  }
  return plot;
}

} // namespace lapidary::cli
