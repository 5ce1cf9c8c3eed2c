#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// 100 tiles by 4 tokens: says which of them computed each value, and what the step's sizes are.
OUT(0, int, counts)
OUT(1, int, seen)
void main() {
  for (int t = 4 * int(gl_WorkGroupID.y); t < min(4 * (int(gl_WorkGroupID.y) + 1), tokens); ++t)
    counts[t * 100 + tile] = 1000 * t + tile;
  if (tile == 0 && gl_WorkGroupID.y == 0) {
    seen[0] = tokens;
    seen[1] = past;
    seen[2] = chunk;
  }
}
