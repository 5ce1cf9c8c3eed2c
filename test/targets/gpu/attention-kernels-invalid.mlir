// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu -verify-diagnostics -split-input-file

// Pairs of elements are what kernels read and write.
!odd = !lap.kv_cache<heads = 2, head_dim = 3, window = 0>
lap.kernel @odd(%cache: !odd, %query: memref<1x6xf32>, %past: index, %out: memref<1x6xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x6xf32> to tensor<1x6xf32>
  // expected-error @+1 {{'lap.attention' op has no GPU kernel: head_dim is 3, but must be even and at most 1024}}
  %r = lap.attention %cache, %0, %past : !odd, tensor<1x6xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x6xf32>, memref<1x6xf32>) -> ()
  lap.return
}

// -----

// A head is in the memory of one workgroup.
!wide = !lap.kv_cache<heads = 1, head_dim = 2048, window = 0>
lap.kernel @wide(%cache: !wide, %query: memref<1x2048xf32>, %past: index, %out: memref<1x4100xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x2048xf32> to tensor<1x2048xf32>
  // expected-error @+1 {{'lap.partial_attention' op has no GPU kernel: head_dim is 2048}}
  %r = lap.partial_attention %cache, %0, %past {splits = 2 : i64} : !wide, tensor<1x2048xf32> -> tensor<1x4100xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x4100xf32>, memref<1x4100xf32>) -> ()
  lap.return
}
