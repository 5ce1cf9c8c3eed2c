// Compiles one kernel from IR text for Vulkan and runs it on this machine's
// first device, as table Kernel of the bundle's schema says, in harder ways
// than a runtime would: from a first token that is not 0, in several ranges of
// tiles, with windows of large operands, with NaNs around all memory.
#pragma once

#include "targets/vulkan/CodeGeneration.h"
#include "test/targets/gpu/TestDevice.h"

namespace mlir::lap::simt {

/// Whether this machine can run the variant's code.
bool canRun(const Facts &facts);

class VulkanKernel {
public:
  /// `module` holds one lap.kernel named @kernel, and schemes.
  VulkanKernel(ModuleOp module, const Facts &facts);

  /// Runs all tiles, in `parts` dispatches. Buffers are GuardedVectors.
  void run(const std::vector<void *> &buffers, int64_t tokens, int64_t past,
           int64_t chunk, int64_t parts) const;

private:
  /// Memory of an operand: rows of what are other sequences' tokens, its own,
  /// and what a kernel must not look at.
  struct Operand {
    TestDevice::Memory memory;
    uint8_t *host;
    size_t before, bytes;
  };

  std::vector<Operand> upload(const std::vector<void *> &buffers,
                              int64_t firstToken) const;
  void download(const std::vector<Operand> &operands) const;
  TestDevice::Memory makeSizes(int64_t tokens, int64_t past, int64_t firstToken,
                               int64_t chunk) const;

  TestDevice *device;
  KernelInfo info;
  std::unique_ptr<TestDevice::Shader> shader;
  /// Of each operand: bytes of a token's row in operands that have such, else
  /// 0.
  std::vector<int64_t> tokenBytes;
  bool hasCaches = false;
};

} // namespace mlir::lap::simt
