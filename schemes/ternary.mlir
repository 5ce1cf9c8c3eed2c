// -1, 0 or 1 times a scale for each 256 columns; GGUF's TQ2_0. 2.0625 bits a weight.
lap.scheme @ternary(%code : ui2 from 0 to 2, %scale : f16 per 256) {
  %one = arith.constant 1 : i32
  %sign = arith.subi %code, %one : i32
  %value = arith.sitofp %sign : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
