#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_attend of TestKernels.c.
IN(0, float, arena)
IN(1, int, visible)
IN(2, float, growing)
IN(3, float, ring)
OUT(4, float, hidden)
void main() {
  int t = firstToken + tile, position = past + tile;
  float all = 0, near = 0;
  for (int q = 0; q <= position; ++q)
    all += growing[q];
  for (int q = max(position - Window + 1, 0); q < visible[t]; ++q)
    near += ring[ringRow(q)];
  hidden[t * Hidden] = arena[t * Hidden];
  hidden[t * Hidden + 1] = all;
  hidden[t * Hidden + 2] = near;
  hidden[t * Hidden + 3] = position;
  hidden[t * Hidden + 4] = visible[t];
  hidden[t * Hidden + 5] = arena[t * Hidden + 5];
  hidden[t * Hidden + 6] = arena[t * Hidden + 6];
  hidden[t * Hidden + 7] = tokens;
}
