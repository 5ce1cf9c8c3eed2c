// Calls of one kernel (see the header).
#include "test/targets/gpu/VulkanKernel.h"
#include "dialects/lap/LapDialect.h"
#include "test/targets/cpu/GuardedVector.h"

#include <cstring>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

/// What is around operands: NaNs of f32, f16 and bf16, and codes of -1.
static constexpr uint8_t poison = 0xff;
/// Bytes of it behind an operand.
static constexpr size_t paddingBytes = 4096;
/// The sequence's first token where kernels have caches, and the row of sizes.
static constexpr int64_t otherTokens = 3, sequenceRow = 1;

bool simt::canRun(const Facts &facts) {
  TestDevice *device = TestDevice::get();
  return device && (!facts.dotProducts || device->hasDotProducts()) &&
         (!facts.subgroups || device->hasSubgroups()) &&
         (!facts.matrix || device->hasMatrices(facts.matrix));
}

/// The bytes of a token's row, 0 for what has no such rows.
static int64_t getTokenBytes(MemRefType type) {
  bool isStep = type.isDynamicDim(0) ||
                (type.getDimSize(0) == 1 &&
                 (type.getRank() > 1 || type.getElementType().isInteger(32)));
  if (!isStep)
    return 0;
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  for (int64_t size : type.getShape().drop_front())
    bytes *= size;
  return bytes;
}

VulkanKernel::VulkanKernel(ModuleOp module, const Facts &facts)
    : device(TestDevice::get()) {
  KernelOp kernel = *module.getOps<KernelOp>().begin();
  for (Type type : kernel.getArgumentTypes()) {
    if (isa<KvCacheType>(type)) {
      hasCaches = true;
      tokenBytes.insert(tokenBytes.end(), {0, 0});
    } else if (auto memref = dyn_cast<MemRefType>(type)) {
      tokenBytes.push_back(getTokenBytes(memref));
    }
  }
  PassManager passes(module.getContext());
  vulkan::buildGpuPipeline(passes, facts);
  if (failed(passes.run(module))) {
    ADD_FAILURE() << "cannot lower the kernel to the gpu dialect";
    return;
  }
  info = vulkan::getKernelInfo(module).lookup("kernel");
  PassManager toSpirv(module.getContext());
  vulkan::buildSpirvPipeline(toSpirv);
  if (failed(toSpirv.run(module))) {
    ADD_FAILURE() << "cannot lower the kernel to SPIR-V";
    return;
  }
  std::string code;
  llvm::StringMap<TargetCode::Variant::Module> modules;
  if (failed(vulkan::serialize(module, code, modules))) {
    ADD_FAILURE() << "no SPIR-V";
    return;
  }
  // One kernel, so one module.
  std::vector<uint32_t> words(code.size() / sizeof(uint32_t));
  std::memcpy(words.data(), code.data(), code.size());
  shader = std::make_unique<TestDevice::Shader>(
      *device, words, "kernel", static_cast<uint32_t>(1 + tokenBytes.size()));
}

TestDevice::Memory VulkanKernel::makeSizes(int64_t tokens, int64_t past,
                                           int64_t firstToken,
                                           int64_t chunk) const {
  auto number = [](int64_t size) { return static_cast<int32_t>(size); };
  // Of a step of two sequences; `past` is nothing that the first row tells.
  const int32_t rows[] = {number(tokens),
                          0,
                          0,
                          number(chunk),
                          number(tokens),
                          number(past),
                          number(firstToken),
                          number(chunk)};
  TestDevice::Memory memory(*device, sizeof(rows));
  std::memcpy(memory.getBytes().data(), rows, sizeof(rows));
  return memory;
}

std::vector<VulkanKernel::Operand>
VulkanKernel::upload(const std::vector<void *> &buffers,
                     int64_t firstToken) const {
  std::vector<Operand> operands;
  for (auto [buffer, rowBytes] : llvm::zip_equal(buffers, tokenBytes)) {
    int64_t bytes = cpu::countGuardedBytes(buffer);
    EXPECT_GE(bytes, 0) << "a buffer that is no GuardedVector";
    size_t before = firstToken * rowBytes;
    size_t all = llvm::alignTo(before + bytes, 4) + paddingBytes;
    Operand operand{TestDevice::Memory(*device, all),
                    static_cast<uint8_t *>(buffer), before,
                    static_cast<size_t>(bytes)};
    std::span<uint8_t> memory = operand.memory.getBytes();
    std::memset(memory.data(), poison, memory.size());
    std::memcpy(memory.data() + before, buffer, bytes);
    operands.push_back(std::move(operand));
  }
  return operands;
}

void VulkanKernel::download(const std::vector<Operand> &operands) const {
  for (auto [number, operand] : llvm::enumerate(operands)) {
    std::span<uint8_t> memory = operand.memory.getBytes();
    auto isPoison = [](std::span<uint8_t> bytes) {
      return llvm::all_of(bytes, [](uint8_t byte) { return byte == poison; });
    };
    EXPECT_TRUE(isPoison(memory.first(operand.before)))
        << "wrote before operand " << number;
    EXPECT_TRUE(isPoison(memory.subspan(operand.before + operand.bytes)))
        << "wrote behind operand " << number;
    std::memcpy(operand.host, memory.data() + operand.before, operand.bytes);
  }
}

void VulkanKernel::run(const std::vector<void *> &buffers, int64_t tokens,
                       int64_t past, int64_t chunk, int64_t parts) const {
  ASSERT_TRUE(shader);
  ASSERT_EQ(buffers.size(), tokenBytes.size());
  int64_t firstToken = hasCaches ? otherTokens : 0;
  TestDevice::Memory sizes = makeSizes(tokens, past, firstToken, chunk);
  std::vector<Operand> operands = upload(buffers, firstToken);
  int64_t tiles = info.tiles.constant + info.tiles.perToken * tokens;
  int64_t rows = info.tokenTile ? llvm::divideCeil(tokens, info.tokenTile) : 1;

  // Row tiles of the operands that have windows.
  int64_t windowTiles = 0;
  for (auto [bytes, operand] : llvm::zip(info.windowBytes, operands))
    if (bytes)
      windowTiles = std::max<int64_t>(windowTiles,
                                      llvm::divideCeil(operand.bytes, bytes));
  // Of operands with windows, memory that has nothing but the window.
  std::vector<TestDevice::Memory> windows;
  windows.reserve(operands.size() * parts);
  std::vector<TestDevice::Dispatch> dispatches;
  auto add = [&](int64_t first, int64_t end, int64_t begin, int64_t windowEnd) {
    auto number = [](int64_t size) { return static_cast<int32_t>(size); };
    TestDevice::Dispatch dispatch{static_cast<uint32_t>(end - first),
                                  static_cast<uint32_t>(rows),
                                  {number(hasCaches ? sequenceRow : 0),
                                   number(first), number(begin),
                                   number(windowEnd)},
                                  {&sizes}};
    for (auto [i, operand] : llvm::enumerate(operands)) {
      int64_t tileBytes = info.windowBytes.empty() ? 0 : info.windowBytes[i];
      if (!tileBytes) {
        dispatch.buffers.push_back(&operand.memory);
        continue;
      }
      size_t from = begin * tileBytes;
      size_t bytes = (windowEnd - begin) * tileBytes;
      TestDevice::Memory &window =
          windows.emplace_back(*device, llvm::alignTo(bytes, 4) + paddingBytes);
      std::memset(window.getBytes().data(), poison, window.getBytes().size());
      std::memcpy(window.getBytes().data(),
                  operand.memory.getBytes().data() + from,
                  std::min(bytes, operand.bytes - from));
      dispatch.buffers.push_back(&window);
    }
    if (end > first && (windowEnd > begin || !windowTiles))
      dispatches.push_back(std::move(dispatch));
  };
  for (int64_t part = 0; part < parts; ++part) {
    if (info.windowsRepeat)
      add(0, tiles, windowTiles * part / parts,
          windowTiles * (part + 1) / parts);
    else
      add(tiles * part / parts, tiles * (part + 1) / parts,
          tiles * part / parts, tiles * (part + 1) / parts);
  }
  device->run(*shader, dispatches);
  download(operands);
}
