// 4 bits asymmetric: a scale and a zero point for each 128 columns, as GPTQ and AWQ store. 4.15625 bits a
// weight.
lap.scheme @int4_group128(%code : ui4, %scale : f16 per 128, %zero : ui4 per 128) {
  %centred = arith.subi %code, %zero : i32
  %value = arith.sitofp %centred : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
