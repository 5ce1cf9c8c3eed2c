// Writes a linear kernel. A tile is 16 output rows; weights are streamed once
// in the `rows16` layout (dialects/lap/WeightLayout.h), decoded in registers
// (SchemeDecoder.h), and multiplied with broadcast activations, so that each
// lane sums its own row.
//
// Kernels for one token sum over several accumulators to hide the latency of
// FMA. Kernels for many tokens first pack the (normalized) activations as
// [token block][slot][token], where a slot is a column's value, then keep token
// block x row tiles accumulators in registers.
//
// With 8-bit activations, schemes that are affine in their code are multiplied
// as integers; slots hold columns' bytes, scales and sums too.
#pragma once

#include "targets/cpu/SchemeDecoder.h"
#include "targets/cpu/VectorWords.h"

#include <map>

namespace mlir::lap::cpu {

class LinearEmitter {
public:
  LinearEmitter(KernelEmitter &e, FusedLinearOp op);

  FailureOr<KernelInfo> emit();

private:
  using Group = SchemeDecoder::Group;

  // The input (LinearInput.cpp).
  void planInput();
  void packInput();
  void normalize(Value token, function_ref<void(Value, Value, int64_t)> put);
  void quantize(Value token);
  void sumGroups(Value token, Buffer from);
  void sumCodes(Value token);
  /// Calls `store` with the first column of each `group` columns and the sum
  /// of their values.
  void sumRuns(Buffer from, int64_t group,
               function_ref<void(Value first, Value sum)> store);
  /// The element of scratch memory that a slot of a token is at.
  Value getSlot(Value token, Value slot);

  // Tiles (EmitLinear.cpp).
  void emitWeight(int64_t number, int64_t firstTile);
  void emitGated();
  /// Computes `streams.size()` row tiles for all tokens; `write` gets the sums
  /// of a stream for a token.
  using Write = function_ref<void(ArrayRef<Value> sums, Value token)>;
  void emitTiles(ArrayRef<Stream> streams, Write write);
  void storeRows(Value sums, Buffer out, int64_t rows, Value token, Value tile);

  // Sums (LinearSums.cpp, LinearDots.cpp).
  /// The sums over all columns, [stream][token] for the token block whose slots
  /// begin at `xAt`.
  SmallVector<Value> emitSums(ArrayRef<Stream> streams, Value xAt);
  SmallVector<Value> addGroupForOne(ArrayRef<Stream> streams,
                                    ArrayRef<Group> groups, Value first,
                                    int64_t count, ValueRange sums);
  SmallVector<Value> addGroupForMany(ArrayRef<Stream> streams,
                                     ArrayRef<Group> groups, Value xAt,
                                     Value first, int64_t count,
                                     ValueRange sums);
  SmallVector<Value> addGroupOfIntegers(ArrayRef<Stream> streams,
                                        ArrayRef<Group> groups, Value xAt,
                                        Value first, int64_t count,
                                        ValueRange sums);
  SmallVector<Value> addRun(ArrayRef<Stream> streams, ArrayRef<Group> groups,
                            Value xAt, Value first, int64_t count,
                            ValueRange sums);
  /// Columns whose products may be summed as integers.
  int64_t getRunColumns(const SchemeDecoder &own) const;
  /// What the bytes that are multiplied are more than the codes.
  int64_t getExcess(const SchemeDecoder &own) const {
    return own.getExcess() - getDotDeficit(dotKind);
  }
  void addPairs(ArrayRef<SmallVector<Value>> bytes, Value xAt, Value firstSlot,
                MutableArrayRef<Value> dots);
  /// What a token of the block has in a slot, and that in all lanes.
  Value loadSlot(Buffer buffer, Value xAt, Value slot, int64_t token);
  Value broadcastSlot(Buffer buffer, Value xAt, Value slot, int64_t token);
  /// The sum of the group's inputs.
  Value broadcastGroupSum(Value xAt, Value first, int64_t token);

  KernelEmitter &e;
  FusedLinearOp op;
  /// One a weight, and that of the weight that is being written.
  std::vector<SchemeDecoder> decoders;
  SchemeDecoder *decoder = nullptr;
  int64_t columns, tokenBlock;
  bool single;

  Buffer input;
  /// Where slots are: values as f32, words as i32. For one token whose input is
  /// used as it is, `x` is the input.
  Buffer x, slots, words;
  /// For 8-bit activations: one token's values, normalized and then rounded,
  /// and what multiples of their scales they are.
  Buffer row, codes;
  /// Columns that share a scale, when activations have 8 bits.
  int64_t scaleColumns = 0;
  DotKind dotKind = DotKind::Bytes4;
  // The first slot of each kind.
  int64_t wordSlots = 0, scaleSlots = 0;
  /// Sums of groups of so many columns (0: the row).
  std::map<int64_t, int64_t> sumSlots;
  /// Minus the sums of a run's multiples, times what bytes of signed codes are
  /// too large by: by columns of a run and that excess.
  std::map<std::pair<int64_t, int64_t>, int64_t> excessSlots;
  int64_t slotCount = 0, rowElements = 0;
};

} // namespace mlir::lap::cpu
