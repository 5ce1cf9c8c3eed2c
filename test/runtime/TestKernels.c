/* Kernels of the synthetic model in TestBundle.h: a model small enough to check
 * by hand whose answers tell what the session gave it. A token's value is its
 * id, or its media row's first number. Of each position the hidden row tells:
 * 0 value, 1 sum of all values up to here (growing cache), 2 sum of the values
 * that a sliding layer sees (ring cache), 3 position, 4 visible_end, 5 whether
 * it is media, 6 last number of the media row, 7 tokens in the step. */
#include <stdint.h>

enum { Hidden = 8, Vocabulary = 48, Window = 20, RoundedWindow = 32 };

static int64_t ringRow(int64_t position, const int64_t *sizes) {
  return position % (RoundedWindow + sizes[2]);
}

/* tokens, media_rows, media, embedding weight, growing cache, ring cache, arena
 * rows; one token a tile. */
void lap_test_store(void *const *buffers, const int64_t *sizes, void *scratch,
                    int64_t begin, int64_t end) {
  const int32_t *tokens = buffers[0], *rows = buffers[1];
  const float *media = buffers[2], *embedding = buffers[3];
  float *growing = buffers[4], *ring = buffers[5], *arena = buffers[6];
  (void)scratch;
  for (int64_t t = begin; t < end; ++t) {
    const float *row = rows[t] >= 0 ? media + rows[t] * Hidden
                                    : embedding + tokens[t] * Hidden;
    int64_t position = sizes[1] + t;
    growing[position] = row[0];
    ring[ringRow(position, sizes)] = row[0];
    arena[t * Hidden] = row[0];
    arena[t * Hidden + 5] = rows[t] >= 0;
    arena[t * Hidden + 6] = rows[t] >= 0 ? row[Hidden - 1] : 0;
  }
}

/* arena rows, visible_end, growing cache, ring cache, hidden out; one token a
 * tile. Sums in scratch, as a kernel would. */
void lap_test_attend(void *const *buffers, const int64_t *sizes, void *scratch,
                     int64_t begin, int64_t end) {
  const float *arena = buffers[0], *growing = buffers[2], *ring = buffers[3];
  const int32_t *visible = buffers[1];
  float *hidden = buffers[4];
  volatile float *sums = scratch;
  for (int64_t t = begin; t < end; ++t) {
    int64_t position = sizes[1] + t;
    sums[0] = sums[1] = 0;
    for (int64_t q = 0; q <= position; ++q)
      sums[0] = sums[0] + growing[q];
    for (int64_t q = position - Window + 1; q < visible[t]; ++q)
      if (q >= 0)
        sums[1] = sums[1] + ring[ringRow(q, sizes)];
    float *out = hidden + t * Hidden;
    out[0] = arena[t * Hidden];
    out[1] = sums[0];
    out[2] = sums[1];
    out[3] = (float)position;
    out[4] = (float)visible[t];
    out[5] = arena[t * Hidden + 5];
    out[6] = arena[t * Hidden + 6];
    out[7] = (float)sizes[0];
  }
}

/* tokens, embedding weight, growing cache, ring cache, arena row; one tile. */
void lap_test_decode(void *const *buffers, const int64_t *sizes, void *scratch,
                     int64_t begin, int64_t end) {
  int32_t none = -1, visible = (int32_t)sizes[1] + 1;
  float rows[Hidden] = {0};
  void *const store[] = {buffers[0], &none,      0,   buffers[1],
                         buffers[2], buffers[3], rows};
  void *const attend[] = {rows, &visible, buffers[2], buffers[3], buffers[4]};
  lap_test_store(store, sizes, scratch, begin, end);
  lap_test_attend(attend, sizes, scratch, begin, end);
}

/* hidden, logits out; one token a tile. The first logits are the hidden row
 * itself, the others are best at value + 1. */
void lap_test_logits(void *const *buffers, const int64_t *sizes, void *scratch,
                     int64_t begin, int64_t end) {
  const float *hidden = buffers[0];
  float *logits = buffers[1];
  (void)sizes, (void)scratch;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t id = 0; id < Vocabulary; ++id) {
      float distance = (float)id - (hidden[t * Hidden] + 1);
      logits[t * Vocabulary + id] =
          id < Hidden ? hidden[t * Hidden + id]
                      : 1e6f - 1000 * (distance < 0 ? -distance : distance);
    }
}

/* logits, values out, ids out: the 8 best of a row, the best first; one token a
 * tile. */
void lap_test_candidates(void *const *buffers, const int64_t *sizes,
                         void *scratch, int64_t begin, int64_t end) {
  enum { Count = 8 };
  (void)sizes, (void)scratch;
  for (int64_t t = begin; t < end; ++t) {
    const float *logits = (const float *)buffers[0] + t * Vocabulary;
    int32_t last = -1;
    for (int place = 0; place < Count; ++place) {
      int32_t best = -1;
      for (int32_t id = 0; id < Vocabulary; ++id) {
        int isLeft = last < 0 || logits[id] < logits[last] ||
                     (logits[id] == logits[last] && id > last);
        if (isLeft && (best < 0 || logits[id] > logits[best]))
          best = id;
      }
      ((float *)buffers[1])[t * Count + place] = logits[best];
      ((int32_t *)buffers[2])[t * Count + place] = best;
      last = best;
    }
  }
}

/* patches, positions, embeddings out; one patch of 3 values a tile. */
void lap_test_image(void *const *buffers, const int64_t *sizes, void *scratch,
                    int64_t begin, int64_t end) {
  const float *patches = buffers[0];
  const int32_t *positions = buffers[1];
  float *out = buffers[2];
  (void)sizes, (void)scratch;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t d = 0; d < Hidden; ++d)
      out[t * Hidden + d] = patches[t * 3] + patches[t * 3 + 1] +
                            patches[t * 3 + 2] + (float)positions[t * 2] +
                            10 * (float)positions[t * 2 + 1] + 100 * (float)d;
}

/* frames, embeddings out; one frame of 4 samples a tile. */
void lap_test_audio(void *const *buffers, const int64_t *sizes, void *scratch,
                    int64_t begin, int64_t end) {
  const float *frames = buffers[0];
  float *out = buffers[1];
  (void)sizes, (void)scratch;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t d = 0; d < Hidden; ++d)
      out[t * Hidden + d] = frames[t * 4] + frames[t * 4 + 1] +
                            frames[t * 4 + 2] + frames[t * 4 + 3] + (float)d;
}

/* counts out, sizes out, arena flags: counts how often each tile ran, and that
 * scratch is aligned and this call's own. */
void lap_test_tiles(void *const *buffers, const int64_t *sizes, void *scratch,
                    int64_t begin, int64_t end) {
  int32_t *counts = buffers[0], *seen = buffers[1];
  volatile int64_t *own = scratch;
  if ((uintptr_t)scratch % 64 != 0)
    __builtin_trap();
  for (int64_t tile = begin; tile < end; ++tile) {
    own[0] = tile;
    for (int spin = 0; spin < 200; ++spin)
      own[7] = spin;
    if (own[0] != tile)
      __builtin_trap();
    counts[tile]++;
  }
  if (begin == 0)
    for (int index = 0; index < 3; ++index)
      seen[index] = (int32_t)sizes[index];
}
