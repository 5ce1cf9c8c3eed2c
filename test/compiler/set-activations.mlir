// RUN: lapidary-opt %s --lap-set-activations="activations=int8" | FileCheck %s --check-prefixes=CHECK,BLOCK
// RUN: lapidary-opt %s --lap-set-activations="activations=int8_token" | FileCheck %s --check-prefixes=CHECK,TOKEN
// RUN: lapidary-opt %s --lap-set-activations="activations=bf16" | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: lapidary-opt %s --lap-set-activations="activations=f32" | FileCheck %s --check-prefix=F32
// RUN: lapidary-opt %s --lap-set-activations | FileCheck %s --check-prefix=AUTO
// RUN: not lapidary-opt %s --lap-set-activations="activations=int4" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: error: unknown activations 'int4': known are auto, f32, bf16, int8 and int8_token

// Every linear kernel rounds its input, with a norm or without one; f32 is what an op has that says nothing.
// CHECK-LABEL: func.func @linears(
// F32-NOT: activations
func.func @linears(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %w: tensor<16x32xbf16>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  // BLOCK: lap.fused_linear {{.*}}activations = #lap.activations<int8>
  // TOKEN: lap.fused_linear {{.*}}activations = #lap.activations<int8_token>
  // BF16: lap.fused_linear {{.*}}activations = #lap.activations<bf16>
  %a = lap.fused_linear %x norm(%n : tensor<32xbf16>) weights(%w : tensor<16x32xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32}
      : tensor<?x32xf32> -> tensor<?x16xf32>
  // BLOCK: lap.fused_linear {{.*}}activations = #lap.activations<int8>
  // TOKEN: lap.fused_linear {{.*}}activations = #lap.activations<int8_token>
  // BF16: lap.fused_linear {{.*}}activations = #lap.activations<bf16>
  %b = lap.fused_linear %x weights(%w : tensor<16x32xbf16>) {activations = #lap.activations<f32>} : tensor<?x32xf32> -> tensor<?x16xf32>
  // CHECK: lap.gelu %{{.*}} : tensor<?x16xf32>
  %c = lap.gelu %b : tensor<?x16xf32>
  return %a, %c : tensor<?x16xf32>, tensor<?x16xf32>
}

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
lap.scheme @float(%code : f8E4M3FN, %scale : f16 per 32) {
  %weight = arith.mulf %code, %scale : f32
  lap.yield %weight : f32
}
lap.scheme @levels(%code : ui1) {
  %weight = lap.lookup %code, array<f32: -1.0, 0.5> -> f32
  lap.yield %weight : f32
}
lap.scheme @table(%code : ui1) {
  %weight = lap.lookup %code, array<f32: -1.0, 0.3> -> f32
  lap.yield %weight : f32
}

// Without the option, only affine codes of at most 8 bits and levels that are multiples of one number make 8-bit activations.
// AUTO-LABEL: func.func @schemes(
func.func @schemes(%x: tensor<?x32xf32>, %a: !lap.quantized<16x32, @q8_0>, %b: !lap.quantized<16x32, @float>,
                   %c: !lap.quantized<16x32, @table>, %d: !lap.quantized<16x32, @levels>)
    -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  // AUTO: lap.fused_linear {{.*}}activations = #lap.activations<int8>
  %0 = lap.fused_linear %x weights(%a : !lap.quantized<16x32, @q8_0>) : tensor<?x32xf32> -> tensor<?x16xf32>
  // AUTO-NOT: activations
  // AUTO: lap.fused_linear
  // AUTO-NOT: activations
  // AUTO: lap.fused_linear
  %1 = lap.fused_linear %x weights(%b : !lap.quantized<16x32, @float>) : tensor<?x32xf32> -> tensor<?x16xf32>
  %2 = lap.fused_linear %x weights(%c : !lap.quantized<16x32, @table>) : tensor<?x32xf32> -> tensor<?x16xf32>
  // AUTO: lap.fused_linear {{.*}}activations = #lap.activations<int8>
  %3 = lap.fused_linear %x weights(%d : !lap.quantized<16x32, @levels>) : tensor<?x32xf32> -> tensor<?x16xf32>
  return %0, %1, %2, %3 : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
