// Writes a linear kernel. Weights are read in the `rows16` layout, where
// neighbouring invocations have neighbouring rows: no sum runs across them.
//
// For one token a workgroup is a row tile: 16 rows times 8 parts of the
// columns, which are added up at the end. For any number of tokens it is 8 row
// tiles times 32 tokens: the weights of some columns are decoded into the
// workgroup's memory once for all of the tokens, and each invocation sums 8
// rows times 4 tokens. Where a device multiplies matrices, LinearMatrices.cpp
// does that part.
//
// What is read of the input is as on all targets (dialects/lap/LinearForm.h):
// with 8-bit activations, schemes that are affine in their code are multiplied
// as integers.
#pragma once

#include "dialects/lap/LinearForm.h"
#include "targets/gpu/SchemeReader.h"

namespace mlir::lap::simt {

class LinearEmitter {
public:
  LinearEmitter(KernelEmitter &e, FusedLinearOp op);

  FailureOr<KernelInfo> emit();

private:
  static constexpr int64_t tileRows = RowTileLayout::tileRows;
  /// Parts of the columns, with one token.
  static constexpr int64_t parts = KernelEmitter::threads / tileRows;
  /// Of a workgroup for many tokens: row tiles, tokens, and columns at a time,
  /// of bytes and of f32.
  static constexpr int64_t blockTiles = 8, blockTokens = 32;
  static constexpr int64_t byteColumns = 32, floatColumns = 16;
  /// Of each of its invocations.
  static constexpr int64_t ownTokens =
      blockTokens * tileRows / KernelEmitter::threads;

  /// A weight matrix of the op and how it is multiplied.
  struct Matrix {
    Buffer words;
    SchemeReader reader;
    LinearForm form;
  };
  /// A row tile whose sums are computed: of which matrix, and which one.
  struct Stream {
    Matrix *matrix;
    Value tile;
    /// Whether there is such a tile; null: always.
    Value exists;
  };

  LogicalResult bind();
  /// Words of `input` from a token's row on.
  Value loadInput(Value rowAt, Value at) {
    return e.loadWord(input, e.add(rowAt, at));
  }
  Value getTileAt(Matrix &matrix, Value tile);
  Value finish(ArrayRef<Value> sums, Value row);
  Value addBias(Value sum, Value row);

  // One token.
  SmallVector<Value> sumIntegers(ArrayRef<Stream> streams,
                                 ArrayRef<SchemeReader::Row> rows, Value part);
  SmallVector<Value> sumFloats(ArrayRef<Stream> streams,
                               ArrayRef<SchemeReader::Row> rows, Value part);
  void emitSingle(ArrayRef<Stream> streams, Buffer out, int64_t rows);

  // Many tokens.
  void makeBlockMemory();
  void emitBlock(ArrayRef<Stream> streams, Buffer out, int64_t rows);
  SmallVector<Value> addIntegers(ArrayRef<Stream> streams, Value firstToken);
  SmallVector<Value> addFloats(ArrayRef<Stream> streams, Value firstToken);
  Value getTokenRow(Value token);

  // Many tokens, with matrices.
  bool usesMatrices();
  /// Or values; codes times scales are the same.
  bool readsCodes() const {
    return layout && layout->codesAt != PackedInputLayout::none;
  }
  /// Tokens of a workgroup: a multiple of `blockTokens`.
  int64_t getMatrixTokens() const { return 4 * e.getFacts().matrix; }
  int64_t countMatrixWords(int64_t depth) const;
  void makeMatrixMemory();
  void emitMatrices(ArrayRef<Stream> streams, Buffer out, int64_t rows);
  void findFactors(Value firstToken);
  void loadMatrixWeights(ArrayRef<Stream> streams, Value first, Value round,
                         Value subgroups);
  void loadMatrixInputs(Value first, Value firstToken);
  SmallVector<Value> multiply(Value strip, ValueRange sums);
  void storeMatrices(ArrayRef<Stream> streams, Value strip, Value round,
                     Value subgroups, ValueRange sums, Value firstToken,
                     Buffer out, int64_t rows);

  KernelEmitter &e;
  FusedLinearOp op;
  int64_t columns;
  bool single, gated;
  std::vector<Matrix> matrices;
  std::optional<PackedInputLayout> layout;
  Buffer input;
  /// Words of a token's row, and where in it values are.
  int64_t stride = 0, valuesAt = 0;
  /// The workgroup's memory: partial sums; or weights, slopes, offsets, inputs,
  /// scales and sums of inputs.
  Buffer partial, weights, slopes, offsets, inputs, scales, sums, codeSums;
  /// With matrices: weights, then inputs, then what f16 leaves of inputs, as
  /// halves; later sums. And by token what inputs and sums are multiplied with.
  Buffer halves, factors, unscales;
  /// Columns at a time, words between the rows of them, and where inputs are.
  int64_t depth = 0, depthStride = 0, inputsAt = 0;
  bool splitsInputs = false;
};

} // namespace mlir::lap::simt
