// 8 bits symmetric: blocks of 32 with one scale; GGUF's Q8_0. 8.5 bits a weight.
lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
