#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_logits of TestKernels.c.
IN(0, float, hidden)
OUT(1, float, logits)
void main() {
  int t = tile;
  for (int id = 0; id < Vocabulary; ++id)
    logits[t * Vocabulary + id] =
        id < Hidden ? hidden[t * Hidden + id] : 1e6 - 1000 * abs(id - (hidden[t * Hidden] + 1));
}
