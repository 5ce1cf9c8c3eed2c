// 2 bits in groups of 16, whose scales and minima have 4 bits themselves, in units of two floats for 256
// columns; GGUF's Q2_K. 2.625 bits a weight.
lap.scheme @q2_k(%code : ui2, %scale : ui4 per 16, %min : ui4 per 16, %d : f16 per 256, %dmin : f16 per 256) {
  %s = arith.uitofp %scale : i32 to f32
  %step = arith.mulf %d, %s : f32
  %m = arith.uitofp %min : i32 to f32
  %lowest = arith.mulf %dmin, %m : f32
  %value = arith.uitofp %code : i32 to f32
  %scaled = arith.mulf %step, %value : f32
  %weight = arith.subf %scaled, %lowest : f32
  lap.yield %weight : f32
}
