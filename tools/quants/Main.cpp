// lapidary-quants: the `lapidary quants` command. Lists schemes and recipes
// with what they make of a model's size, and prints one to copy and change.
#include "compiler/RecipeLibrary.h"
#include "dialects/lap/SchemeDecode.h"
#include "tools/compiler/CompilerTool.h"
#include "tools/quants/TensorShapes.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace mlir::lap;

namespace {

struct Entry {
  std::string name;
  std::string description;
  StoredSize size;
  /// Nothing for a recipe.
  std::optional<bool> affine;
};

struct QuantsOptions {
  std::string name;
  std::string checkpoint;
  /// The GGUF file of the projections; may be empty.
  std::string media;
  bool recipe = false;
  bool json = false;
};

class Quants {
public:
  Quants(MLIRContext &context, const QuantsOptions &options)
      : context(context), options(options) {}
  LogicalResult run();

private:
  LogicalResult loadTensors();
  /// The scheme of a name or path, loaded once.
  FailureOr<SchemeOp> getOp(StringRef name);
  LogicalResult addScheme(StringRef name, StringRef text);
  LogicalResult addRecipe(StringRef name, StringRef text);
  FailureOr<StoredSize> getSize(const lapidary::Recipe &recipe);
  LogicalResult printText(StringRef text);
  LogicalResult printFile();
  void printTable(llvm::raw_ostream &out, StringRef title,
                  ArrayRef<Entry> entries);
  LogicalResult print();

  MLIRContext &context;
  const QuantsOptions &options;
  std::vector<TensorShape> tensors;
  std::string model = "Gemma 4 12B";
  llvm::StringMap<OwningOpRef<ModuleOp>> loaded;
  llvm::StringMap<lapidary::Scheme> models;
  std::vector<Entry> schemes, recipes;
};

} // namespace

/// The first sentence of the comment that a text begins with.
static std::string describe(StringRef text, StringRef mark) {
  std::string comment;
  for (StringRef line : llvm::split(text, '\n')) {
    if (!line.consume_front(mark))
      break;
    comment += (comment.empty() ? "" : " ") + line.trim().str();
  }
  return getPrintable(StringRef(comment).split(". ").first.rtrim('.'));
}

LogicalResult Quants::loadTensors() {
  if (options.checkpoint.empty()) {
    tensors = getLargeShapes();
    return success();
  }
  auto read = readShapes(options.checkpoint, options.media);
  if (!read.ok())
    return check(context, read.status());
  tensors = *std::move(read);
  model = options.checkpoint;
  return success();
}

FailureOr<SchemeOp> Quants::getOp(StringRef name) {
  OwningOpRef<ModuleOp> &module = loaded[name];
  if (!module) {
    auto read = loadScheme(&context, name);
    if (failed(read))
      return failure();
    module = *std::move(read);
    models[name] = getScheme(*module).getModel();
  }
  return getScheme(*module);
}

FailureOr<StoredSize> Quants::getSize(const lapidary::Recipe &recipe) {
  for (const std::string &name : recipe.getSchemes())
    if (failed(getOp(name)))
      return failure();
  auto size = computeSize(
      tensors, recipe,
      [&](StringRef name) -> const lapidary::Scheme & { return models[name]; });
  if (!size.ok())
    return check(context, size.status());
  return *size;
}

LogicalResult Quants::addScheme(StringRef name, StringRef text) {
  FailureOr<SchemeOp> scheme = getOp(name);
  if (failed(scheme))
    return failure();
  FailureOr<StoredSize> size = getSize(lapidary::Recipe::forAll(name));
  if (failed(size))
    return failure();
  schemes.push_back(
      {name.str(), describe(text, "//"), *size, isAffine(*scheme)});
  return success();
}

LogicalResult Quants::addRecipe(StringRef name, StringRef text) {
  FailureOr<lapidary::Recipe> recipe = loadRecipe(&context, name);
  if (failed(recipe))
    return failure();
  FailureOr<StoredSize> size = getSize(*recipe);
  if (failed(size))
    return failure();
  recipes.push_back({name.str(), describe(text, "#"), *size, std::nullopt});
  return success();
}

LogicalResult Quants::printText(StringRef text) {
  return writeOutput(context, [&](llvm::raw_ostream &out) { out << text; });
}

/// The line of a user's own file.
LogicalResult Quants::printFile() {
  if (failed(loadTensors()))
    return failure();
  auto add = StringRef(options.name).ends_with(".recipe") ? &Quants::addRecipe
                                                          : &Quants::addScheme;
  FailureOr<std::string> text = readSmallText(&context, options.name);
  if (failed(text) || failed((this->*add)(options.name, *text)))
    return failure();
  return print();
}

void Quants::printTable(llvm::raw_ostream &out, StringRef title,
                        ArrayRef<Entry> entries) {
  if (entries.empty())
    return;
  size_t width = title.size();
  for (const Entry &entry : entries)
    width = std::max(width, entry.name.size());
  bool isScheme = entries.front().affine.has_value();
  constexpr double giga = 1e9;
  out << llvm::left_justify(title, width) << "  bits a weight  "
      << (isScheme ? "affine  " : "") << "size in GB  \n";
  for (const Entry &entry : entries) {
    out << llvm::left_justify(entry.name, width)
        << llvm::format("  %13.2f  ", entry.size.bitsPerWeight);
    if (isScheme)
      out << llvm::left_justify(*entry.affine ? "yes" : "-", 8);
    out << llvm::format("%10.3f  ",
                        static_cast<double>(entry.size.bytes) / giga)
        << entry.description << "\n";
  }
}

static void printJson(llvm::json::OStream &json, ArrayRef<Entry> entries) {
  for (const Entry &entry : entries)
    json.object([&] {
      json.attribute("name", getPrintable(entry.name));
      json.attribute("description", entry.description);
      json.attribute("bits_per_weight", entry.size.bitsPerWeight);
      if (entry.affine)
        json.attribute("affine", *entry.affine);
      json.attribute("bytes", entry.size.bytes);
    });
}

LogicalResult Quants::print() {
  return writeOutput(context, [&](llvm::raw_ostream &out) {
    if (!options.json) {
      printTable(out, "scheme", schemes);
      if (!schemes.empty() && !recipes.empty())
        out << "\n";
      printTable(out, "recipe", recipes);
      out << "\nSizes are of the weights of " << getPrintable(model)
          << ". 'lapidary quants NAME' prints a scheme or recipe,\n"
             "'lapidary quants --recipe NAME' the recipe where both have the "
             "name. Of the two, compile's --quant\ntakes the scheme and its "
             "--recipe the recipe.\n";
      return;
    }
    llvm::json::OStream json(out, 1);
    json.object([&] {
      json.attribute("model", getPrintable(model));
      json.attributeArray("schemes", [&] { printJson(json, schemes); });
      json.attributeArray("recipes", [&] { printJson(json, recipes); });
    });
    out << "\n";
  });
}

LogicalResult Quants::run() {
  StringRef name = options.name;
  if (name.ends_with(".mlir") || name.ends_with(".recipe"))
    return printFile();
  const BuiltInText *scheme = findText(getBuiltInSchemes(), name),
                    *recipe = findText(getBuiltInRecipes(), name);
  if (recipe && (options.recipe || !scheme))
    return printText(recipe->text);
  if (options.recipe)
    return emitError(UnknownLoc::get(&context))
           << "unknown recipe '" << name << "': known are "
           << listNames(getBuiltInRecipes());
  if (scheme)
    return printText(scheme->text);
  if (!name.empty()) // An error that lists what there is.
    return LogicalResult(loadQuant(&context, name));
  if (failed(loadTensors()))
    return failure();
  for (const BuiltInText &scheme : getBuiltInSchemes())
    if (failed(addScheme(scheme.name, scheme.text)))
      return failure();
  for (const BuiltInText &recipe : getBuiltInRecipes())
    if (failed(addRecipe(recipe.name, recipe.text)))
      return failure();
  return print();
}

int main(int argc, char **argv) {
  CompilerTool tool(argc, argv, "lapidary quants");
  namespace cl = llvm::cl;
  cl::OptionCategory &category = tool.getCategory();
  cl::opt<std::string> name(
      cl::Positional, cl::value_desc("NAME|FILE"), cl::cat(category),
      cl::desc("[scheme or recipe: its text; or the file of one: its size]"));
  cl::opt<std::string> checkpoint(
      "for", cl::value_desc("CHECKPOINT"), cl::cat(category),
      cl::desc("Sizes of this checkpoint (default: Gemma 4 12B)"));
  cl::opt<std::string> media(
      "mmproj", cl::value_desc("FILE"), cl::cat(category),
      cl::desc("With --for and a GGUF file: the file of its projections"));
  cl::opt<bool> recipe(
      "recipe", cl::cat(category),
      cl::desc("Print the recipe of that name, not the scheme"));
  cl::opt<bool> json("json", cl::cat(category), cl::desc("Print JSON"));
  if (auto code = tool.parseOptions(
          "Lists quantization schemes and recipes, with bits a weight and "
          "sizes.\n\n"
          "  lapidary quants\n"
          "  lapidary quants q4_0 > my_scheme.mlir\n"
          "  lapidary quants --recipe q8_0 > my.recipe\n\n"
          "A name may be both a scheme's and a recipe's: then 'lapidary "
          "compile' takes the scheme for --quant NAME and the recipe for "
          "--recipe NAME.\n"))
    return *code;
  QuantsOptions options = {name, checkpoint, media, recipe, json};
  bool file = StringRef(options.name).ends_with(".mlir") ||
              StringRef(options.name).ends_with(".recipe");
  if (!options.name.empty() && !file && (json || !options.checkpoint.empty()))
    return tool.failUsage("a name prints a text: --json and --for go with the "
                          "list or with a file");
  if (recipe && (file || options.name.empty()))
    return tool.failUsage("--recipe goes with the name of a built-in recipe");
  if (!options.media.empty() && options.checkpoint.empty())
    return tool.failUsage("--mmproj goes with --for and a GGUF file");
  return tool.run(
      [&](MLIRContext &context) { return Quants(context, options).run(); });
}
