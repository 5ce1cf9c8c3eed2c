// The built-in recipes (the files of schemes/recipes/), and what --quant says.
#pragma once

#include "compiler/Recipe.h"
#include "dialects/lap/SchemeLibrary.h"

namespace mlir::lap {

/// Sorted by name.
ArrayRef<BuiltInText> getBuiltInRecipes();

/// The recipe of that name, or in the file of that path.
FailureOr<lapidary::Recipe> loadRecipe(MLIRContext *context,
                                       StringRef nameOrPath);

/// Whether `--quant` can say this: a name that is known, or a path.
bool isQuant(StringRef quant);

/// What `--quant` says: a scheme's name, a recipe's name, or a path.
FailureOr<lapidary::Recipe> loadQuant(MLIRContext *context, StringRef quant);

} // namespace mlir::lap
