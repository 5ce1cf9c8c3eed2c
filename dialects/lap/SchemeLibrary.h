// The built-in schemes (the files of schemes/), and a user's own.
#pragma once

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace mlir::lap {

/// A file that travels inside the compiler.
struct BuiltInText {
  StringRef name;
  StringRef text;
};

/// Null when there is none of that name.
const BuiltInText *findText(ArrayRef<BuiltInText> texts, StringRef name);
/// "a, b, c": for messages.
std::string listNames(ArrayRef<BuiltInText> texts);
/// A small file of a user; errors are reported at the context.
FailureOr<std::string> readSmallText(MLIRContext *context, StringRef path);

/// Sorted by name.
ArrayRef<BuiltInText> getBuiltInSchemes();

/// What a file of a scheme ends in.
constexpr StringRef schemeSuffix = ".mlir";

/// A module whose one op is the scheme of that name, or that the file of that
/// path (it ends in .mlir) defines. Errors are reported at the context.
FailureOr<OwningOpRef<ModuleOp>> loadScheme(MLIRContext *context,
                                            StringRef nameOrPath);
/// The scheme that a text defines: exactly one, and nothing else.
FailureOr<OwningOpRef<ModuleOp>> parseScheme(MLIRContext *context,
                                             StringRef text, StringRef origin);
SchemeOp getScheme(ModuleOp loaded);

/// Adds a copy of the scheme to the module, unless an equal one is there.
/// Another symbol of its name is an error.
FailureOr<SchemeOp> addScheme(ModuleOp module, SchemeOp scheme);

/// f32, f16 or bf16 when a scheme's value is its one code of that type: then
/// matrices are kept as plain tensors of it. Null otherwise.
Type getFloatType(SchemeOp scheme);

} // namespace mlir::lap
