// Linear kernels of many tokens by the matrix registers of AMX: 16 rows of 64
// bytes. One holds the input of some tokens as it is packed, a token a row; one
// the weights of 16 output rows, four bytes or two bf16 of each a row, which is
// what a vector of the `rows16` layout is; one their sums, a token a row.
#include "targets/cpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr int64_t lanes = KernelEmitter::lanes;
static constexpr int64_t wordBytes = RowTileLayout::wordBytes;
static constexpr int64_t tileRows = 16, tileBytes = 64;
/// Which register is what. There are two sums and two weights: of two row
/// tiles, or of gate and up.
static constexpr int64_t streams = 2;
enum Register : int8_t { Sums = 0, Input = streams, Weights = streams + 1 };

bool LinearEmitter::usesTilesForRuns() const {
  // A shorter run than the last one's would need another configuration.
  return e.getVariant().tiles && form->integers && columns % form->run == 0 &&
         form->run % wordBytes == 0 &&
         (form->run < tileBytes || form->run % tileBytes == 0);
}

bool LinearEmitter::usesTilesForPairs() const {
  constexpr int64_t tileColumns = tileBytes / 2;
  return e.getVariant().tiles && form->halves && columns % tileColumns == 0;
}

static void call(KernelEmitter &e, const char *name, ValueRange operands) {
  LLVM::CallIntrinsicOp::create(
      e, e.getStringAttr(std::string("llvm.x86.") + name), operands);
}

static Value asRegister(KernelEmitter &e, int64_t number) {
  return LLVM::ConstantOp::create(
      e, e.getI8Type(), e.getI8IntegerAttr(static_cast<int8_t>(number)));
}

static Value asI64(KernelEmitter &e, int64_t value) {
  return LLVM::ConstantOp::create(e, e.getI64Type(),
                                  e.getI64IntegerAttr(value));
}

/// Says what the registers hold: inputs and sums of `tokens` tokens, and
/// `inputBytes` of each token's input. `config` has room for 64 bytes.
static void configure(KernelEmitter &e, Buffer config, Value tokens,
                      int64_t inputBytes) {
  // Intel's palette 1: a byte for that; from byte 16 on the bytes of a row of
  // each register, 16 bits each; from byte 48 on how many rows it has, a byte
  // each.
  constexpr int64_t rowsWord = 12;
  uint32_t bytes[8] = {}, rows[8] = {};
  for (int64_t s = 0; s < streams; ++s) {
    bytes[Sums + s] = bytes[Weights + s] = tileBytes;
    rows[Weights + s] = static_cast<uint32_t>(inputBytes / wordBytes);
  }
  bytes[Input] = static_cast<uint32_t>(inputBytes);
  SmallVector<uint32_t> words(lanes, 0);
  words[0] = 1;
  for (int64_t i = 0; i < 8; ++i) {
    words[4 + i / 2] |= bytes[i] << (16 * (i % 2));
    words[rowsWord + i / 4] |= rows[i] << (8 * (i % 4));
  }
  // Sums and input are the first three.
  constexpr uint32_t tokenRows = 0x00010101;
  Value count = arith::IndexCastOp::create(e, e.getI32Type(), tokens);
  count = arith::MulIOp::create(
      e, count,
      arith::ConstantIntOp::create(e, e.getI32Type(), int64_t(tokenRows)));
  count = arith::OrIOp::create(
      e, count,
      arith::ConstantIntOp::create(e, e.getI32Type(), words[rowsWord]));
  Value vector = vector::InsertOp::create(e, count, constantWords(e, words),
                                          ArrayRef<int64_t>{rowsWord});
  vector::StoreOp::create(e, vector, config.memref, e.index(0));
  call(e, "ldtilecfg", {e.getAddress(config, e.index(0))});
}

static void clearSums(KernelEmitter &e) {
  for (int64_t s = 0; s < streams; ++s)
    call(e, "tilezero", {asRegister(e, Sums + s)});
}

static void loadRegister(KernelEmitter &e, int64_t number, Value address,
                         int64_t rowBytes) {
  call(e, "tileloadd64", {asRegister(e, number), address, asI64(e, rowBytes)});
}

static void multiply(KernelEmitter &e, const char *name, int64_t stream) {
  call(e, name,
       {asRegister(e, Sums + stream), asRegister(e, Input),
        asRegister(e, Weights + stream)});
}

static void storeSums(KernelEmitter &e, Buffer sums) {
  for (int64_t s = 0; s < streams; ++s)
    call(e, "tilestored64",
         {asRegister(e, Sums + s),
          e.getAddress(sums, e.index(s * tileRows * lanes)),
          asI64(e, tileBytes)});
}

int64_t LinearEmitter::getTileScratchBytes() {
  return tileBytes + streams * tileRows * tileBytes;
}

void LinearEmitter::configureRuns(const Panel &panel, const Block &block,
                                  Value endToken) {
  Value left = e.min(e.sub(endToken, block.tokens[0]), e.index(block.size()));
  configure(e, panel.tileConfig, left, std::min(form->run, tileBytes));
}

SmallVector<Value> LinearEmitter::multiplyRun(const Panel &panel,
                                              const Block &block, Value first,
                                              Value weightsAt) {
  int64_t step = std::min(form->run, tileBytes);
  clearSums(e);
  Value inputAt =
      e.add(block.rows[0], e.add(e.div(first, wordBytes), layout->codesAt));
  for (int64_t at = 0; at < form->run; at += step) {
    loadRegister(e, Input, e.getAddress(words, e.add(inputAt, at / wordBytes)),
                 stride * wordBytes);
    for (int64_t s = 0; s < streams; ++s) {
      Value from =
          e.add(weightsAt, s * panel.streamWords + at / wordBytes * lanes);
      loadRegister(e, Weights + s, e.getAddress(panel.words, from), tileBytes);
      // Codes are unsigned, inputs are not.
      multiply(e, "tdpbsud", s);
    }
  }
  storeSums(e, panel.tileSums);
  SmallVector<Value> dots;
  Value number = e.div(first, form->run);
  for (int64_t s = 0; s < streams; ++s)
    for (int64_t token = 0; token < block.size(); ++token) {
      Value row = e.sub(block.tokens[token], block.tokens[0]);
      Value dot = vector::LoadOp::create(
          e, getWordsType(e), panel.tileSums.memref,
          e.add(e.mul(row, lanes), s * tileRows * lanes));
      if (form->excess) {
        Value slot =
            e.add(number, layout->findCodeSums(form->run, form->excess));
        dot = arith::AddIOp::create(e, dot,
                                    broadcastSlot(words, block, slot, token));
      }
      dots.push_back(dot);
    }
  return dots;
}

void LinearEmitter::emitPairTiles(Value begin, Value end, BindTiles bind,
                                  Write write) {
  constexpr int64_t pair = 2, span = tileBytes / pair;
  Buffer config = e.getScratch(0, /*words=*/true);
  Buffer sums = e.getScratch(tileBytes);
  scratchBytes = std::max(scratchBytes, getTileScratchBytes());
  int64_t planeAt = decoder->getLayout().getCode().planes[0].offset;
  forTiles(begin, end, gated ? 1 : streams, [&](ArrayRef<Value> own) {
    Tiles tiles = bind(own);
    e.loop(e.index(0), e.getTokens(), tileRows, [&](Value first) {
      Value count = e.min(e.sub(e.getTokens(), first), e.index(tileRows));
      configure(e, config, count, tileBytes);
      clearSums(e);
      Value row = e.add(e.mul(first, stride), layout->halvesAt);
      e.loop(e.index(0), e.index(columns), span, [&](Value column) {
        Value word = e.div(column, pair);
        loadRegister(e, Input, e.getAddress(words, e.add(row, word)),
                     stride * wordBytes);
        for (auto [s, stream] : llvm::enumerate(tiles.streams)) {
          Value at =
              e.add(e.add(stream.tileAt, planeAt), e.mul(word, tileBytes));
          loadRegister(e, Weights + int64_t(s), e.getAddress(stream.bytes, at),
                       tileBytes);
          multiply(e, "tdpbf16ps", int64_t(s));
        }
      });
      storeSums(e, sums);
      e.loop(e.index(0), count, 1, [&](Value token) {
        SmallVector<Value> values;
        for (int64_t s = 0; s < streams; ++s)
          values.push_back(
              e.load(sums, e.add(e.mul(token, lanes), s * tileRows * lanes)));
        write(tiles, values, e.add(first, token));
      });
    });
  });
  releaseTiles();
}

void LinearEmitter::releaseTiles() { call(e, "tilerelease", {}); }
