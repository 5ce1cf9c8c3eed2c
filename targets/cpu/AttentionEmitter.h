// Streaming attention over the KV cache: a matrix of queries (the heads that
// share a key head, of some tokens) goes once over the positions, a block of
// keys and values at a time, with a running maximum a query.
#pragma once

#include "targets/cpu/KvCacheAccess.h"

namespace mlir::lap::cpu {

/// Some tokens and the positions that any of them sees: all numbers are
/// indices.
struct AttentionPass {
  Value head, firstToken, tokens;
  /// Blocks of positions.
  Value firstBlock, endBlock;
};

class AttentionEmitter {
public:
  /// `visibleEnd` may be absent.
  AttentionEmitter(KernelEmitter &e, TypedValue<KvCacheType> cache, Value query,
                   Value visibleEnd);

  /// The tokens of a pass, at most.
  int64_t getMostTokens() const { return mostTokens; }
  int64_t getGroup() const { return group; }
  int64_t getScratchBytes() const {
    return (endsAt + allQueries) * static_cast<int64_t>(sizeof(float));
  }
  /// The positions that `tokens` tokens from `firstToken` on see, as blocks.
  std::pair<Value, Value> getBlocks(Value firstToken, Value tokens);
  /// Leaves the sums, weighted by exp(score - maximum), and of each query the
  /// maximum and the sum of weights in scratch.
  void run(const AttentionPass &pass);
  /// Calls `body` for each query of the pass: its number, its token (of the
  /// step) and its head (of all).
  void
  forQueries(const AttentionPass &pass,
             function_ref<void(Value query, Value token, Value head)> body);
  Buffer getSums() { return e.getScratch(sumsAt * 4); }
  Value getSumsIndex(Value query) { return e.mul(query, sumsStride); }
  Value loadMaximum(Value query) {
    return e.loadScalar(e.getScratch(maximaAt * 4), query);
  }
  Value loadTotal(Value query) {
    return e.loadScalar(e.getScratch(totalsAt * 4), query);
  }

private:
  void prepare(const AttentionPass &pass);
  /// Calls `body` with runs of queries whose sums fit the registers.
  void forQueryRuns(function_ref<void(Value first, int64_t count)> body);
  void score(Value place, Value block, Value first, int64_t count);
  void weigh(Value firstPosition, Value blocks, Value first, int64_t count);
  void accumulate(const AttentionPass &pass, Value firstBlock, Value blocks,
                  Value first, int64_t count);
  Buffer scratch(int64_t at, bool words = false) {
    return e.getScratch(at * 4, words);
  }

  KernelEmitter &e;
  KvCacheAccess cache;
  Buffer query, visibleEnd;
  int64_t kvHeads, headDim, group, mostTokens, allQueries;
  /// Sums of 16 lanes that registers hold.
  int64_t registers;
  int64_t queryStride, sumsStride;
  /// Scratch memory, in words.
  int64_t queriesAt, sumsAt, weightsAt, maximaAt, totalsAt, scalesAt, beginsAt,
      endsAt;
  /// Queries of the pass at hand, rounded up.
  Value queries;
};

} // namespace mlir::lap::cpu
