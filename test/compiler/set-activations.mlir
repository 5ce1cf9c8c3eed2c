// RUN: lapidary-opt %s --lap-set-activations="activations=int8" | FileCheck %s --check-prefixes=CHECK,BLOCK
// RUN: lapidary-opt %s --lap-set-activations="activations=int8_token" | FileCheck %s --check-prefixes=CHECK,TOKEN
// RUN: lapidary-opt %s --lap-set-activations="activations=bf16" | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: lapidary-opt %s --lap-set-activations | FileCheck %s --check-prefix=F32
// RUN: not lapidary-opt %s --lap-set-activations="activations=int4" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: error: unknown activations 'int4': known are f32, bf16, int8 and int8_token

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
