// 4 bits into a table that is denser near zero; GGUF's IQ4_NL. 4.5 bits a weight.
lap.scheme @iq4_nl(%code : ui4, %scale : f16 per 32) {
  %level = lap.lookup %code, array<i32: -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113> -> i32
  %value = arith.sitofp %level : i32 to f32
  %weight = arith.mulf %scale, %value : f32
  lap.yield %weight : f32
}
