// 5 bits in groups of 32, whose scales and minima have 6 bits themselves, in units of two floats for 256
// columns; GGUF's Q5_K. 5.5 bits a weight.
lap.scheme @q5_k(%code : ui5, %scale : ui6 per 32, %min : ui6 per 32, %d : f16 per 256, %dmin : f16 per 256) {
  %s = arith.uitofp %scale : i32 to f32
  %step = arith.mulf %d, %s : f32
  %m = arith.uitofp %min : i32 to f32
  %lowest = arith.mulf %dmin, %m : f32
  %value = arith.uitofp %code : i32 to f32
  %scaled = arith.mulf %step, %value : f32
  %weight = arith.subf %scaled, %lowest : f32
  lap.yield %weight : f32
}
