#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_store of TestKernels.c.
IN(0, int, ids)
IN(1, int, rows)
IN(2, float, media)
IN(3, float, embedding)
OUT(4, float, growing)
OUT(5, float, ring)
OUT(6, float, arena)
void main() {
  int t = firstToken + tile, position = past + tile;
  float first = rows[t] >= 0 ? media[rows[t] * Hidden] : embedding[ids[t] * Hidden];
  growing[position] = first;
  ring[ringRow(position)] = first;
  arena[t * Hidden] = first;
  arena[t * Hidden + 5] = rows[t] >= 0 ? 1 : 0;
  arena[t * Hidden + 6] = rows[t] >= 0 ? media[rows[t] * Hidden + Hidden - 1] : 0;
}
