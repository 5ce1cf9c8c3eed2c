// What the emitters of GPU kernels share: the kernel's operands as buffers of
// words, the invocations of a workgroup, sums over a workgroup. An emitter
// writes `scf`, `arith`, `math`, `memref` and `gpu` ops for one invocation;
// what GPUs do differently goes by `Facts`.
//
// A kernel needs little of a device: storage buffers of 32-bit words,
// workgroups of 128 invocations, 16 KiB of shared memory. Smaller elements are
// taken out of words by shifts. No value is infinite: devices need not know
// infinities.
#pragma once

#include "compiler/KernelInfo.h"
#include "dialects/lap/WeightLayout.h"
#include "targets/shared/KernelBuilder.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace mlir::lap::simt {

/// What a kind of GPU has.
struct Facts {
  StringRef name;
  /// SPIR-V's packed integer dot products.
  bool dotProducts = false;
  /// Sums and maxima over a subgroup, whatever its size is.
  bool subgroups = false;
  /// Rows, columns and depth of matrices of f16 that a subgroup multiplies with
  /// sums in f32; 0: none.
  int64_t matrix = 0;

  /// What a kernel may depend on.
  static constexpr StringLiteral usesDots = "dot", usesSubgroups = "subgroup",
                                 usesMatrices = "matrix";
  /// Whether a kernel that depends on these is the same for both.
  bool agrees(const Facts &other, ArrayRef<std::string> uses) const;
};
/// All kinds, the best first.
ArrayRef<Facts> getFacts();
/// The one of that name, if there is one.
const Facts *findFacts(StringRef name);

/// Buffers are words, of which the element type says what they hold: f32, i32;
/// f16, bf16 (two a word), i8 (four).
class KernelEmitter : public KernelBuilder {
public:
  /// Invocations of a workgroup.
  static constexpr int64_t threads = 128;
  /// The memory of a workgroup, in words, that every device has.
  static constexpr int64_t mostSharedWords = 4096;
  /// Stands for minus infinity.
  static constexpr float lowest = -3.0e38F;

  /// Starts a `gpu.module` with one `gpu.func`, both named like the kernel, at
  /// the end of `target`. Its arguments are the step's sizes, the operands (two
  /// for a cache: keys, values) and four i32: step, first tile, window begin,
  /// window end (see table Kernel of the schema).
  KernelEmitter(KernelOp kernel, ModuleOp target, const Facts &facts);

  const Facts &getFacts() const { return facts; }
  /// Which facts made a difference to what was written.
  ArrayRef<StringRef> getUses() const { return uses.getArrayRef(); }
  void noteUse(StringRef fact) { uses.insert(fact); }
  gpu::GPUFuncOp getFunction() const { return function; }
  /// Operands of a dispatch (a cache is two), and which one a buffer is.
  int64_t getOperandCount();
  int64_t getOperandNumber(Buffer buffer) const;
  /// Memory of the workgroup: f32 or i32.
  Buffer makeShared(int64_t words, Type elementType);
  int64_t getSharedWords() const { return sharedWords; }

  /// The tile that this workgroup computes (index).
  Value getTile() const { return tile; }
  /// The workgroup's y (index): which tokens, where `token_tile` is used.
  Value getTokenTile();
  /// This invocation of the workgroup (index, 0 to 127).
  Value getThread() const { return thread; }
  /// Sizes of the step, or of the sequence for kernels with caches (index).
  Value getTokens() const { return tokens; }
  Value getPast() const { return past; }
  Value getChunk() const { return chunk; }
  /// The row of the operands at which the sequence begins: kernels with caches
  /// add it to the token (index).
  Value getFirstToken() const { return firstToken; }
  Value getWindowBegin() const { return windowBegin; }
  Value getWindowEnd() const { return windowEnd; }

  // Conditions and index arithmetic.
  Value equal(Value lhs, Value rhs);
  Value both(Value lhs, Value rhs);
  Value toIndex(Value word);
  Value toWord(Value index);

  // i32.
  Value word(uint32_t value);
  Value shiftLeft(Value word, int64_t bits);
  Value shiftLeft(Value word, Value bits);
  Value shiftRight(Value word, int64_t bits);
  Value shiftRight(Value word, Value bits);
  Value andWord(Value word, uint32_t mask);
  Value orWord(Value lhs, Value rhs);
  Value asFloat(Value word);
  Value asWord(Value number);

  // f32.
  Value number(float value) { return constantF32(value); }
  Value maxF(Value lhs, Value rhs);
  Value absF(Value x);
  Value inverseSqrt(Value x);
  /// x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))): GELU's tanh form.
  Value gelu(Value x);
  /// cap * tanh(x / cap).
  Value softcap(Value x, float cap);

  /// A word of a buffer, whatever its elements are; `at` counts words.
  Value loadWord(Buffer buffer, Value at);
  void storeWord(Value word, Buffer buffer, Value at);
  /// An element as f32; `at` counts elements.
  Value load(Buffer buffer, Value at);
  /// Into a buffer of f32.
  void store(Value number, Buffer buffer, Value at);
  /// An element of a buffer of i32.
  Value loadIndex(Buffer buffer, Value at);
  /// Sets an element of 8 or 16 bits (in the low bits of `value`, zeros above)
  /// whatever other invocations do to the rest of its word.
  void storePart(Value value, Value memref, Value element, int64_t bits);

  /// The exact f32 of an f16 (in the low bits, zeros above).
  Value widenHalf(Value bits);
  /// The f32 of the two f16 in a word, the low bits first. Devices may take
  /// what is less than the least normal f16 for 0.
  std::pair<Value, Value> widenHalves(Value word);
  /// Two numbers as f16, the first in the low bits; which of the two nearest is
  /// the device's choice.
  Value narrowHalves(Value first, Value second);
  /// The nearest f16, ties to even, in the low bits.
  Value narrowHalf(Value number);
  /// The nearest bf16, ties to even, in the low bits.
  Value narrowBFloat(Value number);
  /// sum + the four products of the bytes of two words; `weights` are not
  /// negative, and below 128 if `small`; `inputs` are signed.
  Value addDot(Value sum, Value weights, Value inputs, bool small);

  /// The invocation's share of [0, count): it and every 128th after it.
  void forThread(Value count, function_ref<void(Value)> body);
  void forThread(int64_t count, function_ref<void(Value)> body);
  SmallVector<Value> forThread(Value count, ValueRange initial, LoopBody body);

  /// All of the workgroup wait for each other and see its shared memory.
  void barrier();
  /// Over the workgroup, for each invocation. All of it must come here, and
  /// once: not in a loop.
  Value sumAll(Value number);
  Value maxAll(Value number);
  /// 1 / sqrt(sum(x^2) / width + eps) of the row at `at`.
  Value inverseRms(Buffer buffer, Value at, int64_t width, float eps);
  /// Mean and 1 / sqrt(variance + eps) of a row.
  std::pair<Value, Value> meanAndInverseDeviation(Buffer buffer, Value at,
                                                  int64_t width, float eps);

  /// Ends the function.
  void finish();

private:
  using Combine = function_ref<Value(Value, Value)>;
  Value reduce(Value number, mlir::gpu::AllReduceOperation operation,
               Combine combine);
  Value reduceSubgroups(Value number, mlir::gpu::AllReduceOperation operation,
                        Combine combine);

  const Facts &facts;
  llvm::SmallSetVector<StringRef, 3> uses;
  gpu::GPUFuncOp function;
  Value tile, thread, tokens, past, chunk, firstToken, windowBegin, windowEnd;
  /// Of reductions, and how many there were.
  Buffer partial;
  int64_t reductions = 0, sharedWords = 0;
};

/// Emits the body of the kernel for its op; says how it is to be called.
FailureOr<KernelInfo> emitKernel(KernelEmitter &emitter, Operation *op);

FailureOr<KernelInfo> emitPackInput(KernelEmitter &e, PackInputOp op);
FailureOr<KernelInfo> emitLinear(KernelEmitter &e, FusedLinearOp op);
FailureOr<KernelInfo> emitEmbed(KernelEmitter &e, EmbedOp op);
FailureOr<KernelInfo> emitRopeKvUpdate(KernelEmitter &e, RopeKvUpdateOp op);
KernelInfo emitRopeQuery(KernelEmitter &e, RopeQueryOp op);
KernelInfo emitConcat(KernelEmitter &e, ConcatOp op);
FailureOr<KernelInfo> emitAttention(KernelEmitter &e, AttentionOp op);
FailureOr<KernelInfo> emitPartialAttention(KernelEmitter &e,
                                           PartialAttentionOp op);
KernelInfo emitMergeAttention(KernelEmitter &e, MergeAttentionOp op);
KernelInfo emitResidualNorm(KernelEmitter &e, ResidualNormOp op);
KernelInfo emitPatchEmbedding(KernelEmitter &e, PatchEmbeddingOp op);
KernelInfo emitTopK(KernelEmitter &e, TopKOp op);

} // namespace mlir::lap::simt
