#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_candidates of TestKernels.c.
IN(0, float, logits)
OUT(1, float, values)
OUT(2, int, ids)
const int Count = 8;
const float Bar = -3.25e30;
void main() {
  int t = tile, last = -1;
  for (int place = 0; place < Count; ++place) {
    int best = -1;
    for (int id = 0; id < Vocabulary; ++id) {
      float value = logits[t * Vocabulary + id];
      float before = last < 0 ? 0 : logits[t * Vocabulary + last];
      bool isLeft = last < 0 || value < before || (value == before && id > last);
      if (isLeft && value > (best < 0 ? Bar : logits[t * Vocabulary + best]))
        best = id;
    }
    values[t * Count + place] = best < 0 ? 0 : logits[t * Vocabulary + best];
    ids[t * Count + place] = best;
    last = best;
  }
}
