// f32: the value itself.
lap.scheme @f32(%code : f32) {
  lap.yield %code : f32
}
