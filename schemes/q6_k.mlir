// 6 bits in groups of 16, whose scales have 8 bits themselves, in units of a float for 256 columns; GGUF's Q6_K.
// 6.5625 bits a weight.
lap.scheme @q6_k(%code : ui6, %scale : si8 per 16, %d : f16 per 256) {
  %s = arith.sitofp %scale : i32 to f32
  %step = arith.mulf %d, %s : f32
  %zero = arith.constant 32 : i32
  %centred = arith.subi %code, %zero : i32
  %value = arith.sitofp %centred : i32 to f32
  %weight = arith.mulf %step, %value : f32
  lap.yield %weight : f32
}
