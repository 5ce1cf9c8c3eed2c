// 4 bits with a scale and a minimum for each 32 columns; GGUF's Q4_1. 5 bits a weight.
lap.scheme @q4_1(%code : ui4, %scale : f16 per 32, %min : f16 per 32) {
  %value = arith.uitofp %code : i32 to f32
  %scaled = arith.mulf %value, %scale : f32
  %weight = arith.addf %scaled, %min : f32
  lap.yield %weight : f32
}
