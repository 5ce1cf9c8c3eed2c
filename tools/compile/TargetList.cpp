// What `--target` and `--variant` name (see the header).
#include "tools/compile/TargetList.h"

using namespace mlir;
using namespace mlir::lap;

static SmallVector<StringRef> split(StringRef names) {
  SmallVector<StringRef> result;
  names.split(result, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/!names.empty());
  return result;
}

std::optional<TargetList> mlir::lap::parseTargets(StringRef names) {
  TargetList targets;
  SmallVector<StringRef> others;
  for (StringRef name : split(names)) {
    if (name == "vulkan")
      targets.vulkan = true;
    else
      others.push_back(name);
  }
  if (!others.empty()) {
    targets.architectures = cpu::parseTarget(llvm::join(others, ","));
    if (targets.architectures.empty())
      return std::nullopt;
  }
  if (targets.architectures.empty() && !targets.vulkan)
    return std::nullopt;
  return targets;
}

std::string mlir::lap::listTargets() { return "vulkan, " + cpu::listTargets(); }

StringRef mlir::lap::findUnknownVariant(StringRef names,
                                        const TargetList &targets) {
  SmallVector<StringRef> others;
  for (StringRef name : split(names))
    if (name == "native" || !targets.vulkan || !simt::findFacts(name)) {
      if (StringRef unknown = cpu::findUnknown(name, targets.architectures);
          !unknown.empty() || name.empty())
        return name.empty() ? names : unknown;
    }
  return "";
}

std::string mlir::lap::listVariants() {
  std::string list = cpu::listVariants(", ", ", ");
  for (const simt::Facts &facts : simt::getFacts())
    list += ", " + facts.name.str();
  return list;
}

SmallVector<const simt::Facts *> mlir::lap::chooseGpuVariants(StringRef names) {
  SmallVector<StringRef> list = split(names);
  bool named = llvm::any_of(
      list, [](StringRef name) { return simt::findFacts(name) != nullptr; });
  SmallVector<const simt::Facts *> chosen;
  for (const simt::Facts &facts : simt::getFacts())
    if (!named || llvm::is_contained(list, facts.name))
      chosen.push_back(&facts);
  return chosen;
}
