// How kernels for aarch64 multiply codes and look values up, in registers of four words.
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=neon | FileCheck %s --check-prefixes=CHECK,NEON
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=dotprod | FileCheck %s --check-prefixes=CHECK,DOT
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=i8mm | FileCheck %s --check-prefixes=CHECK,I8MM

#codes = #lap.packed<columns = 32, activations = int8, values = false, halves = false, codes = true, sums = [], code_sums = []>
#codes_sums = #lap.packed<columns = 32, activations = int8, values = false, halves = false, codes = true, sums = [],
                          code_sums = [32, 128]>

lap.scheme @unsigned4(%code : ui4) {
  %weight = arith.uitofp %code : i32 to f32
  lap.yield %weight : f32
}

lap.scheme @signed8(%code : si8) {
  %weight = arith.sitofp %code : i32 to f32
  lap.yield %weight : f32
}

lap.scheme @iq4_nl(%code : ui4, %scale : f16 per 32) {
  %level = lap.lookup %code, array<i32: -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113> -> i32
  %value = arith.sitofp %level : i32 to f32
  %weight = arith.mulf %scale, %value : f32
  lap.yield %weight : f32
}

// Codes of four bits are the same signed and unsigned, so that instructions for signed bytes take them: one a register, or
// two products, sums of two and of four.
// CHECK-LABEL: func.func @small_codes(
// CHECK-NOT: arith.xori
// DOT-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// NEON-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
// NEON: llvm.call_intrinsic "llvm.aarch64.neon.addp.v8i16"
// NEON: llvm.call_intrinsic "llvm.aarch64.neon.saddlp.v4i32.v8i16"
// I8MM-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.usdot.v4i32.v16i8"
lap.kernel @small_codes(%x: memref<1x48xi32>, %w: memref<256xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x48xi32> to tensor<1x48xi32, #codes>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<256xi8> -> !lap.quantized<16x32, @unsigned4>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x32, @unsigned4>) {activations = #lap.activations<int8>}
      : tensor<1x48xi32, #codes> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// Signed bytes are multiplied as they are; i8mm has an instruction for the others too.
// CHECK-LABEL: func.func @large_codes(
// CHECK-NOT: arith.xori
// DOT-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// I8MM-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
lap.kernel @large_codes(%x: memref<1x48xi32>, %w: memref<512xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x48xi32> to tensor<1x48xi32, #codes_sums>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<512xi8> -> !lap.quantized<16x32, @signed8>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x32, @signed8>) {activations = #lap.activations<int8>}
      : tensor<1x48xi32, #codes_sums> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}

// Of several tokens, i8mm multiplies two rows with two tokens at a time.
// CHECK-LABEL: func.func @many_tokens(
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.usmmla.v4i32.v16i8"
lap.kernel @many_tokens(%x: memref<?x48xi32>, %w: memref<256xi8>, %out: memref<?x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x48xi32> to tensor<?x48xi32, #codes>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<256xi8> -> !lap.quantized<16x32, @unsigned4>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x32, @unsigned4>) {activations = #lap.activations<int8>}
      : tensor<?x48xi32, #codes> -> tensor<?x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  lap.return
}

// A table of 16 words is four registers of bytes.
// CHECK-LABEL: func.func @table16(
// CHECK-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.tbl4.v16i8"
lap.kernel @table16(%x: memref<1x32xf32>, %w: memref<320xi8>, %out: memref<1x16xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x32xf32> to tensor<1x32xf32>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<320xi8> -> !lap.quantized<16x32, @iq4_nl>
  %r = lap.fused_linear %0 weights(%1 : !lap.quantized<16x32, @iq4_nl>) : tensor<1x32xf32> -> tensor<1x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x16xf32>, memref<1x16xf32>) -> ()
  lap.return
}
