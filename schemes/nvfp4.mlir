// NVFP4: 4-bit floats, an 8-bit float for each 16 columns, a float for the row. 4.5 bits a weight.
lap.scheme @nvfp4(%code : f4E2M1FN, %scale : f8E4M3FN per 16, %global : f32 per row) {
  %step = arith.mulf %scale, %global : f32
  %weight = arith.mulf %code, %step : f32
  lap.yield %weight : f32
}
