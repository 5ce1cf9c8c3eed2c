#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// Tile i takes the row tile that token i names, if the window has it.
IN(0, int, weight)
IN(1, int, rows)
OUT(2, int, found)
void main() {
  int row = rows[tile];
  if (row >= windowBegin && row < windowEnd)
    found[tile] = weight[(row - windowBegin) * 24];
}
