// Finds recipes by name or path.
#include "compiler/RecipeLibrary.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::lap;

static constexpr BuiltInText recipeTexts[] = {
#include "compiler/Recipes.inc"
};
static constexpr StringRef recipeSuffix = ".recipe";

ArrayRef<BuiltInText> mlir::lap::getBuiltInRecipes() { return recipeTexts; }

/// Schemes that a recipe names by path lie beside it.
static std::string resolvePath(StringRef scheme, StringRef folder) {
  if (!scheme.ends_with(schemeSuffix) || llvm::sys::path::is_absolute(scheme))
    return scheme.str();
  SmallString<128> path(folder);
  llvm::sys::path::append(path, scheme);
  return path.str().str();
}

static FailureOr<lapidary::Recipe>
parseRecipe(MLIRContext *context, StringRef text, StringRef origin) {
  lapidary::Result<lapidary::Recipe> recipe =
      lapidary::Recipe::parse(text, origin.str());
  if (!recipe.ok())
    return emitError(UnknownLoc::get(context)) << recipe.status().message();
  recipe->mapSchemes([&](StringRef scheme) {
    return resolvePath(scheme, llvm::sys::path::parent_path(origin));
  });
  return *std::move(recipe);
}

FailureOr<lapidary::Recipe> mlir::lap::loadRecipe(MLIRContext *context,
                                                  StringRef nameOrPath) {
  if (const BuiltInText *known = findText(recipeTexts, nameOrPath))
    return parseRecipe(context, known->text, known->name);
  if (!llvm::sys::fs::exists(nameOrPath))
    return emitError(UnknownLoc::get(context))
           << "unknown recipe '" << nameOrPath << "': known are "
           << listNames(recipeTexts) << ", or the path of a file";
  FailureOr<std::string> text = readSmallText(context, nameOrPath);
  if (failed(text))
    return failure();
  return parseRecipe(context, *text, nameOrPath);
}

static bool isScheme(StringRef quant) {
  return findText(getBuiltInSchemes(), quant) || quant.ends_with(schemeSuffix);
}

static bool isRecipe(StringRef quant) {
  return findText(recipeTexts, quant) || quant.ends_with(recipeSuffix);
}

bool mlir::lap::isQuant(StringRef quant) {
  return isScheme(quant) || isRecipe(quant);
}

FailureOr<lapidary::Recipe> mlir::lap::loadQuant(MLIRContext *context,
                                                 StringRef quant) {
  if (isScheme(quant))
    return lapidary::Recipe::forAll(quant);
  if (isRecipe(quant))
    return loadRecipe(context, quant);
  return emitError(UnknownLoc::get(context))
         << "unknown --quant '" << quant << "': known are the schemes "
         << listNames(getBuiltInSchemes()) << ", the recipes "
         << listNames(recipeTexts)
         << ", and paths that end in .mlir or .recipe; 'lapidary quants' says "
            "more";
}
