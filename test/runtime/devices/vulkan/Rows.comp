#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// Tile i sums row tile i, 24 words, of a weight that may be bound in part.
IN(0, int, weight)
OUT(1, int, sums)
void main() {
  int sum = 0;
  for (int i = 0; i < 24; ++i)
    sum += weight[(tile - windowBegin) * 24 + i];
  sums[tile] = sum;
}
