// Writes a linear kernel. A tile is 16 output rows; weights are streamed once
// in the `rows16` layout (dialects/lap/WeightLayout.h), decoded in registers
// (SchemeDecoder.h), and multiplied with broadcast activations, so that each
// lane sums its own row.
//
// The input is f32 as it is, or packed (dialects/lap/PackedInput.h): a row a
// token. Kernels for one token sum over several accumulators to hide the
// latency of FMA. Those for any number keep the sums of a block of tokens x
// row tiles in registers, of blocks as large as fit, then of 8, 4, 2 and 1
// tokens for what is left: no token is computed that is not there. Integers
// are fast enough to take a token several times where fewer are left, which
// needs less code.
//
// With 8-bit activations, schemes that are affine in their code are multiplied
// as integers. A step of more tokens than a block has decodes the weights of
// some columns once for many tokens, into scratch memory that stays in the
// first cache (LinearPanel.cpp); where there are matrix registers, these
// multiply them (LinearTiles.cpp).
#pragma once

#include "dialects/lap/LinearForm.h"
#include "targets/cpu/SchemeDecoder.h"
#include "targets/cpu/VectorWords.h"

namespace mlir::lap::cpu {

class LinearEmitter {
public:
  LinearEmitter(KernelEmitter &e, FusedLinearOp op);

  FailureOr<KernelInfo> emit();

private:
  using Group = SchemeDecoder::Group;
  /// Where the sums of a row tile go.
  struct Target {
    Buffer out;
    /// The tile's first row in it, and how many rows there are.
    Value row, rows;
    /// Whether no tile of it has less than 16.
    bool whole;
  };
  /// Some row tiles: what is summed, and where to.
  struct Tiles {
    SmallVector<Stream, 2> streams;
    SmallVector<Target, 2> targets;
  };
  /// Tokens whose sums are computed together.
  struct Block {
    SmallVector<Value> tokens;
    /// Where each token's row begins.
    SmallVector<Value> rows;

    int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  };
  using BindTiles = function_ref<Tiles(ArrayRef<Value> tiles)>;
  /// Takes the streams' sums for a token.
  using Write =
      function_ref<void(const Tiles &tiles, ArrayRef<Value> sums, Value token)>;

  // Tiles (EmitLinear.cpp).
  /// Finds what the kernel reads of its input.
  LogicalResult bindInput();
  /// The weights from `first` to `end`, which are alike but for their rows, and
  /// are the kernel's tiles from `firstTile` on.
  void emitWeights(int64_t first, int64_t end, int64_t firstTile);
  void emitGated();
  /// The tiles from `begin` to `end`, for all tokens.
  void emitTiles(Value begin, Value end, BindTiles bind, Write write);
  /// So many tiles at once; the last ones may be one tile several times.
  void forTiles(Value begin, Value end, int64_t count,
                function_ref<void(ArrayRef<Value> tiles)> body);
  /// Tokens in blocks of `most` and less.
  void forBlocks(Value begin, Value end, int64_t most,
                 function_ref<void(Value first, int64_t block)> body);
  /// `count` tokens from `first` on.
  Block makeBlock(Value first, int64_t count);
  /// Tokens from `begin` to `end`, at least one, by blocks of `count`; where
  /// fewer are left, a block has the last token several times.
  void forPaddedBlocks(Value begin, Value end, int64_t count,
                       function_ref<void(const Block &)> body);
  void storeRows(Value sums, const Target &target, Value token);

  // Sums (LinearSums.cpp, LinearDots.cpp): of a block of tokens over all
  // columns, while they are computed, [stream][token].
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
  /// Adds a run's sums of integers, [stream][token], to sums.
  SmallVector<Value> scaleRun(ArrayRef<Group> groups, const Block &block,
                              Value first, ArrayRef<Value> dots,
                              ValueRange sums);
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
  /// What of a panel lies where in scratch memory, in words. A run of decoded
  /// columns is its bytes, then its slope, and its offset where there is one.
  struct Panel {
    /// Two row tiles, or gate and up.
    static constexpr int64_t streams = 2;

    int64_t tokens;
    /// Columns that are decoded together.
    int64_t columns;
    int64_t slopeAt, offsetAt, runWords, streamWords;
    /// [token][stream][row]
    Buffer sums;
    /// The same memory as words and as floats.
    Buffer words, floats;
    /// Of matrix registers, where there are such.
    Buffer tileConfig, tileSums;

    static constexpr int64_t sumWords = streams * KernelEmitter::lanes;
  };
  void emitPanels(Value begin, Value end, BindTiles bind, Write write);
  void decodeColumns(const Panel &panel, ArrayRef<Stream> streams, Value first,
                     int64_t count);
  void addColumns(const Panel &panel, Value first, int64_t count,
                  Value firstToken, Value endToken);

  // Matrix registers (LinearTiles.cpp).
  bool usesTilesForRuns() const;
  bool usesTilesForPairs() const;
  static int64_t getTileScratchBytes();
  void configureRuns(const Panel &panel, const Block &block, Value endToken);
  /// The sums of a run's products, [stream][token], from the input's column
  /// `first` on with the decoded weights from a word of the panel on.
  SmallVector<Value> multiplyRun(const Panel &panel, const Block &block,
                                 Value first, Value weightsAt);
  /// Steps of many tokens whose weights and inputs are bf16.
  void emitPairTiles(Value begin, Value end, BindTiles bind, Write write);
  void releaseTiles();

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
