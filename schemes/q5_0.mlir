// 5 bits symmetric: blocks of 32 with one scale; GGUF's Q5_0. 5.5 bits a weight.
lap.scheme @q5_0(%code : ui5, %scale : f16 per 32) {
  %zero = arith.constant 16 : i32
  %centred = arith.subi %code, %zero : i32
  %value = arith.sitofp %centred : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
