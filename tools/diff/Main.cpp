// lapidary-diff: the `lapidary diff` command. Says tensor by tensor how far the
// weights of two bundles or checkpoints are apart.
#include "tools/compiler/CompilerTool.h"
#include "tools/diff/Difference.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;

namespace {

struct Row {
  const StoredTensor *a, *b;
  Difference difference;
};

class Diff {
public:
  /// `media` goes with whichever side is a GGUF file; it may be empty.
  Diff(CompilerTool &tool, MLIRContext &context, std::string pathA,
       std::string pathB, std::string media)
      : tool(tool), context(context), pathA(std::move(pathA)),
        pathB(std::move(pathB)), media(std::move(media)) {}

  /// Compares all tensors that both sides have.
  LogicalResult compare();
  LogicalResult printTable(size_t top);
  LogicalResult printJson(size_t top);
  /// An error where a tensor is on one side only.
  LogicalResult checkComplete() const;

private:
  FailureOr<std::unique_ptr<WeightFile>> open(const std::string &path);
  void pair();

  CompilerTool &tool;
  MLIRContext &context;
  std::string pathA, pathB, media;
  std::unique_ptr<WeightFile> a, b;
  std::vector<std::pair<size_t, size_t>> pairs;
  /// Tensors of one side; also those that the sides have in different shapes.
  std::vector<std::string> onlyA, onlyB;
  std::vector<Row> rows;
  Difference total;
  /// Of those that the sides store in different schemes.
  Difference changed;
  int64_t changedCount = 0;
};

} // namespace

FailureOr<std::unique_ptr<WeightFile>> Diff::open(const std::string &path) {
  auto progress = [&](uint64_t done, uint64_t all) {
    tool.showProgress("checking " + path,
                      static_cast<double>(done) / static_cast<double>(all));
    return !CompilerTool::isInterrupted();
  };
  auto file = openWeightFile(context, path, media, progress);
  if (!file.ok())
    return check(context, file.status());
  return *std::move(file);
}

static std::string describe(const StoredTensor &tensor) {
  std::string text = tensor.name + " [";
  for (size_t i = 0; i < tensor.shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

/// Walks both sorted lists.
void Diff::pair() {
  const auto &left = a->getTensors(), &right = b->getTensors();
  auto alone = [](const StoredTensor &tensor, std::vector<std::string> &list) {
    if (!WeightFile::isDerived(tensor.name))
      list.push_back(describe(tensor));
  };
  size_t i = 0, j = 0;
  while (i < left.size() || j < right.size()) {
    int order = i == left.size()    ? 1
                : j == right.size() ? -1
                                    : left[i].name.compare(right[j].name);
    if (order == 0 && left[i].shape == right[j].shape) {
      pairs.emplace_back(i++, j++);
      continue;
    }
    if (order <= 0)
      alone(left[i++], onlyA);
    if (order >= 0)
      alone(right[j++], onlyB);
  }
}

LogicalResult Diff::compare() {
  auto openedA = open(pathA);
  if (failed(openedA))
    return failure();
  a = *std::move(openedA);
  auto openedB = open(pathB);
  if (failed(openedB))
    return failure();
  b = *std::move(openedB);
  pair();
  double elements = 0, done = 0;
  for (auto [i, j] : pairs)
    elements += static_cast<double>(a->getTensors()[i].rows) *
                static_cast<double>(a->getTensors()[i].columns);
  for (auto [i, j] : pairs) {
    auto difference = compareTensors(*a, i, *b, j, [&](int64_t count) {
      done += static_cast<double>(count);
      tool.showProgress("comparing", done / elements);
      return !CompilerTool::isInterrupted();
    });
    if (!difference.ok())
      return check(context, difference.status());
    rows.push_back({&a->getTensors()[i], &b->getTensors()[j], *difference});
    total.add(*difference);
    if (rows.back().a->scheme != rows.back().b->scheme) {
      changed.add(*difference);
      ++changedCount;
    }
  }
  // Worst first; what is no number is worse than any.
  auto badness = [](const Row &row) {
    double value = row.difference.getRelativeRms();
    return std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
  };
  llvm::sort(rows, [&](const Row &left, const Row &right) {
    double one = badness(left), other = badness(right);
    return one != other ? one > other : left.a->name < right.a->name;
  });
  return success();
}

LogicalResult Diff::checkComplete() const {
  if (onlyA.empty() && onlyB.empty())
    return success();
  auto tensors = [](size_t count) {
    return std::to_string(count) + (count == 1 ? " tensor" : " tensors");
  };
  return check(context, lapidary::invalidData(
                            tensors(onlyA.size()) + " only in " + pathA +
                            " and " + tensors(onlyB.size()) + " only in " +
                            pathB + ", or of another shape there"));
}

static void printNumbers(llvm::raw_ostream &out, const Difference &numbers) {
  out << llvm::format("  %12.6g  %12.6g  %10.7f  ", numbers.getRelativeRms(),
                      numbers.largest, numbers.getCosine())
      << (numbers.unequal ? "-" : "exact");
}

LogicalResult Diff::printTable(size_t top) {
  return writeOutput(context, [&](llvm::raw_ostream &out) {
    ArrayRef<Row> shown = ArrayRef(rows).take_front(top);
    std::string totalName = "all " + std::to_string(rows.size()) + " tensors";
    size_t width = sizeof "the 1234 in other schemes", kinds = 0;
    auto kind = [](const Row &row) {
      return row.a->scheme + " > " + row.b->scheme;
    };
    for (const Row &row : shown) {
      width = std::max(width, row.a->name.size());
      kinds = std::max(kinds, kind(row).size());
    }
    auto begin = [&](StringRef name, StringRef stored) {
      out << llvm::left_justify(getPrintable(name), width) << "  "
          << llvm::left_justify(getPrintable(stored), kinds);
    };
    begin("tensor", "");
    out << "  relative RMS       largest      cosine\n";
    for (const Row &row : shown) {
      begin(row.a->name, kind(row));
      printNumbers(out, row.difference);
      out << "\n";
    }
    if (changedCount) {
      begin("the " + std::to_string(changedCount) + " in other schemes", "");
      printNumbers(out, changed);
      out << "\n";
    }
    begin(totalName, "");
    printNumbers(out, total);
    out << "\n";
    for (const auto &[path, names] :
         {std::pair(&pathA, &onlyA), std::pair(&pathB, &onlyB)})
      for (const std::string &name : *names)
        out << "only in " << getPrintable(*path) << ": " << getPrintable(name)
            << "\n";
  });
}

/// JSON has no infinity and no NaN.
static llvm::json::Value getNumber(double value) {
  return std::isfinite(value) ? llvm::json::Value(value)
                              : llvm::json::Value(nullptr);
}

static void printNumbers(llvm::json::OStream &json, const Difference &numbers) {
  json.attribute("relative_rms", getNumber(numbers.getRelativeRms()));
  json.attribute("largest", getNumber(numbers.largest));
  json.attribute("cosine", getNumber(numbers.getCosine()));
  json.attribute("exact", numbers.unequal == 0);
  json.attribute("unequal", numbers.unequal);
}

LogicalResult Diff::printJson(size_t top) {
  return writeOutput(context, [&](llvm::raw_ostream &out) {
    llvm::json::OStream json(out, 1);
    auto list = [&](StringRef key, ArrayRef<std::string> names) {
      json.attributeArray(key, [&] {
        for (const std::string &name : names)
          json.value(getPrintable(name));
      });
    };
    json.object([&] {
      json.attribute("a", getPrintable(pathA));
      json.attribute("b", getPrintable(pathB));
      json.attributeObject("total", [&] { printNumbers(json, total); });
      json.attribute("changed_tensors", changedCount);
      json.attributeObject("changed", [&] { printNumbers(json, changed); });
      json.attributeArray("tensors", [&] {
        for (const Row &row : ArrayRef(rows).take_front(top))
          json.object([&] {
            json.attribute("name", getPrintable(row.a->name));
            json.attribute("shape", llvm::json::Array(row.a->shape));
            json.attribute("scheme_a", getPrintable(row.a->scheme));
            json.attribute("scheme_b", getPrintable(row.b->scheme));
            printNumbers(json, row.difference);
          });
      });
      list("only_a", onlyA);
      list("only_b", onlyB);
    });
    out << "\n";
  });
}

int main(int argc, char **argv) {
  CompilerTool tool(argc, argv, "lapidary diff");
  namespace cl = llvm::cl;
  cl::OptionCategory &category = tool.getCategory();
  cl::opt<std::string> a(cl::Positional, cl::cat(category), cl::desc("<A>"));
  cl::opt<std::string> b(
      cl::Positional, cl::cat(category),
      cl::desc("<B: bundles, Hugging Face folders or .gguf files>"));
  cl::opt<std::string> media(
      "mmproj", cl::value_desc("FILE"), cl::cat(category),
      cl::desc("The file of projections that belongs to a .gguf file"));
  cl::opt<bool> json("json", cl::cat(category), cl::desc("Print JSON"));
  cl::opt<unsigned> top("top", cl::value_desc("N"), cl::cat(category),
                        cl::desc("Print the N worst tensors (default: all)"));
  if (auto code = tool.parseOptions(
          "Compares weights, tensor by tensor, worst first. Errors are "
          "relative to A; 'exact' tensors are equal in A's type. The exit code "
          "is 1 when a tensor is on one side only or has another shape "
          "there.\n\n"
          "  lapidary diff gemma-4-12b gemma.lap\n"))
    return *code;
  if (a.empty() || b.empty())
    return tool.failUsage("expected two bundles or checkpoints");
  size_t rows =
      top.getNumOccurrences() ? top : std::numeric_limits<size_t>::max();
  return tool.run([&](MLIRContext &context) -> LogicalResult {
    Diff diff(tool, context, a, b, media);
    if (failed(diff.compare()) ||
        failed(json ? diff.printJson(rows) : diff.printTable(rows)))
      return failure();
    return diff.checkComplete();
  });
}
