// RUN: lapidary-opt %s --lap-bufferize -allow-unregistered-dialect -verify-diagnostics -split-input-file | FileCheck %s

!cache = !lap.kv_cache<heads = 2, head_dim = 16, window = 8>

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
lap.weight @plain : tensor<32xbf16> {file = "f", offset = 0}
lap.weight @tiled : tensor<32x32xbf16> {file = "f", offset = 64, layout = #lap.layout<rows16>}
lap.weight @quantized : tensor<16x32xbf16> {file = "f", offset = 4096, stored = !lap.quantized<16x32, @q8_0>, layout = #lap.layout<rows16>}
lap.rope_table @rope {head_dim = 16, rotated = 8, theta = 1.0e4, positions = 512}
lap.kv_cache @c : !cache

// Between dispatches stands a buffer, as many rows as the first dynamic argument has; what is returned is written into
// the caller's memory, even if others read it too, by an argument that says `lap.result`. Attributes stay.
// CHECK-LABEL: func.func @dynamic(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<?x32xf32> {lap.name = "x"}, %[[PAST:[a-z0-9]+]]: index {lap.name = "past"}, %[[OUT:[a-z0-9]+]]: memref<?x32xf32> {lap.name = "y", lap.result}, %[[SUM:[a-z0-9]+]]: memref<?x32xf32> {lap.result})
// CHECK-SAME: attributes {lap.max_tokens = 8 : i64}
func.func @dynamic(%x: tensor<?x32xf32> {lap.name = "x"}, %past: index {lap.name = "past"}) -> (tensor<?x32xf32> {lap.name = "y"}, tensor<?x32xf32>)
    attributes {lap.max_tokens = 8 : i64} {
  // CHECK: %[[ROWS:.*]] = memref.dim %[[X]], %{{.*}}
  // CHECK: %[[W:.*]] = lap.get_weight @plain : memref<32xbf16>
  // CHECK: %[[T:.*]] = lap.get_weight @tiled : memref<2048xi8>
  %w = lap.get_weight @plain : tensor<32xbf16>
  %t = lap.get_weight @tiled : tensor<32x32xbf16>
  // CHECK: %[[A:.*]] = memref.alloc(%[[ROWS]]) : memref<?x32xf32>
  // CHECK-NEXT: lap.dispatch @linear(%[[X]], %[[T]], %[[A]]) : (memref<?x32xf32>, memref<2048xi8>, memref<?x32xf32>) -> ()
  %a = lap.dispatch @linear(%x, %t) : (tensor<?x32xf32>, tensor<32x32xbf16>) -> tensor<?x32xf32>
  // CHECK-NEXT: lap.dispatch @norm(%[[X]], %[[A]], %[[W]], %[[SUM]])
  %s = lap.dispatch @norm(%x, %a, %w) : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<32xbf16>) -> tensor<?x32xf32>
  // CHECK-NEXT: lap.dispatch @norm(%[[SUM]], %[[A]], %[[W]], %[[OUT]])
  %y = lap.dispatch @norm(%s, %a, %w) : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<32xbf16>) -> tensor<?x32xf32>
  // CHECK-NEXT: return
  return %y, %s : tensor<?x32xf32>, tensor<?x32xf32>
}

// One token: no sizes are needed. Caches and sizes stay what they are; a kernel may write two results.
// CHECK-LABEL: func.func @one_token(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<1x32xf32>, %[[PAST:[a-z0-9]+]]: index, %[[OUT:[a-z0-9]+]]: memref<1x32xf32> {lap.result})
func.func @one_token(%x: tensor<1x32xf32>, %past: index) -> tensor<1x32xf32> {
  // CHECK: %[[C:.*]] = lap.get_cache @c
  // CHECK: %[[T:.*]] = lap.get_weight @rope : memref<513x16xf32>
  // CHECK: %[[Q:.*]] = lap.get_weight @quantized : memref<576xi8>
  %c = lap.get_cache @c : !cache
  %t = lap.get_weight @rope : tensor<513x16xf32>
  %q = lap.get_weight @quantized : !lap.quantized<16x32, @q8_0>
  // CHECK: %[[A:.*]] = memref.alloc() : memref<1x16xf32>
  // CHECK: %[[B:.*]] = memref.alloc() : memref<1x16xf32>
  // CHECK-NEXT: lap.dispatch @two(%[[X]], %[[Q]], %[[A]], %[[B]]) : (memref<1x32xf32>, memref<576xi8>, memref<1x16xf32>, memref<1x16xf32>) -> ()
  %a, %b = lap.dispatch @two(%x, %q) : (tensor<1x32xf32>, !lap.quantized<16x32, @q8_0>) -> (tensor<1x16xf32>, tensor<1x16xf32>)
  // CHECK-NEXT: lap.dispatch @attention(%[[C]], %[[X]], %[[PAST]], %[[OUT]])
  %r = lap.dispatch @attention(%c, %x, %past) : (!cache, tensor<1x32xf32>, index) -> tensor<1x32xf32>
  return %r : tensor<1x32xf32>
}

// A kernel reads tensors from its arguments, tiled weights from their bytes, and writes to its last arguments.
// CHECK-LABEL: lap.kernel @linear(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<?x32xf32>, %[[W:[a-z0-9]+]]: memref<2048xi8> {lap.layout = #lap.layout<rows16>}, %[[OUT:[a-z0-9]+]]: memref<?x32xf32>) {
lap.kernel @linear(%x: tensor<?x32xf32>, %w: tensor<32x32xbf16> {lap.layout = #lap.layout<rows16>}) -> tensor<?x32xf32> {
  // CHECK-NEXT: %[[TX:.*]] = bufferization.to_tensor %[[X]] restrict : memref<?x32xf32> to tensor<?x32xf32>
  // CHECK-NEXT: %[[TW:.*]] = lap.unpack %[[W]] {layout = #lap.layout<rows16>} : memref<2048xi8> -> tensor<32x32xbf16>
  // CHECK-NEXT: %[[Y:.*]] = lap.fused_linear %[[TX]] weights(%[[TW]] : tensor<32x32xbf16>)
  // CHECK-NEXT: bufferization.materialize_in_destination %[[Y]] in restrict writable %[[OUT]]
  // CHECK-NEXT: lap.return{{$}}
  %y = lap.fused_linear %x weights(%w : tensor<32x32xbf16>) : tensor<?x32xf32> -> tensor<?x32xf32>
  lap.return %y : tensor<?x32xf32>
}

lap.kernel @norm(%h: tensor<?x32xf32>, %x: tensor<?x32xf32>, %w: tensor<32xbf16>) -> tensor<?x32xf32> {
  %r = lap.residual_norm %h, %x, %w {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<32xbf16>
  lap.return %r : tensor<?x32xf32>
}

// Results are written in their order; quantized bytes become the quantized matrix.
// CHECK-LABEL: lap.kernel @two(
// CHECK-SAME: %{{.*}}: memref<1x32xf32>, %[[W:.*]]: memref<576xi8> {lap.layout = #lap.layout<rows16>}, %[[A:.*]]: memref<1x16xf32>, %[[B:.*]]: memref<1x16xf32>)
lap.kernel @two(%x: tensor<1x32xf32>, %w: !lap.quantized<16x32, @q8_0> {lap.layout = #lap.layout<rows16>}) -> (tensor<1x16xf32>, tensor<1x16xf32>) {
  // CHECK: lap.unpack %[[W]] {layout = #lap.layout<rows16>} : memref<576xi8> -> !lap.quantized<16x32, @q8_0>
  // CHECK: %[[R:.*]]:2 = lap.fused_linear
  // CHECK: bufferization.materialize_in_destination %[[R]]#0 in restrict writable %[[A]]
  // CHECK: bufferization.materialize_in_destination %[[R]]#1 in restrict writable %[[B]]
  %a, %b = lap.fused_linear %x weights(%w, %w : !lap.quantized<16x32, @q8_0>, !lap.quantized<16x32, @q8_0>)
      : tensor<1x32xf32> -> tensor<1x16xf32>, tensor<1x16xf32>
  lap.return %a, %b : tensor<1x16xf32>, tensor<1x16xf32>
}

// CHECK-LABEL: lap.kernel @attention(
// CHECK-SAME: %[[C:[a-z0-9]+]]: !lap.kv_cache<heads = 2, head_dim = 16, window = 8>, %{{.*}}: memref<1x32xf32>, %[[PAST:[a-z0-9]+]]: index, %{{.*}}: memref<1x32xf32>)
lap.kernel @attention(%c: !cache, %q: tensor<1x32xf32>, %past: index) -> tensor<1x32xf32> {
  // CHECK: lap.attention %[[C]], %{{.*}}, %[[PAST]]
  %a = lap.attention %c, %q, %past : !cache, tensor<1x32xf32>
  lap.return %a : tensor<1x32xf32>
}

// -----

// Refused: an argument that is returned as it is has no dispatch to write it.
// expected-error@+1 {{result 0 is not a dispatch's result of its own}}
func.func @returns_argument(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  return %x : tensor<?x32xf32>
}

// -----

// Refused: a value returned twice would have to be copied.
lap.kernel @gelu(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  %r = lap.gelu %x : tensor<?x32xf32>
  lap.return %r : tensor<?x32xf32>
}
// expected-error@+1 {{result 1 is not a dispatch's result of its own}}
func.func @returned_twice(%x: tensor<?x32xf32>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  %r = lap.dispatch @gelu(%x) : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return %r, %r : tensor<?x32xf32>, tensor<?x32xf32>
}

// -----

// Refused: an op that is no dispatch.
func.func @no_kernel(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // expected-error@+1 {{'lap.gelu' op has no form on memory: kernels come first}}
  %r = lap.gelu %x : tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

// -----

// Refused: nothing tells how many rows the buffer has.
lap.kernel @make() -> tensor<?x32xf32> {
  %r = "test.make"() : () -> tensor<?x32xf32>
  lap.return %r : tensor<?x32xf32>
}
// expected-error@+1 {{no argument tells the number of tokens of its dynamic buffers}}
func.func @no_tokens(%x: tensor<1x32xf32>) {
  %r = lap.dispatch @make() : () -> tensor<?x32xf32>
  return
}

// -----

// Refused: a quantized matrix that no layout gives bytes to.
lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
// expected-error@+1 {{a plain layout has no form for '!lap.quantized<16x32, @q8_0>'}}
lap.kernel @plain(%x: tensor<1x32xf32>, %w: !lap.quantized<16x32, @q8_0>) -> tensor<1x16xf32> {
  %a = lap.fused_linear %x weights(%w : !lap.quantized<16x32, @q8_0>) : tensor<1x32xf32> -> tensor<1x16xf32>
  lap.return %a : tensor<1x16xf32>
}
