// Finds schemes by name or path.
#include "dialects/lap/SchemeLibrary.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace mlir::lap;

static constexpr BuiltInText schemeTexts[] = {
#include "dialects/lap/Schemes.inc"
};
/// Far above any scheme or recipe.
static constexpr int64_t maxTextBytes = 1 << 20;

ArrayRef<BuiltInText> mlir::lap::getBuiltInSchemes() { return schemeTexts; }

const BuiltInText *mlir::lap::findText(ArrayRef<BuiltInText> texts,
                                       StringRef name) {
  const auto *found = llvm::find_if(
      texts, [&](const BuiltInText &text) { return text.name == name; });
  return found == texts.end() ? nullptr : found;
}

std::string mlir::lap::listNames(ArrayRef<BuiltInText> texts) {
  std::string names;
  for (const BuiltInText &text : texts)
    names += (names.empty() ? "" : ", ") + text.name.str();
  return names;
}

FailureOr<std::string> mlir::lap::readSmallText(MLIRContext *context,
                                                StringRef path) {
  auto error = [&] { return emitError(UnknownLoc::get(context)); };
  llvm::sys::fs::file_status status;
  if (std::error_code code = llvm::sys::fs::status(path, status))
    return error() << "cannot read " << path << ": " << code.message();
  if (!llvm::sys::fs::is_regular_file(status))
    return error() << path << ": expected a regular file";
  if (status.getSize() > static_cast<uint64_t>(maxTextBytes))
    return error() << path << " is larger than " << maxTextBytes
                   << " bytes: it is no scheme or recipe";
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return error() << "cannot read " << path << ": "
                   << file.getError().message();
  return (*file)->getBuffer().str();
}

SchemeOp mlir::lap::getScheme(ModuleOp loaded) {
  return cast<SchemeOp>(loaded.getBody()->front());
}

/// The parser calls itself for what stands in brackets and in affine maps, and
/// the printer for attributes in attributes, so that a text could exhaust the
/// stack. A scheme has brackets a few deep and no map.
static LogicalResult checkText(MLIRContext *context, StringRef text,
                               StringRef origin) {
  constexpr int64_t maxSchemeBytes = 64 << 10, maxDepth = 64;
  if (text.size() > maxSchemeBytes)
    return emitError(UnknownLoc::get(context))
           << origin << " has " << text.size()
           << " bytes: expected a scheme of at most " << maxSchemeBytes;
  int64_t depth = 0;
  unsigned line = 1;
  bool inString = false, inComment = false;
  for (size_t i = 0; i < text.size(); ++i) {
    StringRef rest = text.substr(i);
    auto error = [&] {
      unsigned column = i - text.take_front(i).rfind('\n');
      return emitError(FileLineColLoc::get(context, origin, line, column));
    };
    if (text[i] == '\n') {
      ++line;
      inString = inComment = false;
    } else if (inComment) {
      continue;
    } else if (inString) {
      if (text[i] == '\\')
        ++i;
      else
        inString = text[i] != '"';
    } else if (rest.starts_with("//")) {
      inComment = true;
    } else if (rest.starts_with("affine_map") ||
               rest.starts_with("affine_set")) {
      return error() << "a scheme has no affine maps and sets";
    } else if (text[i] == '#' || text[i] == '!') {
      // Names of attributes in attributes nest without brackets; a scheme needs
      // none, so that there is no need to tell where one is defined.
      return error() << "a scheme has no attributes and types with a name";
    } else if (text[i] == '"') {
      inString = true;
    } else if (StringRef("([{<").contains(text[i])) {
      if (++depth > maxDepth)
        return error() << "expected brackets of at most " << maxDepth
                       << " levels";
    } else if (StringRef(")]}").contains(text[i]) ||
               (text[i] == '>' && !text.take_front(i).ends_with("-"))) {
      depth = std::max<int64_t>(depth - 1, 0);
    }
  }
  return success();
}

FailureOr<OwningOpRef<ModuleOp>>
mlir::lap::parseScheme(MLIRContext *context, StringRef text, StringRef origin) {
  if (failed(checkText(context, text, origin)))
    return failure();
  context->loadDialect<LapDialect, arith::ArithDialect, math::MathDialect>();
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(llvm::MemoryBuffer::getMemBufferCopy(text, origin),
                             llvm::SMLoc());
  auto module = parseSourceFile<ModuleOp>(sources, context);
  if (!module)
    return failure();
  Block &body = *module->getBody();
  if (!llvm::hasSingleElement(body) || !isa<SchemeOp>(body.front()))
    return emitError(UnknownLoc::get(context))
           << origin << ": expected one lap.scheme and nothing else";
  return module;
}

FailureOr<OwningOpRef<ModuleOp>> mlir::lap::loadScheme(MLIRContext *context,
                                                       StringRef nameOrPath) {
  if (const BuiltInText *known = findText(schemeTexts, nameOrPath))
    return parseScheme(context, known->text, (known->name + ".mlir").str());
  if (!nameOrPath.ends_with(schemeSuffix))
    return emitError(UnknownLoc::get(context))
           << "unknown scheme '" << nameOrPath << "': known are "
           << listNames(schemeTexts) << ", or a path that ends in "
           << schemeSuffix;
  FailureOr<std::string> text = readSmallText(context, nameOrPath);
  if (failed(text))
    return failure();
  return parseScheme(context, *text, nameOrPath);
}

FailureOr<SchemeOp> mlir::lap::addScheme(ModuleOp module, SchemeOp scheme) {
  auto print = [](Operation *op) {
    std::string text;
    llvm::raw_string_ostream(text) << *op;
    return text;
  };
  if (Operation *taken =
          SymbolTable::lookupSymbolIn(module, scheme.getSymName())) {
    if (isa<SchemeOp>(taken) && print(taken) == print(scheme))
      return cast<SchemeOp>(taken);
    return taken->emitError("@")
           << scheme.getSymName()
           << " is not the scheme of that name; give your scheme another name";
  }
  auto builder = OpBuilder::atBlockBegin(module.getBody());
  return cast<SchemeOp>(builder.clone(*scheme));
}

Type mlir::lap::getFloatType(SchemeOp scheme) {
  auto yield = cast<YieldOp>(scheme.getDecode().front().back());
  Type type = cast<TypeAttr>(scheme.getFieldTypes()[0]).getValue();
  bool plain = scheme.getFieldTypes().size() == 1 &&
               isa<BlockArgument>(yield.getValue()) &&
               (type.isF32() || type.isF16() || type.isBF16());
  return plain ? type : Type();
}
