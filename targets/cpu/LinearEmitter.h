// Writes a linear kernel. A tile is 16 output rows; weights are streamed once
// in the `rows16` layout (dialects/lap/WeightLayout.h), decoded in registers
// (SchemeDecoder.h), and multiplied with broadcast activations, so that each
// lane sums its own row.
//
// The input is f32 as it is, or packed (dialects/lap/PackedInput.h): a row a
// token. Kernels for one token sum over several accumulators to hide the
// latency of FMA. Those for any number keep the sums of a block of tokens x
// row tiles in registers, of blocks as large as fit, then of 8, 4, 2 and 1
// tokens for what is left: no token is computed that is not there.
//
// With 8-bit activations, schemes that are affine in their code are multiplied
// as integers. A step of more tokens than a block has decodes the weights of
// some columns once for many tokens, into scratch memory that stays in the
// first cache (LinearPanel.cpp).
#pragma once

#include "targets/cpu/LinearForm.h"
#include "targets/cpu/SchemeDecoder.h"
#include "targets/cpu/VectorWords.h"

namespace mlir::lap::cpu {

class LinearEmitter {
public:
  LinearEmitter(KernelEmitter &e, FusedLinearOp op);

  FailureOr<KernelInfo> emit();

private:
  using Group = SchemeDecoder::Group;
  /// The streams of some row tiles.
  using GetStreams = function_ref<SmallVector<Stream>(ArrayRef<Value> tiles)>;
  /// Takes those streams' sums for a token.
  using Write = function_ref<void(ArrayRef<Value> tiles, ArrayRef<Value> sums,
                                  Value token)>;

  // Tiles (EmitLinear.cpp).
  /// Finds what the kernel reads of its input.
  LogicalResult bindInput();
  void emitWeight(int64_t number, int64_t firstTile);
  void emitGated();
  /// The tiles from `begin` to `end`, for all tokens.
  void emitTiles(Value begin, Value end, GetStreams getStreams, Write write);
  /// So many tiles at once; the last ones may be one tile several times.
  void forTiles(Value begin, Value end, int64_t count,
                function_ref<void(ArrayRef<Value> tiles)> body);
  /// Tokens in blocks of `most` and less.
  void forBlocks(Value begin, Value end, int64_t most,
                 function_ref<void(Value first, int64_t block)> body);
  void storeRows(Value sums, Buffer out, int64_t rows, Value token, Value tile);

  // Sums (LinearSums.cpp, LinearDots.cpp).
  /// Sums of a block of tokens over all columns, while they are computed,
  /// [stream][token].
  struct Block {
    int64_t tokens;
    /// Where the first token's row begins.
    Value at;
  };
  SmallVector<Value> emitSums(ArrayRef<Stream> streams, const Block &block);
  SmallVector<Value> addGroupForOne(ArrayRef<Stream> streams,
                                    ArrayRef<Group> groups, Value first,
                                    int64_t count, ValueRange sums);
  SmallVector<Value> addGroupForMany(ArrayRef<Stream> streams,
                                     ArrayRef<Group> groups, const Block &block,
                                     Value first, int64_t count,
                                     ValueRange sums);
  /// Products of pairs of bf16.
  SmallVector<Value> addPairs(ArrayRef<Stream> streams, const Block &block,
                              Value first, int64_t count, ValueRange sums);
  SmallVector<Value> addGroupOfIntegers(ArrayRef<Stream> streams,
                                        ArrayRef<Group> groups,
                                        const Block &block, Value first,
                                        int64_t count, ValueRange sums);
  /// The bytes of columns of a run, by fours, of each stream: from `at` on,
  /// which counts from the run's first.
  using GetBytes =
      function_ref<SmallVector<Value>(int64_t stream, Value at, int64_t count)>;
  SmallVector<Value> addRun(ArrayRef<Group> groups, const Block &block,
                            Value first, int64_t count, ValueRange sums,
                            GetBytes getBytes);
  /// Adds products to sums of pairs of tokens, [stream][pair]; `bytes` are
  /// words of four columns, [stream][word], whose inputs are from a slot on.
  void addTokenPairs(ArrayRef<SmallVector<Value>> bytes, const Block &block,
                     Value slot, DotKind kind, MutableArrayRef<Value> dots);
  bool multipliesPairs() const {
    return form->halves && e.getVariant().halfProducts;
  }
  /// Columns whose bytes are best decoded together.
  int64_t getByteSpan() const;

  // Steps of many tokens (LinearPanel.cpp).
  struct Panel;
  void emitPanels(Value begin, Value end, GetStreams getStreams, Write write);
  void decodeColumns(const Panel &panel, ArrayRef<Stream> streams, Value first,
                     int64_t count);
  void addColumns(const Panel &panel, Value first, int64_t count,
                  Value firstToken, Value endToken);

  /// What a token of the block has in a slot, in all lanes.
  Value broadcastSlot(Buffer buffer, const Block &block, Value slot,
                      int64_t token);

  KernelEmitter &e;
  FusedLinearOp op;
  /// One a weight, and those of the weight that is being written.
  std::vector<SchemeDecoder> decoders;
  std::vector<LinearForm> forms;
  SchemeDecoder *decoder = nullptr;
  const LinearForm *form = nullptr;
  int64_t columns;
  bool single, gated;

  /// The input, as f32 and as i32, and from one token's row to the next.
  Buffer floats, words;
  int64_t stride = 0;
  std::optional<PackedInputLayout> layout;
  int64_t valuesAt = 0;
  int64_t scratchBytes = 0;
};

} // namespace mlir::lap::cpu
