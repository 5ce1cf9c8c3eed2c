// 8 bits symmetric with a scale for each row (output channel). 8 bits a weight.
lap.scheme @int8_channel(%code : si8 from -127 to 127, %scale : f32 per row) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
