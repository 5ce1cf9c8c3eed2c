// Streaming attention over the KV cache by one workgroup: a few queries (heads
// that share a key head, of one or more tokens) go once over the positions, a
// tile of keys and values at a time, with a running maximum a query.
//
// Scores: an invocation has the positions of a word of keys, for all queries,
// and a slice of the elements. Weights: 8 invocations have a query. Sums of
// values: an invocation has some elements, for all queries.
#pragma once

#include "targets/gpu/KvCacheAccess.h"

namespace mlir::lap::simt {

class AttentionEmitter {
public:
  /// `visibleEnd` may be absent.
  AttentionEmitter(KernelEmitter &e, TypedValue<KvCacheType> cache, Value query,
                   Value visibleEnd);

  /// Query heads that share a key head, in `getRuns()` workgroups.
  int64_t getGroup() const { return group; }
  int64_t getRuns() const { return runs; }
  /// Tokens of a workgroup.
  int64_t getTokens() const { return tokens; }
  /// Of a step of any tokens; 0: of one.
  int64_t getTokenTile() const { return e.getStaticTokens() == 1 ? 0 : tokens; }

  /// The queries of this workgroup: key head and run of its query heads.
  void setQueries(Value head, Value run);
  /// The positions that they see, as blocks.
  std::pair<Value, Value> getBlocks();
  /// Streams over these blocks.
  void run(Value firstBlock, Value endBlock);

  /// After that: calls `body`, in invocations of their own, for each query with
  /// its row of the step's activations, its head (of all), the maximum of its
  /// scores and the sum of its weights.
  void forTotals(
      function_ref<void(Value row, Value head, Value maximum, Value total)>
          body);
  /// And with elements of the values' sum, divided by the sum of weights if
  /// `divide`: all of the workgroup must come here.
  void forSums(
      bool divide,
      function_ref<void(Value row, Value head, Value element, Value sum)> body);

private:
  /// Queries of a workgroup and invocations for the weights of each.
  static constexpr int64_t mostQueries = 16;
  static constexpr int64_t queryThreads = KernelEmitter::threads / mostQueries;
  /// Blocks and positions of a tile.
  static constexpr int64_t tileBlocks = 4;
  static constexpr int64_t tileRows = tileBlocks * KvCacheType::blockRows;
  /// Between the scores of two queries: other banks of memory.
  static constexpr int64_t scoreStride = tileRows + queryThreads;
  /// Elements of values that are staged as keys.
  static constexpr int64_t stagedElements = 32;
  static constexpr int64_t stagedStride = stagedElements + 1;

  Value getMember(int64_t query) { return e.add(firstMember, query % members); }
  /// Whether the query exists; null where all do.
  Value isReal(Value token, Value member);
  Value getBlock(Value first, Value offset);
  SmallVector<Value> loadQueries(Value element);
  void multiply(ArrayRef<Value> keys, Value element,
                SmallVectorImpl<Value> &sums);
  SmallVector<Value> scoreKeys(Value firstBlock);
  SmallVector<Value> scoreValues(Value firstBlock, ValueRange sums);
  void score(Value firstBlock);
  std::pair<Value, Value> weigh(Value firstBlock, Value maximum, Value total);
  SmallVector<Value> accumulate(Value firstBlock, ValueRange sums);

  KernelEmitter &e;
  KvCacheAccess cache;
  Buffer query, visibleEnd;
  int64_t kvHeads, headDim, group, runs, members, tokens, queries;
  /// Of scores: positions of an invocation, invocations of a tile's positions,
  /// slices of the elements.
  int64_t positions, lanes, slices;
  /// Of sums: neighbouring elements, and how many such an invocation has.
  int64_t unit, units;
  /// Shared memory: scores, then weights; what invocations of a query tell each
  /// other; a number a query; values as keys.
  Buffer scores, partial, factors, staged;

  Value head, firstMember, firstToken;
  /// Of each query, where its row begins.
  SmallVector<Value> queryAt;
  /// The query whose weights this invocation computes some of, whether it has
  /// one, and what that query sees.
  Value ownQuery, isActive, ownPart, ownToken, ownMember, ownBegin, ownEnd;
  Value lastBlock;
  /// Results.
  Value maximum, total;
  SmallVector<Value> sums;
};

} // namespace mlir::lap::simt
