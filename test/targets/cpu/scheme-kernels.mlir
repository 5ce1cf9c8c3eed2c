// How kernels decode schemes: what is done once a group and what once a column.
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx512 | FileCheck %s --check-prefixes=CHECK,AVX512
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx2 | FileCheck %s --check-prefixes=CHECK,AVX2
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=vnni | FileCheck %s --check-prefixes=CHECK,VNNI

#values_sums = #lap.packed<columns = 512, activations = f32, values = true, halves = false, codes = false, sums = [32], code_sums = []>
#values = #lap.packed<columns = 512, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>
#codes_sums = #lap.packed<columns = 512, activations = int8, values = false, halves = false, codes = true, sums = [32], code_sums = []>
#codes = #lap.packed<columns = 512, activations = int8_token, values = false, halves = false, codes = true, sums = [], code_sums = [256, 128]>
#rounded = #lap.packed<columns = 64, activations = int8, values = true, halves = false, codes = false, sums = [], code_sums = []>

lap.scheme @q4_k(%code : ui4, %scale : ui6 per 32, %min : ui6 per 32, %d : f16 per 256, %dmin : f16 per 256) {
  %s = arith.uitofp %scale : i32 to f32
  %step = arith.mulf %d, %s : f32
  %m = arith.uitofp %min : i32 to f32
  %lowest = arith.mulf %dmin, %m : f32
  %value = arith.uitofp %code : i32 to f32
  %scaled = arith.mulf %step, %value : f32
  %weight = arith.subf %scaled, %lowest : f32
  lap.yield %weight : f32
}

lap.scheme @iq4_nl(%code : ui4, %scale : f16 per 32) {
  %level = lap.lookup %code, array<i32: -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113> -> i32
  %value = arith.sitofp %level : i32 to f32
  %weight = arith.mulf %scale, %value : f32
  lap.yield %weight : f32
}

lap.scheme @table32(%code : ui5) {
  %weight = lap.lookup %code, array<f32: 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
      -0.5, -1.5, -2.5, -3.5, -4.5, -5.5, -6.5, -7.5, -8.5, -9.5, -10.5, -11.5, -12.5, -13.5, -14.5, -15.5> -> f32
  lap.yield %weight : f32
}

lap.scheme @int8_channel(%code : si8 from -127 to 127, %scale : f32 per row) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// A table of more than 16 entries is the module's, and is not copied for each kernel.
// CHECK-COUNT-1: memref.global "private" constant @lookup_table_0 : memref<32xi32>
// CHECK-NOT: memref.global

// One token: the floats of a block of 256 are loaded once for its eight groups, and slope and offset are applied once a
// group, to the sums of code times x and of x. Products have codes as they are.
// CHECK-LABEL: func.func @affine_one(
// CHECK: scf.for %{{.*}} = %c0 to %c512 step %c256 iter_args(
// CHECK-COUNT-2: arith.extf {{.*}} : vector<16xf16> to vector<16xf32>
// CHECK: scf.for {{.*}} step %c32 iter_args(%[[SUM:.*]] =
// CHECK-NOT: arith.extf
// CHECK: %[[SLOPE:.*]] = arith.mulf
// CHECK: %[[LOWEST:.*]] = arith.mulf
// CHECK: %[[OFFSET:.*]] = arith.negf %[[LOWEST]]
// CHECK-COUNT-28: math.fma
// CHECK: arith.addf
// CHECK: %[[SCALED:.*]] = math.fma %[[SLOPE]], %{{.*}}, %[[SUM]]
// CHECK: %[[X:.*]] = vector.broadcast
// CHECK: %[[NEXT:.*]] = math.fma %[[OFFSET]], %[[X]], %[[SCALED]]
// CHECK: scf.yield %[[NEXT]]
lap.kernel @affine_one(%x: memref<1x528xi32>, %w: memref<4608xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x528xi32> to tensor<1x528xi32, #values_sums>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<4608xi8> -> !lap.quantized<16x512, @q4_k>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x512, @q4_k>) : tensor<1x528xi32, #values_sums> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// Many tokens: a weight is made once for all tokens of a block.
// CHECK-LABEL: func.func @affine_many(
// CHECK: %[[WEIGHT:.*]] = math.fma %[[SLOPE:.*]], %{{.*}}, %[[OFFSET:.*]] : vector<16xf32>
// CHECK: math.fma %[[SLOPE]], %{{.*}}, %[[OFFSET]] : vector<16xf32>
// AVX512-COUNT-12: math.fma %{{.*}}, %[[WEIGHT]], %{{.*}} : vector<16xf32>
// AVX2-COUNT-6: math.fma %{{.*}}, %[[WEIGHT]], %{{.*}} : vector<16xf32>
lap.kernel @affine_many(%x: memref<?x528xi32>, %w: memref<4608xi8>, %out: memref<?x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x528xi32> to tensor<?x528xi32, #values>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<4608xi8> -> !lap.quantized<16x512, @q4_k>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x512, @q4_k>) : tensor<?x528xi32, #values> -> tensor<?x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  lap.return
}

// With 8-bit activations, integers: four columns of 16 rows at a time, eight times a group, whose sum is scaled once.
// CHECK-LABEL: func.func @affine_integers(
// CHECK: scf.for {{.*}} step %c32 iter_args(
// VNNI-COUNT-8: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// AVX512-COUNT-8: llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// AVX2-COUNT-16: llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"
// CHECK: arith.sitofp {{.*}} : vector<16xi32> to vector<16xf32>
// CHECK-COUNT-2: math.fma
// CHECK: scf.yield
lap.kernel @affine_integers(%x: memref<1x176xi32>, %w: memref<4608xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x176xi32> to tensor<1x176xi32, #codes_sums>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<4608xi8> -> !lap.quantized<16x512, @q4_k>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x512, @q4_k>) {activations = #lap.activations<int8>} : tensor<1x176xi32, #codes_sums> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// Signed codes of 8 bits have an excess where bytes are unsigned; where there is no instruction for four products, their signs
// move to the input, so that two products fit into 16 bits. With a scale a token and one a row, runs are long.
// CHECK-LABEL: func.func @signed_integers(
// CHECK: scf.for %{{.*}} = %c0 to %c512 step %c256
// CHECK: %[[DOT:.*]] = scf.for {{.*}} -> (vector<16xi32>)
// VNNI: arith.xori
// VNNI: "llvm.x86.avx512.vpdpbusd.512"
// AVX512-NOT: arith.xori
// AVX512: math.absi
// AVX512: arith.select
// AVX512: "llvm.x86.avx512.pmaddubs.w.512"
// AVX2-NOT: arith.xori
// AVX2: math.absi
// AVX2: "llvm.x86.avx2.pmadd.ub.sw"
// CHECK: arith.sitofp %[[DOT]]
// CHECK: math.fma
// CHECK-NOT: math.fma
lap.kernel @signed_integers(%x: memref<1x176xi32>, %w: memref<8256xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x176xi32> to tensor<1x176xi32, #codes>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<8256xi8> -> !lap.quantized<16x512, @int8_channel>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x512, @int8_channel>) {activations = #lap.activations<int8_token>} : tensor<1x176xi32, #codes> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// A table of 16 entries is permuted in registers, with what the region makes of an entry in it: there is no conversion and no
// memory. The scale multiplies the group's sum.
// CHECK-LABEL: func.func @table_in_registers(
// CHECK: scf.for {{.*}} step %c32 iter_args(%[[SUM:.*]] =
// CHECK: %[[SCALE:.*]] = arith.extf
// AVX512-COUNT-32: "llvm.x86.avx512.permvar.si.512"
// AVX2-COUNT-64: "llvm.x86.avx2.permps"
// CHECK-NOT: vector.gather
// CHECK-NOT: arith.sitofp
// CHECK: math.fma %[[SCALE]], %{{.*}}, %[[SUM]]
lap.kernel @table_in_registers(%x: memref<1x64xf32>, %w: memref<576xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x64xf32> to tensor<1x64xf32>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<576xi8> -> !lap.quantized<16x64, @iq4_nl>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x64, @iq4_nl>) : tensor<1x64xf32> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// A table that is too large for registers; not affine, so 8-bit activations are rounded and multiplied as f32.
// CHECK-LABEL: func.func @table_in_memory(
// CHECK: memref.get_global @lookup_table_0
// CHECK: vector.gather
// CHECK-NOT: llvm.call_intrinsic
lap.kernel @table_in_memory(%x: memref<1x80xi32>, %w: memref<640xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x80xi32> to tensor<1x80xi32, #rounded>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<640xi8> -> !lap.quantized<16x64, @table32>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x64, @table32>) {activations = #lap.activations<int8>} : tensor<1x80xi32, #rounded> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}
// CHECK-LABEL: func.func @embed_from_memory(
// CHECK: memref.get_global @lookup_table_0
lap.kernel @embed_from_memory(%ids: memref<1xi32>, %w: memref<640xi8>, %out: memref<1x64xf32>) {
  %0 = bufferization.to_tensor %ids restrict : memref<1xi32> to tensor<1xi32>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<640xi8> -> !lap.quantized<16x64, @table32>
  %r = lap.embed %0, %1 {scale = 2.0 : f32} : tensor<1xi32>, !lap.quantized<16x64, @table32> -> tensor<1x64xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x64xf32>, memref<1x64xf32>) -> ()
  lap.return
}
