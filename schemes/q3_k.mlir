// 3 bits in groups of 16, whose scales have 6 bits themselves, in units of a float for 256 columns; GGUF's Q3_K.
// 3.4375 bits a weight.
lap.scheme @q3_k(%code : ui3, %scale : ui6 per 16, %d : f16 per 256) {
  %middle = arith.constant 32 : i32
  %signed = arith.subi %scale, %middle : i32
  %s = arith.sitofp %signed : i32 to f32
  %step = arith.mulf %d, %s : f32
  %zero = arith.constant 4 : i32
  %centred = arith.subi %code, %zero : i32
  %value = arith.sitofp %centred : i32 to f32
  %weight = arith.mulf %step, %value : f32
  lap.yield %weight : f32
}
