#version 450
#extension GL_GOOGLE_include_directive : require
#include "Kernel.glsl"
// Adds one, so that dispatches that do not wait for each other are found out: each reads what another tile of the
// one before wrote.
IN(0, int, from)
OUT(1, int, to)
void main() {
  to[tile] = from[(tile + 7) % 256] + 1;
}
