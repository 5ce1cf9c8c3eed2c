// The kinds of GPU that kernels are written for.
#include "targets/gpu/KernelEmitter.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static const Facts knownFacts[] = {
    {"dot", /*dotProducts=*/true},
    {"base", /*dotProducts=*/false},
};

ArrayRef<Facts> simt::getFacts() { return knownFacts; }

const Facts *simt::findFacts(StringRef name) {
  for (const Facts &facts : knownFacts)
    if (facts.name == name)
      return &facts;
  return nullptr;
}
