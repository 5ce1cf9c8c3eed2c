// bf16: the value itself.
lap.scheme @bf16(%code : bf16) {
  lap.yield %code : f32
}
