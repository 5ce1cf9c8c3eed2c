#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_image of TestKernels.c.
IN(0, float, patches)
IN(1, int, positions)
OUT(2, float, result)
void main() {
  int t = tile;
  for (int d = 0; d < Hidden; ++d)
    result[t * Hidden + d] = patches[t * 3] + patches[t * 3 + 1] + patches[t * 3 + 2] + positions[t * 2] +
                             10 * positions[t * 2 + 1] + 100 * d;
}
