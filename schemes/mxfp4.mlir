// Microscaling FP4 (OCP MX): 4-bit floats, a power of two for each 32 columns. 4.25 bits a weight.
lap.scheme @mxfp4(%code : f4E2M1FN, %scale : f8E8M0FNU per 32) {
  %weight = arith.mulf %code, %scale : f32
  lap.yield %weight : f32
}
