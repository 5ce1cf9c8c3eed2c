// NormalFloat 4 (QLoRA): the quantiles of a normal distribution, a scale for each 64 columns. 4.25 bits a
// weight.
lap.scheme @nf4(%code : ui4, %scale : f16 per 64) {
  %level = lap.lookup %code, array<f32: -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
      -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
      0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0> -> f32
  %weight = arith.mulf %level, %scale : f32
  lap.yield %weight : f32
}
