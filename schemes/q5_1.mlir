// 5 bits with a scale and a minimum for each 32 columns; GGUF's Q5_1. 6 bits a weight.
lap.scheme @q5_1(%code : ui5, %scale : f16 per 32, %min : f16 per 32) {
  %value = arith.uitofp %code : i32 to f32
  %scaled = arith.mulf %value, %scale : f32
  %weight = arith.addf %scaled, %min : f32
  lap.yield %weight : f32
}
