// The kinds of GPU that kernels are written for.
#include "targets/gpu/KernelEmitter.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static const Facts knownFacts[] = {
    {"matrix16", /*dotProducts=*/true, /*subgroups=*/true, /*matrix=*/16},
    {"matrix8", /*dotProducts=*/true, /*subgroups=*/true, /*matrix=*/8},
    {"dot", /*dotProducts=*/true, /*subgroups=*/true, /*matrix=*/0},
    {"base", /*dotProducts=*/false, /*subgroups=*/false, /*matrix=*/0},
};

ArrayRef<Facts> simt::getFacts() { return knownFacts; }

const Facts *simt::findFacts(StringRef name) {
  for (const Facts &facts : knownFacts)
    if (facts.name == name)
      return &facts;
  return nullptr;
}

bool Facts::agrees(const Facts &other, ArrayRef<std::string> uses) const {
  return llvm::all_of(uses, [&](StringRef use) {
    return use == usesDots        ? dotProducts == other.dotProducts
           : use == usesSubgroups ? subgroups == other.subgroups
                                  : matrix == other.matrix;
  });
}
