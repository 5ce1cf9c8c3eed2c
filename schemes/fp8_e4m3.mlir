// 8-bit floats with a scale for each row. 8 bits a weight.
lap.scheme @fp8_e4m3(%code : f8E4M3FN, %scale : f32 per row) {
  %weight = arith.mulf %code, %scale : f32
  lap.yield %weight : f32
}
