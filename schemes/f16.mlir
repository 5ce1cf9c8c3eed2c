// f16: the value itself.
lap.scheme @f16(%code : f16) {
  lap.yield %code : f32
}
