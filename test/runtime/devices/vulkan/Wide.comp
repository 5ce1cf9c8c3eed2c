#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_ARB_gpu_shader_int64 : require
#include "Kernel.glsl"
// Needs a feature, shaderInt64, that a variant must name.
IN(0, float, frames)
OUT(1, float, result)
void main() {
  result[tile] = float(int64_t(frames[tile]) * int64_t(7));
}
