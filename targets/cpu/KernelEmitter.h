// What the emitters of CPU kernels share: the kernel's operands as flat
// buffers, vectors of 16 lanes, loops over rows with a masked tail. An emitter
// writes `scf`, `arith`, `math`, `memref` and `vector` ops; LLVM splits the
// 16-lane vectors where registers are narrower.
#pragma once

#include "compiler/KernelInfo.h"
#include "dialects/lap/WeightLayout.h"
#include "targets/shared/KernelBuilder.h"

namespace mlir::lap::cpu {

enum class Architecture : uint8_t { X86_64, Aarch64 };

/// Register blocking of an instruction set: how much the prefill kernels keep
/// in registers. The tiles of a kernel do not depend on it.
struct Variant {
  StringRef name;
  /// Tokens whose accumulators are kept at once.
  int64_t tokenBlock;
  /// Row tiles (16 rows) whose accumulators are kept at once.
  int64_t rowTiles;
  /// Of sums of integers, which take as many registers again while they are
  /// made: tokens and row tiles at once.
  int64_t dotTokens, dotTiles;
  /// Width of the registers.
  unsigned vectorBits;
  /// Whether an instruction sums products of bytes (AVX-512 VNNI, dotprod).
  bool dotProducts = false;
  /// Whether one sums products of pairs of bf16 (AVX512_BF16).
  bool halfProducts = false;
  Architecture architecture = Architecture::X86_64;
  /// aarch64: whether such an instruction takes unsigned bytes times signed
  /// ones (i8mm), as VNNI's does.
  bool mixedSigns = false;
  /// Whether there are matrix registers for products of bytes and of bf16
  /// (AMX).
  bool tiles = false;
};

/// In buffers 16-bit floats are kept as i16: their conversions are written out,
/// because LLVM would call a library for some (bf16 through a mask).
class KernelEmitter : public KernelBuilder {
public:
  static constexpr int64_t lanes = 16;

  /// Starts the function for `kernel` at the end of `target`: loads operands
  /// and sizes.
  KernelEmitter(KernelOp kernel, ModuleOp target, const Variant &variant);

  const Variant &getVariant() const { return variant; }
  func::FuncOp getFunction() const { return function; }
  /// An operand's memory as elements of another type.
  Buffer getView(Buffer buffer, Type elementType);
  /// The address of an element of an operand or of scratch memory.
  Value getAddress(Buffer buffer, Value at);
  /// Memory at a pointer, as elements of a type.
  Buffer makeBuffer(Value pointer, Type elementType);
  /// Scratch memory from `byteOffset` on, as f32 or i32.
  Buffer getScratch(int64_t byteOffset = 0, bool words = false);

  Value getTileBegin() const { return tileBegin; }
  Value getTileEnd() const { return tileEnd; }
  Value getPast() const { return past; }
  Value getChunk() const { return chunk; }
  /// Tokens of the step: a constant where the kernel is for one count.
  Value getTokens() const { return tokens; }

  // Vectors of f32.
  VectorType vectorType(int64_t size = lanes);
  Value splat(float value, int64_t size = lanes);
  Value broadcast(Value scalar, int64_t size = lanes);
  /// The sum over lanes, as a scalar.
  Value sumLanes(Value vector);

  /// `size` values of an f32, f16, bf16 or i8 buffer as f32, in a vector of
  /// `lanes` (the rest is 0) where `size` is at most that.
  Value load(Buffer buffer, Value at, int64_t size = lanes);
  void store(Value vector, Buffer buffer, Value at, int64_t size = lanes);
  Value loadScalar(Buffer buffer, Value at);
  void storeScalar(Value scalar, Buffer buffer, Value at);
  /// f32 rounded to what a 16-bit float holds.
  Value roundTo(Value value, Type element);
  /// The first `count` lanes (an index, at most 16) of a vector at `at`.
  Value loadLanes(Buffer buffer, Value at, Value count);
  void storeLanes(Value vector, Buffer buffer, Value at, Value count);
  /// An i32 of an i32 buffer, as index.
  Value loadIndex(Buffer buffer, Value at);

  void loopTiles(function_ref<void(Value)> body);
  using KernelBuilder::select;
  /// Of two operands of one type.
  Buffer select(Value condition, Buffer yes, Buffer no);

  using VectorBody =
      function_ref<SmallVector<Value>(Value offset, int64_t size, ValueRange)>;
  /// Walks [begin, end) by vectors: offset and size (16, but for the last).
  SmallVector<Value> vectors(int64_t begin, int64_t end, ValueRange initial,
                             VectorBody body);
  void vectors(int64_t begin, int64_t end,
               function_ref<void(Value, int64_t)> body);

  /// 1 / sqrt(sum(x^2) / width + eps) of the row at `at`, in every lane.
  Value inverseRms(Buffer buffer, Value at, int64_t width, float eps);
  /// Mean and 1 / sqrt(variance + eps) of a row, in every lane.
  std::pair<Value, Value> meanAndInverseDeviation(Buffer buffer, Value at,
                                                  int64_t width, float eps);
  /// x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))): GELU's tanh form without
  /// a tanh.
  Value gelu(Value x);
  /// cap * tanh(x / cap).
  Value softcap(Value x, float cap);

  /// Ends the function.
  void finish();

private:
  /// i16 bits of 16-bit floats, or i8 integers, as f32, and back (to the
  /// nearest, ties to even); scalars or vectors.
  Value widen(Value bits, Type element);
  Value narrow(Value value, Type element);
  Value inverseSqrt(Value scalarMean, float eps);

  const Variant &variant;
  func::FuncOp function;
  /// By the memref that stands for it.
  DenseMap<Value, Value> operandPointers;
  Value scratchPointer, tileBegin, tileEnd, tokens, past, chunk;
};

/// Emits the body of the kernel for its op; says how it is to be called.
FailureOr<KernelInfo> emitKernel(KernelEmitter &emitter, Operation *op);

FailureOr<KernelInfo> emitPackInput(KernelEmitter &e, PackInputOp op);
FailureOr<KernelInfo> emitLinear(KernelEmitter &e, FusedLinearOp op);
FailureOr<KernelInfo> emitEmbed(KernelEmitter &e, EmbedOp op);
KernelInfo emitRopeKvUpdate(KernelEmitter &e, RopeKvUpdateOp op);
KernelInfo emitRopeQuery(KernelEmitter &e, RopeQueryOp op);
KernelInfo emitConcat(KernelEmitter &e, ConcatOp op);
KernelInfo emitAttention(KernelEmitter &e, AttentionOp op);
KernelInfo emitPartialAttention(KernelEmitter &e, PartialAttentionOp op);
KernelInfo emitMergeAttention(KernelEmitter &e, MergeAttentionOp op);
KernelInfo emitResidualNorm(KernelEmitter &e, ResidualNormOp op);
KernelInfo emitPatchEmbedding(KernelEmitter &e, PatchEmbeddingOp op);
KernelInfo emitTopK(KernelEmitter &e, TopKOp op);

} // namespace mlir::lap::cpu
