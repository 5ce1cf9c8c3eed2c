// lapidary-opt: runs passes on IR text, for tests and for looking at what a
// pass does. Its options are those of mlir-opt.
#include "compiler/Passes.h"
#include "compiler/Pipeline.h"

#include "dialects/lap/LapDialect.h"
#include "targets/cpu/Passes.h"
#include "targets/gpu/Passes.h"
#include "targets/vulkan/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

static void registerDialects(DialectRegistry &registry) {
  registry.insert<arith::ArithDialect, bufferization::BufferizationDialect,
                  func::FuncDialect, gpu::GPUDialect, lap::LapDialect,
                  LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect,
                  scf::SCFDialect, spirv::SPIRVDialect, tensor::TensorDialect,
                  vector::VectorDialect>();
}

/// Upstream passes, those that all targets share, and those of each target.
static void registerPasses() {
  registerTransformsPasses();
  lap::registerLapPasses();
  lap::registerLapPipelines();
  lap::cpu::registerLapCpuPasses();
  lap::simt::registerLapGpuPasses();
  lap::vulkan::registerLapVulkanPasses();
}

int main(int argc, char **argv) {
  DialectRegistry registry;
  registerDialects(registry);
  registerPasses();
  return asMainReturnCode(
      MlirOptMain(argc, argv, "Lapidary pass driver\n", registry));
}
