#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_decode of TestKernels.c.
IN(0, int, ids)
IN(1, float, embedding)
OUT(2, float, growing)
OUT(3, float, ring)
OUT(4, float, hidden)
void main() {
  float first = embedding[ids[0] * Hidden], all = first, near = first;
  for (int q = 0; q < past; ++q)
    all += growing[q];
  for (int q = max(past - Window + 1, 0); q < past; ++q)
    near += ring[ringRow(q)];
  growing[past] = first;
  ring[ringRow(past)] = first;
  float row[Hidden] = float[](first, all, near, past, past + 1, 0, 0, 1);
  for (int d = 0; d < Hidden; ++d)
    hidden[d] = row[d];
}
