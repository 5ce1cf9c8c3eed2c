// The linear kernels against a plain matrix product, over odd shapes, norms and
// epilogues, in every variant that this machine runs.
#include "test/targets/cpu/LinearCase.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

const std::vector<LinearCase> cases = {
    {{"bf16", ""}, 64, 64, 1, false, "rms", "none"},
    {{"bf16", ""}, 64, 64, 30, true, "rms", "none"},
    {{"bf16", ""}, 1, 1, 1, false, "none", "none"},
    {{"bf16", ""}, 17, 37, 1, false, "rms", "none"},
    {{"bf16", ""}, 33, 101, 13, true, "layer", "none", 1, true},
    {{"bf16", ""}, 48, 40, 1, true, "none", "none"},
    {{"bf16", ""}, 80, 72, 25, true, "rms", "gated_gelu", 2},
    {{"bf16", ""}, 80, 72, 1, false, "rms", "gated_gelu", 2},
    {{"bf16", ""}, 31, 33, 5, true, "rms", "gated_gelu", 2},
    {{"bf16", ""}, 40, 48, 1, false, "rms", "none", 3},
    {{"bf16", ""}, 40, 48, 7, true, "rms", "none", 3},
    {{"bf16", ""}, 100, 32, 3, true, "rms", "softcap"},
    {{"bf16", ""}, 100, 32, 1, false, "rms", "softcap"},
    {{"bf16", ""}, 33, 40, 2, true, "rms", "none"},
    {{"bf16", ""}, 33, 40, 4, true, "rms", "none"},
    {{"bf16", ""}, 33, 40, 8, true, "rms", "none"},
    {{"bf16", ""}, 33, 40, 11, true, "rms", "none"},
    {{"bf16", ""}, 33, 40, 23, true, "rms", "gated_gelu", 2},
    {{"f16", ""}, 17, 37, 1, false, "rms", "none"},
    {{"f16", ""}, 48, 53, 13, true, "none", "none"},
    {{"f32", ""}, 17, 37, 1, false, "rms", "none"},
    {{"f32", ""}, 48, 53, 13, true, "none", "none"},
    {getBuiltin("q8_0"), 64, 64, 1, false, "rms", "none"},
    {getBuiltin("q8_0"), 17, 37, 1, false, "none", "none"},
    {getBuiltin("q8_0"), 1, 1, 1, false, "none", "none"},
    {getBuiltin("q8_0"), 48, 101, 13, true, "rms", "none"},
    {getBuiltin("q8_0"), 80, 96, 14, true, "rms", "gated_gelu", 2},
    {getBuiltin("q8_0"), 33, 31, 1, false, "rms", "gated_gelu", 2},
};

class LinearKernel : public KernelTest {};

TEST_P(LinearKernel, MatchesPlainProduct) {
  checkLinear(cases[getCase()], getVariant());
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearKernel,
                         allVariants(cases.size(), Matrices),
                         getKernelTestName);

} // namespace
