// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu=variant=dot --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,DOT
// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu=variant=base --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,BASE
// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu=variant=matrix16 --canonicalize --cse | FileCheck %s --check-prefix=MATRIX
// RUN: lapidary-opt %s --lap-lower-kernels-to-gpu | FileCheck %s --check-prefix=NOWHERE
// RUN: not lapidary-opt %s --lap-lower-kernels-to-gpu=variant=best 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// Nothing of the dialect is left, schemes neither; all memory is words; without dot products nothing is one target's own.
// NOWHERE-NOT: {{(^| )lap\.[a-z_]+ [@%]}}
// NOWHERE-NOT: memref<{{[^>]*}}x{{f32|f16|bf16|i8|i16}}
// NOWHERE-NOT: spirv.
// UNKNOWN: error: unknown variant 'best', expected one of matrix16 matrix8 dot base

#values = #lap.packed<columns = 40, activations = f32, values = true, halves = false, codes = false, sums = [],
                      code_sums = []>
#codes = #lap.packed<columns = 40, activations = int8, values = false, halves = false, codes = true, sums = [],
                     code_sums = [32, 128]>

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// A workgroup is a token: its place is first tile + number. The sum of squares takes two rounds in shared memory, or one of
// what subgroups have found; a weight of bf16 is the half of a word.
// CHECK-LABEL: gpu.module @residual_norm {
// CHECK: gpu.func @residual_norm(
// CHECK-SAME: %{{[^:]*}}: memref<?xi32, #gpu.address_space<global>>, %[[RESIDUAL:[^:]*]]: memref<?xi32, {{[^,]*}}, %[[INPUT:[^:]*]]: memref<?xi32,
// CHECK-SAME: %{{[^:]*}}: i32, %[[FIRST:[^:]*]]: i32, %{{[^:]*}}: i32, %{{[^:]*}}: i32) workgroup(%[[SUMS:[^:]*]] : memref<{{144|256}}xi32, #gpu.address_space<workgroup>>) kernel
// CHECK-SAME: known_block_size = array<i32: 128, 1, 1>, lap.tile_work = array<i64: 160, 0>, lap.tiles = array<i64: 0, 1>
// CHECK-SAME: lap.uses = ["subgroup"]
// CHECK-DAG: %[[THREAD:.*]] = gpu.thread_id x
// CHECK-DAG: %[[BLOCK:.*]] = gpu.block_id x
// CHECK: %[[TILE:.*]] = arith.addi %{{.*}}, %[[BLOCK]]
// CHECK: scf.for %{{.*}} = %[[THREAD]] to %c40 step %c128 iter_args(
// CHECK: memref.load %[[INPUT]]
// BASE: memref.store %{{.*}}, %[[SUMS]][%[[THREAD]]]
// BASE-NEXT: gpu.barrier
// BASE: scf.if
// DOT: gpu.subgroup_reduce add %{{.*}} : (f32) -> f32
// DOT: %[[SUBGROUP:.*]] = gpu.subgroup_id : index
// DOT: %[[LANE:.*]] = gpu.lane_id
// DOT: arith.cmpi eq, %[[LANE]], %c0
// DOT-NEXT: scf.if
// DOT: memref.store %{{.*}}, %[[SUMS]][%[[SUBGROUP]]]
// CHECK: gpu.barrier
// DOT: %[[SUBGROUPS:.*]] = gpu.num_subgroups : index
// DOT: scf.for %{{.*}} = %c1 to %[[SUBGROUPS]]
// CHECK-NOT: gpu.barrier
// CHECK: math.rsqrt
// CHECK: scf.for %{{.*}} = %[[THREAD]] to %c40 step %c128 {
// CHECK: arith.andi %{{.*}}, %c65535_i32
// CHECK: arith.shli %{{.*}}, %c16_i32
lap.kernel @residual_norm(%residual: memref<?x40xf32>, %input: memref<?x40xf32>, %w: memref<40xbf16>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %residual restrict : memref<?x40xf32> to tensor<?x40xf32>
  %1 = bufferization.to_tensor %input restrict : memref<?x40xf32> to tensor<?x40xf32>
  %2 = bufferization.to_tensor %w restrict : memref<40xbf16> to tensor<40xbf16>
  %r = lap.residual_norm %0, %1, %2 {eps = 1.0e-6 : f32} : tensor<?x40xf32>, tensor<40xbf16>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// The table may be bound in windows of its row tiles, each of which all tokens look at.
// CHECK-LABEL: gpu.func @embed(
// CHECK-SAME: lap.window_bytes = array<i64: 0, 704, 0>, lap.windows_repeat
// CHECK: %[[ROW_TILE:.*]] = arith.divui %{{.*}}, %c16
// CHECK: arith.cmpi slt, %{{.*}}, %[[ROW_TILE]]
// CHECK: arith.cmpi slt, %[[ROW_TILE]],
// CHECK: scf.if
// CHECK: arith.remui %{{.*}}, %c16
lap.kernel @embed(%ids: memref<?xi32>, %table: memref<2112xi8>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %ids restrict : memref<?xi32> to tensor<?xi32>
  %1 = lap.unpack %table {layout = #lap.layout<rows16>} : memref<2112xi8> -> !lap.quantized<40x40, @q8_0>
  %r = lap.embed %0, %1 {scale = 2.0 : f32} : tensor<?xi32>, !lap.quantized<40x40, @q8_0> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// Two blocks have a scale each; four codes make a word, of columns that are not there 0; then the sums of codes.
// CHECK-LABEL: gpu.func @pack_input(
// CHECK-SAME: memref<2xi32, #gpu.address_space<workgroup>>
// CHECK: math.absf
// CHECK: gpu.barrier
// CHECK-COUNT-4: math.roundeven
// CHECK: memref.store
// CHECK: math.roundeven
// CHECK: arith.muli %{{.*}}, %c-128_i32
lap.kernel @pack_input(%x: memref<?x40xf32>, %out: memref<?x48xi32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x40xf32> to tensor<?x40xf32>
  %r = lap.pack_input %0 : tensor<?x40xf32> -> tensor<?x48xi32, #codes>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x48xi32, #codes>, memref<?x48xi32>) -> ()
  lap.return
}

// One token: a workgroup is a row tile, each invocation one of 16 rows and every 8th run of its columns. The 8 partial sums of
// a row are added up by its first invocation. Codes have an excess of 128, so their bytes have no signs.
// CHECK-LABEL: gpu.func @linear_of_integers(
// CHECK-SAME: workgroup(%[[PARTS:[^:]*]] : memref<128xi32, #gpu.address_space<workgroup>>)
// CHECK-SAME: lap.tiles = array<i64: 3, 0>, lap.uses = ["dot"], lap.window_bytes = array<i64: 0, 704, 0>
// CHECK: %[[PART:.*]] = arith.divui %{{.*}}, %c16
// CHECK: scf.for %{{.*}} = %[[PART]] to %c2 step %c8
// CHECK: arith.xori %{{.*}}, %c-2139062144_i32
// DOT: spirv.SUDot
// DOT-NOT: arith.shrsi
// BASE-NOT: spirv
// BASE-COUNT-4: arith.shrsi
// CHECK: memref.store %{{.*}}, %[[PARTS]]
// CHECK-NEXT: gpu.barrier
// CHECK: scf.if
// CHECK-COUNT-8: memref.load %[[PARTS]]
lap.kernel @linear_of_integers(%x: memref<1x48xi32>, %w: memref<2112xi8>, %out: memref<1x40xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x48xi32> to tensor<1x48xi32, #codes>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<2112xi8> -> !lap.quantized<40x40, @q8_0>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<40x40, @q8_0>) {activations = #lap.activations<int8>} : tensor<1x48xi32, #codes> -> tensor<1x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x40xf32>, memref<1x40xf32>) -> ()
  lap.return
}

// Many tokens: a workgroup is 8 row tiles and, by its y, 32 tokens. 16 columns of weights and inputs go to shared memory, and
// each invocation has 8 rows times 4 tokens of sums.
// CHECK-LABEL: gpu.func @linear_of_floats(
// CHECK-SAME: workgroup(%[[WEIGHTS:[^:]*]] : memref<2048xi32, {{.*}}, %[[INPUTS:[^:]*]] : memref<512xi32,
// CHECK-SAME: lap.tiles = array<i64: 1, 0>, lap.token_tile = 32 : i64, lap.uses = ["matrix"], lap.window_bytes = array<i64: 0, 10240, 0>
// CHECK: gpu.block_id y
// CHECK: scf.for %{{.*}} = %c0 to %c40 step %c16 iter_args(
// CHECK: memref.store %{{.*}}, %[[WEIGHTS]]
// CHECK: memref.store %{{.*}}, %[[INPUTS]]
// CHECK: gpu.barrier
// CHECK-NEXT: scf.for
// CHECK-COUNT-4: memref.load %[[INPUTS]]
// CHECK: memref.load %[[WEIGHTS]]
// CHECK-COUNT-4: math.fma
// CHECK: memref.load %[[WEIGHTS]]
// CHECK: gpu.barrier
//
// With matrices a workgroup has 64 tokens: every other y has nothing to do. Each of its subgroups has 32 rows, and goes over
// the columns as often as it has to. f32 inputs are two halves each, of a token's power of two; sums are stored once.
// MATRIX-LABEL: gpu.func @linear_of_floats(
// MATRIX-SAME: workgroup(%[[HALVES:[^:]*]] : memref<3072xi32, {{.*}}, %[[FACTORS:[^:]*]] : memref<64xi32,
// MATRIX-SAME: lap.token_tile = 32 : i64, lap.uses = ["matrix"], lap.window_bytes = array<i64: 0, 10240, 0>
// MATRIX: arith.remui %{{.*}}, %c2
// MATRIX: memref.store %{{.*}}, %[[FACTORS]]
// MATRIX: %[[SUBGROUP:.*]] = gpu.subgroup_id : index
// MATRIX: %[[SUBGROUPS:.*]] = gpu.num_subgroups : index
// MATRIX: %[[ROUNDS:.*]] = arith.divui %{{.*}}, %[[SUBGROUPS]]
// MATRIX: scf.for %[[ROUND:.*]] = %c0 to %[[ROUNDS]]
// MATRIX: %[[FIRST:.*]] = arith.muli %[[ROUND]], %[[SUBGROUPS]]
// MATRIX: %[[STRIP:.*]] = arith.addi %[[FIRST]], %[[SUBGROUP]]
// MATRIX: %[[SUMS:.*]]:8 = scf.for %{{.*}} = %c0 to %c40 step %c16 iter_args(
// MATRIX-COUNT-8: spirv.GL.PackHalf2x16
// MATRIX: spirv.GL.PackHalf2x16
// MATRIX: spirv.GL.UnpackHalf2x16
// MATRIX: spirv.GL.PackHalf2x16
// MATRIX: gpu.barrier
// MATRIX: arith.cmpi slt, %[[STRIP]], %c4
// MATRIX-COUNT-2: gpu.subgroup_mma_load_matrix %[[HALVES]]{{.*}} {leadDimension = 12 : index, transpose} : {{.*}} -> !gpu.mma_matrix<16x16xf16, "BOp">
// MATRIX: gpu.subgroup_mma_load_matrix %[[HALVES]]{{.*}} {leadDimension = 12 : index} : {{.*}} -> !gpu.mma_matrix<16x16xf16, "AOp">
// MATRIX-COUNT-16: gpu.subgroup_mma_compute
// MATRIX: gpu.barrier
// MATRIX-COUNT-4: gpu.subgroup_mma_store_matrix %[[SUMS]]#{{.*}} {leadDimension = 32 : index} : !gpu.mma_matrix<16x16xf32, "COp">
lap.kernel @linear_of_floats(%x: memref<?x48xi32>, %w: memref<3840xi8>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x48xi32> to tensor<?x48xi32, #values>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<3840xi8> -> tensor<40x40xbf16>
  %r = lap.fused_linear %0 weights(%1 : tensor<40x40xbf16>) : tensor<?x48xi32, #values> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// A workgroup sorts runs of a block in shared memory, a key and a token each, halves them and writes what is left. All invocations take part in
// all steps: the loops around the barrier have the same rounds for all.
// CHECK-LABEL: gpu.func @top_k(
// CHECK-SAME: %[[X:[^:]*]]: memref<?xi32, #gpu.address_space<global>>, %[[IDS:[^:]*]]: memref<?xi32, #gpu.address_space<global>>, %{{[^:]*}}: i32,
// CHECK-SAME: workgroup(%[[KEYS:[^:]*]] : memref<2048xi32, {{[^)]*}}>>, %[[PLACES:[^:]*]] : memref<2048xi32, {{[^)]*}}>>)
// CHECK-SAME: lap.tiles = array<i64: 0, 2>
// CHECK: scf.for %{{.*}} = %[[THREAD:.*]] to %c2048 step %c128 {
// CHECK: memref.load %{{.*}}
// CHECK: memref.store %{{.*}}, %[[KEYS]]
// CHECK: memref.store %{{.*}}, %[[PLACES]]
// CHECK: gpu.barrier
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %c3 step %c1 {
// CHECK: scf.for
// CHECK: scf.for %{{.*}} = %[[THREAD]] to %c1024 step %c128 {
// CHECK: arith.cmpi ult,
// CHECK: scf.if
// CHECK: gpu.barrier
// CHECK: scf.for %[[LEVEL:.*]] = %c0 to %c8 step %c1 {
// CHECK: %[[HALF:.*]] = arith.shrui %c1024, %[[LEVEL]]
// CHECK: scf.for %{{.*}} = %[[THREAD]] to %[[HALF]] step %c128 {
// CHECK: arith.cmpi ult,
// CHECK: gpu.barrier
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 {
// CHECK: gpu.barrier
// CHECK: scf.for %{{.*}} = %[[THREAD]] to %c8 step %c128 {
lap.kernel @top_k(%x: memref<?x2049xf32>, %values: memref<?x16xf32>, %ids: memref<?x16xi32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x2049xf32> to tensor<?x2049xf32>
  %v, %i = lap.top_k %0 {count = 8 : i64} : tensor<?x2049xf32> -> tensor<?x16xf32>, tensor<?x16xi32>
  bufferization.materialize_in_destination %v in restrict writable %values : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  bufferization.materialize_in_destination %i in restrict writable %ids : (tensor<?x16xi32>, memref<?x16xi32>) -> ()
  lap.return
}
