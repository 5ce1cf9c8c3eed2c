// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu -verify-diagnostics -split-input-file
// RUN: not lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx1024 2>&1 | FileCheck %s
// CHECK: error: unknown variant 'avx1024', expected amx, bf16, vnni, avx512, avx2, i8mm, dotprod or neon

// A model level op that no pass fused has no kernel.
lap.kernel @gelu(%x: memref<?x64xf32>, %out: memref<?x64xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  // expected-error @+1 {{'lap.gelu' op has no CPU kernel}}
  %r = lap.gelu %0 : tensor<?x64xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  lap.return
}

// -----

// A kernel is one op.
lap.kernel @two(%x: memref<1x64xf32>, %w: memref<64xbf16>, %out: memref<1x64xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x64xf32> to tensor<1x64xf32>
  %1 = bufferization.to_tensor %w restrict : memref<64xbf16> to tensor<64xbf16>
  %2 = lap.residual_norm %0, %0, %1 {eps = 1.0e-6 : f32} : tensor<1x64xf32>, tensor<64xbf16>
  bufferization.materialize_in_destination %2 in restrict writable %out : (tensor<1x64xf32>, memref<1x64xf32>) -> ()
  // expected-error @+1 {{'lap.residual_norm' op is a second op in one kernel}}
  %r = lap.residual_norm %0, %0, %1 {eps = 1.0e-6 : f32} : tensor<1x64xf32>, tensor<64xbf16>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x64xf32>, memref<1x64xf32>) -> ()
  lap.return
}

// -----

// And not none.
// expected-error @+1 {{'lap.kernel' op has nothing to compute}}
lap.kernel @nothing(%x: memref<?x64xf32>) {
  lap.return
}

// -----

// Norms and rounding are another kernel's work.
lap.kernel @norm(%x: memref<1x64xf32>, %w: memref<2048xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x64xf32> to tensor<1x64xf32>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<2048xi8> -> tensor<16x64xbf16>
  // expected-error @+1 {{'lap.fused_linear' op normalizes or rounds its input: expected one that lap-pack-inputs has packed}}
  %r = lap.fused_linear %0 weights(%1 : tensor<16x64xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<1x64xf32> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// -----

// A packed input must have what the weight is multiplied with.
#empty = #lap.packed<columns = 64, activations = f32, values = false, halves = false, codes = false, sums = [0],
                     code_sums = []>
lap.kernel @empty(%x: memref<1x16xi32>, %w: memref<2048xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x16xi32> to tensor<1x16xi32, #empty>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<2048xi8> -> tensor<16x64xbf16>
  // expected-error @+1 {{'lap.fused_linear' op lacks what it reads of its input: expected one that lap-pack-inputs has packed for it}}
  %r = lap.fused_linear %0 weights(%1 : tensor<16x64xbf16>) : tensor<1x16xi32, #empty> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}
