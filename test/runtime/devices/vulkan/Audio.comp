#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// lap_test_audio of TestKernels.c.
IN(0, float, frames)
OUT(1, float, result)
void main() {
  int t = tile;
  for (int d = 0; d < Hidden; ++d)
    result[t * Hidden + d] = frames[t * 4] + frames[t * 4 + 1] + frames[t * 4 + 2] + frames[t * 4 + 3] + d;
}
