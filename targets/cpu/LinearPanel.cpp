// Steps of many tokens as sums of integers. The weights of some columns are
// decoded once for a panel of tokens, into scratch memory; there, blocks of
// tokens x row tiles are multiplied with them, and their sums wait in scratch
// memory for the next columns. A panel's input stays in the second cache.
#include "targets/cpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr int64_t lanes = KernelEmitter::lanes;
static constexpr int64_t quad = RowTileLayout::wordBytes;

/// As many as divide the row, if there are such: no code for a rest then.
static int64_t chooseColumns(int64_t columns, int64_t unit) {
  constexpr int64_t most = 512, least = 128;
  int64_t largest = std::max(most / unit, int64_t(1));
  for (int64_t count = largest; count * unit >= least; --count)
    if (columns % (count * unit) == 0)
      return count * unit;
  return std::min(largest * unit, (columns + unit - 1) / unit * unit);
}

void LinearEmitter::decodeColumns(const Panel &panel, ArrayRef<Stream> streams,
                                  Value first, int64_t count) {
  int64_t run = form->run, span = getByteSpan();
  decoder->walkGroups(
      streams, first, count, {},
      [&](ArrayRef<Group> groups, Value from, int64_t size, ValueRange) {
        auto store = [&](Value at, int64_t runSize) {
          Value to = e.mul(e.div(e.sub(at, first), run), panel.runWords);
          for (auto [s, stream] : llvm::enumerate(streams)) {
            Value own = e.add(to, int64_t(s) * panel.streamWords);
            for (int64_t column = 0; column < runSize; column += span) {
              SmallVector<Value> bytes =
                  decoder->getBytes(stream, e.add(at, column),
                                    std::min(span, runSize - column), span);
              for (auto [i, word] : llvm::enumerate(bytes))
                vector::StoreOp::create(
                    e, word, panel.words.memref,
                    e.add(own, (column / quad + int64_t(i)) * lanes));
            }
            const Group &group = groups[s];
            e.store(group.slope ? group.slope : e.splat(1), panel.floats,
                    e.add(own, panel.slopeAt));
            if (group.offset)
              e.store(group.offset, panel.floats, e.add(own, panel.offsetAt));
          }
        };
        int64_t whole = size / run * run;
        if (whole)
          e.loop(from, e.add(from, whole), run,
                 [&](Value at) { store(at, run); });
        if (whole < size)
          store(e.add(from, whole), size - whole);
        return SmallVector<Value>();
      });
}

void LinearEmitter::addColumns(const Panel &panel, Value first, int64_t count,
                               Value firstToken, Value endToken) {
  const Variant &variant = e.getVariant();
  int64_t run = form->run, streams = variant.dotTiles;
  auto addBlock = [&](const Block &block, int64_t stream) {
    int64_t tokens = block.size();
    // All are loaded before they are stored: of a token that the block has
    // several times, each is the same.
    auto forSums = [&](function_ref<void(int64_t, Value)> body) {
      for (int64_t s = 0; s < streams; ++s)
        for (int64_t t = 0; t < tokens; ++t)
          body(s * tokens + t,
               e.add(e.mul(e.sub(block.tokens[t], firstToken), Panel::sumWords),
                     (stream + s) * lanes));
    };
    SmallVector<Value> sums(streams * tokens);
    forSums([&](int64_t i, Value at) { sums[i] = e.load(panel.sums, at); });
    auto add = [&](Value at, int64_t size, ValueRange carried) {
      Value from = e.add(e.mul(e.div(at, run), panel.runWords),
                         stream * panel.streamWords);
      SmallVector<Group> groups(streams);
      for (auto [s, group] : llvm::enumerate(groups)) {
        Value own = e.add(from, int64_t(s) * panel.streamWords);
        group.slope = e.load(panel.floats, e.add(own, panel.slopeAt));
        if (form->sumPeriod)
          group.offset = e.load(panel.floats, e.add(own, panel.offsetAt));
      }
      if (usesTilesForRuns())
        return scaleRun(groups, block, e.add(first, at),
                        multiplyRun(panel, block, e.add(first, at), from),
                        carried);
      return addRun(groups, block, e.add(first, at), size, carried,
                    [&](int64_t s, Value offset, int64_t bytes) {
                      SmallVector<Value> quads;
                      Value own = e.add(e.add(from, s * panel.streamWords),
                                        e.mul(e.div(offset, quad), lanes));
                      for (int64_t i = 0; i < bytes; i += quad)
                        quads.push_back(vector::LoadOp::create(
                            e, getWordsType(e), panel.words.memref,
                            e.add(own, i / quad * lanes)));
                      return quads;
                    });
    };
    int64_t whole = count / run * run;
    if (whole)
      sums = e.loop(
          e.index(0), e.index(whole), run, sums,
          [&](Value at, ValueRange carried) { return add(at, run, carried); });
    if (whole < count)
      sums = add(e.index(whole), count - whole, sums);
    forSums([&](int64_t i, Value at) { e.store(sums[i], panel.sums, at); });
  };
  forPaddedBlocks(firstToken, endToken, variant.dotTokens,
                  [&](const Block &block) {
                    if (usesTilesForRuns())
                      configureRuns(panel, block, endToken);
                    for (int64_t s = 0; s < Panel::streams; s += streams)
                      addBlock(block, s);
                  });
}

void LinearEmitter::emitPanels(Value begin, Value end, BindTiles bind,
                               Write write) {
  // Half of a second cache of 1 MB, and of a first cache of 32 KB.
  constexpr int64_t inputBytes = 400 << 10, leastTokens = 24, mostTokens = 120;
  constexpr int64_t tokenUnit = 12;
  Panel panel;
  panel.tokens = std::clamp(inputBytes / (stride * 4) / tokenUnit * tokenUnit,
                            leastTokens, mostTokens);
  int64_t run = form->run;
  int64_t unit = std::max(decoder->getBlockColumns(), run);
  panel.columns = chooseColumns(columns, unit);
  panel.slopeAt = llvm::divideCeil(run, quad) * lanes;
  panel.offsetAt = panel.slopeAt + lanes;
  panel.runWords = panel.offsetAt + (form->sumPeriod ? lanes : 0);
  panel.streamWords =
      llvm::divideCeil(std::min(panel.columns, columns), run) * panel.runWords;
  int64_t sumBytes = panel.tokens * Panel::sumWords * 4;
  panel.sums = e.getScratch();
  panel.words = e.getScratch(sumBytes, /*words=*/true);
  panel.floats = e.getScratch(sumBytes);
  int64_t bytes = sumBytes + Panel::streams * panel.streamWords * 4;
  if (usesTilesForRuns()) {
    panel.tileConfig = e.getScratch(bytes, /*words=*/true);
    panel.tileSums = e.getScratch(bytes + 64, /*words=*/true);
    bytes += getTileScratchBytes();
  }
  scratchBytes = std::max(scratchBytes, bytes);

  // The next columns arrive while these are multiplied.
  decoder->setPrefetch(panel.columns);
  Value tokens = e.getTokens();
  e.loop(e.index(0), tokens, panel.tokens, [&](Value first) {
    Value last = e.min(e.add(first, panel.tokens), tokens);
    forTiles(begin, end, gated ? 1 : Panel::streams, [&](ArrayRef<Value> own) {
      Tiles tiles = bind(own);
      auto sumsAt = [&](Value token, int64_t stream) {
        return e.add(e.mul(e.sub(token, first), Panel::sumWords),
                     stream * lanes);
      };
      e.loop(first, last, 1, [&](Value token) {
        for (int64_t s = 0; s < Panel::streams; ++s)
          e.store(e.splat(0), panel.sums, sumsAt(token, s));
      });
      auto add = [&](Value column, int64_t count) {
        decodeColumns(panel, tiles.streams, column, count);
        addColumns(panel, column, count, first, last);
      };
      int64_t whole = columns / panel.columns * panel.columns;
      if (whole)
        e.loop(e.index(0), e.index(whole), panel.columns,
               [&](Value column) { add(column, panel.columns); });
      if (whole < columns)
        add(e.index(whole), columns - whole);
      e.loop(first, last, 1, [&](Value token) {
        SmallVector<Value> sums;
        for (int64_t s = 0; s < Panel::streams; ++s)
          sums.push_back(e.load(panel.sums, sumsAt(token, s)));
        write(tiles, sums, token);
      });
    });
  });
  if (usesTilesForRuns())
    releaseTiles();
}
