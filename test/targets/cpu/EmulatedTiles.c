// AMX's instructions in C, as Intel's manual defines them: what the kernel
// tests put in their place where the processor has none. Compiled to LLVM IR
// and linked into a kernel.
#include <stdint.h>

enum { registers = 8, rows = 16, rowBytes = 64 };

static uint8_t tiles[registers][rows][rowBytes];
static uint16_t bytesOf[registers];
static uint8_t rowsOf[registers];

static void clear(uint8_t tile) {
  for (int row = 0; row < rows; ++row)
    for (int byte = 0; byte < rowBytes; ++byte)
      tiles[tile][row][byte] = 0;
}

void emulated_ldtilecfg(const uint8_t *config) {
  // What the processor would not take.
  if (config[0] != 1)
    __builtin_trap();
  for (int tile = 0; tile < registers; ++tile) {
    bytesOf[tile] =
        (uint16_t)(config[16 + 2 * tile] | config[17 + 2 * tile] << 8);
    rowsOf[tile] = config[48 + tile];
    if (bytesOf[tile] > rowBytes || rowsOf[tile] > rows ||
        (bytesOf[tile] == 0) != (rowsOf[tile] == 0))
      __builtin_trap();
    clear((uint8_t)tile);
  }
}

void emulated_tilerelease(void) {
  for (int tile = 0; tile < registers; ++tile)
    bytesOf[tile] = rowsOf[tile] = 0;
}

void emulated_tilezero(uint8_t tile) { clear(tile); }

void emulated_tileloadd64(uint8_t tile, const uint8_t *from, int64_t stride) {
  if (!rowsOf[tile])
    __builtin_trap();
  clear(tile);
  for (int row = 0; row < rowsOf[tile]; ++row)
    for (int byte = 0; byte < bytesOf[tile]; ++byte)
      tiles[tile][row][byte] = from[row * stride + byte];
}

void emulated_tilestored64(uint8_t tile, uint8_t *to, int64_t stride) {
  if (!rowsOf[tile])
    __builtin_trap();
  for (int row = 0; row < rowsOf[tile]; ++row)
    for (int byte = 0; byte < bytesOf[tile]; ++byte)
      to[row * stride + byte] = tiles[tile][row][byte];
}

/// Rows of a are those of c, columns of b those of c, by words; a's columns are
/// b's rows.
static void check(uint8_t c, uint8_t a, uint8_t b) {
  if (rowsOf[a] != rowsOf[c] || bytesOf[b] != bytesOf[c] ||
      bytesOf[a] != 4 * rowsOf[b] || c == a || c == b || a == b)
    __builtin_trap();
}

/// Signed bytes times unsigned ones.
void emulated_tdpbsud(uint8_t c, uint8_t a, uint8_t b) {
  check(c, a, b);
  for (int m = 0; m < rowsOf[c]; ++m)
    for (int n = 0; n < bytesOf[c] / 4; ++n) {
      int32_t *sum = (int32_t *)tiles[c][m] + n;
      for (int k = 0; k < bytesOf[a]; ++k)
        *sum += (int8_t)tiles[a][m][k] * tiles[b][k / 4][4 * n + k % 4];
    }
}

static float widen(const uint8_t *half) {
  union {
    uint32_t word;
    float value;
  } bits = {(uint32_t)half[0] << 16 | (uint32_t)half[1] << 24};
  return bits.value;
}

/// Pairs of bf16.
void emulated_tdpbf16ps(uint8_t c, uint8_t a, uint8_t b) {
  check(c, a, b);
  for (int m = 0; m < rowsOf[c]; ++m)
    for (int n = 0; n < bytesOf[c] / 4; ++n) {
      float *sum = (float *)tiles[c][m] + n;
      for (int k = 0; k < bytesOf[a] / 4; ++k)
        for (int half = 0; half < 4; half += 2)
          *sum += widen(tiles[a][m] + 4 * k + half) *
                  widen(tiles[b][k] + 4 * n + half);
    }
}
