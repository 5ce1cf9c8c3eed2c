// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu --canonicalize --cse | FileCheck %s
// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu --canonicalize --cse | FileCheck %s --check-prefix=NOWHERE
// Nothing of the dialect is left, and no number is infinite.
// NOWHERE-NOT: {{(^| )lap\.[a-z_]+ [@%]}}
// NOWHERE-NOT: {{0x[7F]F800000}}

!window = !lap.kv_cache<heads = 2, head_dim = 6, window = 16>
!codes = !lap.kv_cache<heads = 1, head_dim = 36, window = 0, format = q8_0>
!shared = !lap.kv_cache<heads = 1, head_dim = 64, window = 0, rotated = 8>

// A token's tiles are 4 query heads, 2 keys and 2 values. A key is made in shared memory, and then written to what is other
// positions' of its words too; a value's halves are words of its own.
// CHECK-LABEL: gpu.func @rope_kv_update(
// CHECK-SAME: %[[SIZES:[^:]*]]: memref<?xi32, #gpu.address_space<global>>, %[[KEYS:[^:]*]]: memref{{[^:]*}}, %[[VALUES:[^:]*]]: memref
// CHECK-SAME: workgroup(%[[ROW:[^:]*]] : memref<6xi32, #gpu.address_space<workgroup>>
// CHECK-SAME: known_block_size = array<i32: 128, 1, 1>
// CHECK-SAME: lap.tiles = array<i64: 0, 8>
// CHECK-NOT: token_tile
// CHECK: %[[TILE:.*]] = arith.remui %{{.*}}, %c8 : index
// CHECK: scf.if
// CHECK: math.rsqrt
// CHECK: scf.if
// CHECK: math.rsqrt
// CHECK: memref.store %{{.*}}, %[[ROW]]
// CHECK: gpu.barrier
// CHECK: memref.atomic_rmw andi %{{.*}}, %[[KEYS]]
// CHECK: memref.atomic_rmw ori %{{.*}}, %[[KEYS]]
// CHECK: scf.if
// CHECK: math.rsqrt
// CHECK: gpu.barrier
// CHECK-NOT: atomic_rmw
// CHECK: memref.store %{{.*}}, %[[VALUES]]
lap.kernel @rope_kv_update(%cache: !window, %query: memref<?x24xf32>, %keys: memref<?x12xf32>, %values: memref<?x12xf32>, %qn: memref<6xbf16>, %kn: memref<6xbf16>, %table: memref<514x6xf32>, %past: index, %out: memref<?x24xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<?x24xf32> to tensor<?x24xf32>
  %1 = bufferization.to_tensor %keys restrict : memref<?x12xf32> to tensor<?x12xf32>
  %2 = bufferization.to_tensor %values restrict : memref<?x12xf32> to tensor<?x12xf32>
  %3 = bufferization.to_tensor %qn restrict : memref<6xbf16> to tensor<6xbf16>
  %4 = bufferization.to_tensor %kn restrict : memref<6xbf16> to tensor<6xbf16>
  %5 = bufferization.to_tensor %table restrict : memref<514x6xf32> to tensor<514x6xf32>
  %r = lap.rope_kv_update %cache, %0, %1, %2, %3, %4, %5, %past {eps = 1.0e-6 : f32} : !window, tensor<?x24xf32>, tensor<?x12xf32>, tensor<6xbf16>, tensor<6xbf16>, tensor<514x6xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x24xf32>, memref<?x24xf32>) -> ()
  lap.return
}

// Tiles are the key heads; a workgroup has 8 tokens by 2 heads. A round has 4 blocks of positions, and carries a maximum, a
// sum of weights, and 2 elements for each query. Keys are read as pairs of positions, values as pairs of elements.
// CHECK-LABEL: gpu.func @attention(
// CHECK-SAME: workgroup(%[[SCORES:[^:]*]] : memref<1152xi32, #gpu.address_space<workgroup>>
// CHECK-SAME: lap.tiles = array<i64: 2, 0>, lap.token_tile = 8 : i64
// CHECK: %[[Y:.*]] = gpu.block_id y
// CHECK: arith.muli %[[Y]], %c8 : index
// The farthest end of the tokens'.
// CHECK: scf.for {{.*}} -> (index) {
// CHECK: memref.load
// CHECK: arith.maxsi
// CHECK: %[[STATE:.*]]:34 = scf.for {{.*}} step %c4 iter_args(
// CHECK: scf.for
// CHECK: spirv.GL.UnpackHalf2x16
// CHECK: math.fma
// CHECK: memref.store %{{.*}}, %[[SCORES]]
// CHECK: gpu.barrier
// CHECK: math.exp
// CHECK: gpu.barrier
// CHECK: scf.for
// CHECK: spirv.GL.UnpackHalf2x16
// CHECK: memref.load %[[SCORES]]
// CHECK: math.fma
// CHECK: gpu.barrier
// CHECK: arith.divf %[[STATE]]#2
lap.kernel @attention(%cache: !window, %query: memref<?x24xf32>, %past: index, %ends: memref<?xi32>, %out: memref<?x24xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<?x24xf32> to tensor<?x24xf32>
  %1 = bufferization.to_tensor %ends restrict : memref<?xi32> to tensor<?xi32>
  %r = lap.attention %cache, %0, %past visible(%1 : tensor<?xi32>) : !window, tensor<?x24xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x24xf32>, memref<?x24xf32>) -> ()
  lap.return
}

// A step of one token has no y. Codes of 4 positions are a word, the scales of these two words.
// CHECK-LABEL: gpu.func @attention_one(
// CHECK-SAME: lap.tiles = array<i64: 1, 0>
// CHECK-NOT: token_tile
// CHECK-NOT: gpu.block_id y
// CHECK: %{{.*}}:4 = scf.for {{.*}} step %c4 iter_args(
// CHECK: scf.for
// CHECK-COUNT-2: spirv.GL.UnpackHalf2x16
// CHECK-COUNT-4: arith.sitofp
lap.kernel @attention_one(%cache: !codes, %query: memref<1x36xf32>, %past: index, %out: memref<1x36xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x36xf32> to tensor<1x36xf32>
  %r = lap.attention %cache, %0, %past : !codes, tensor<1x36xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x36xf32>, memref<1x36xf32>) -> ()
  lap.return
}

// Tiles are the parts. Of the values, elements 8 to 31 and 40 to 63 are keys too, by way of shared memory.
// CHECK-LABEL: gpu.func @partial(
// CHECK-SAME: %[[STAGED:[^ ]*]] : memref<2112xi32, #gpu.address_space<workgroup>>)
// CHECK-SAME: lap.tiles = array<i64: 4, 0>
// CHECK: arith.remui %{{.*}}, %c4 : index
// CHECK: scf.for {{.*}} step %c4 iter_args(
// CHECK: scf.for
// CHECK: gpu.barrier
// CHECK: memref.store %{{.*}}, %[[STAGED]]
// CHECK: gpu.barrier
// CHECK: memref.load %[[STAGED]]
// CHECK: gpu.barrier
// CHECK: memref.store %{{.*}}, %[[STAGED]]
// CHECK: gpu.barrier
// CHECK: memref.load %[[STAGED]]
// CHECK: math.exp
// CHECK-NOT: arith.divf
lap.kernel @partial(%cache: !shared, %query: memref<1x64xf32>, %past: index, %out: memref<1x264xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x64xf32> to tensor<1x64xf32>
  %r = lap.partial_attention %cache, %0, %past {splits = 4 : i64} : !shared, tensor<1x64xf32> -> tensor<1x264xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x264xf32>, memref<1x264xf32>) -> ()
  lap.return
}

// A tile is a head of a token. An empty part, of the least maximum, has no weight.
// CHECK-LABEL: gpu.func @merge(
// CHECK-SAME: lap.tiles = array<i64: 0, 1>
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant -3.000000e+38 : f32
// CHECK-COUNT-2: arith.cmpf ugt, %{{.*}}, %[[LOWEST]] : f32
// CHECK: scf.for
// CHECK: arith.divf
// CHECK-NOT: gpu.barrier
// CHECK: gpu.return
lap.kernel @merge(%parts: memref<1x132xf32>, %out: memref<1x64xf32>) {
  %0 = bufferization.to_tensor %parts restrict : memref<1x132xf32> to tensor<1x132xf32>
  %r = lap.merge_attention %0 {heads = 1 : i64, splits = 2 : i64} : tensor<1x132xf32> -> tensor<1x64xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x64xf32>, memref<1x64xf32>) -> ()
  lap.return
}
