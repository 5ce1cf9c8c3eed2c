// RUN: lapidary-opt %s --lap-pack-inputs | FileCheck %s
// RUN: lapidary-opt %s --lap-pack-inputs --lap-pack-inputs | FileCheck %s

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
lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
lap.scheme @scale16(%code : si8, %scale : f16 per 16) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
lap.scheme @table(%code : ui1) {
  %weight = lap.lookup %code, array<f32: -1.0, 0.3> -> f32
  lap.yield %weight : f32
}


// One packed input is enough for all ops that do the same to one input, and has what each of them reads: a table is multiplied
// as f32, the sums of signed codes are corrected by runs of 32 or 16 columns.
// CHECK-LABEL: func.func @shared(
// CHECK-SAME: %[[X:.*]]: tensor<?x256xf32>, %[[N:.*]]: tensor<256xbf16>
func.func @shared(%x: tensor<?x256xf32>, %n: tensor<256xbf16>, %a: !lap.quantized<64x256, @q4_k>, %b: !lap.quantized<64x256, @q8_0>,
                  %c: !lap.quantized<64x256, @scale16>, %d: !lap.quantized<64x256, @table>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[P:.*]] = lap.pack_input %[[X]] norm(%[[N]] : tensor<256xbf16>) {{.*}} -> tensor<?x400xi32, #lap.packed<columns = 256, activations = int8, values = true, halves = false, codes = true, sums = {{\[}}32], code_sums = {{\[}}32, 128, 16, 128]>>
  // CHECK-NOT: lap.pack_input
  // CHECK-NOT: norm
  // CHECK: lap.fused_linear %[[P]] weights(%{{.*}} : !lap.quantized<64x256, @q4_k>) {activations = #lap.activations<int8>}
  // CHECK: lap.fused_linear %[[P]] weights(%{{.*}} : !lap.quantized<64x256, @q8_0>)
  // CHECK: lap.fused_linear %[[P]]
  // CHECK: lap.fused_linear %[[P]]
  %0 = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%a : !lap.quantized<64x256, @q4_k>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, activations = #lap.activations<int8>} : tensor<?x256xf32> -> tensor<?x64xf32>
  %1 = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%b : !lap.quantized<64x256, @q8_0>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, activations = #lap.activations<int8>} : tensor<?x256xf32> -> tensor<?x64xf32>
  %2 = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%c : !lap.quantized<64x256, @scale16>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, activations = #lap.activations<int8>} : tensor<?x256xf32> -> tensor<?x64xf32>
  %3 = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%d : !lap.quantized<64x256, @table>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, activations = #lap.activations<int8>} : tensor<?x256xf32> -> tensor<?x64xf32>
  return %0, %1, %2, %3 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// Another norm, or none, is another input.
// CHECK-LABEL: func.func @different(
func.func @different(%x: tensor<?x256xf32>, %w: tensor<64x256xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[P:.*]] = lap.pack_input %{{.*}} {eps = {{.*}}, norm = #lap.norm<rms>} : tensor<?x256xf32> -> tensor<?x272xi32, #lap.packed<columns = 256, activations = f32, values = true, halves = false, codes = false, sums = {{\[}}], code_sums = {{\[}}]>>
  // CHECK: lap.fused_linear %[[P]]
  // CHECK: %[[Q:.*]] = lap.pack_input %{{.*}} : tensor<?x256xf32> -> tensor<?x272xi32, #lap.packed<columns = 256, activations = f32, values = true, halves = false, codes = false, sums = {{\[}}], code_sums = {{\[}}]>>
  // CHECK: lap.fused_linear %[[Q]]
  %0 = lap.fused_linear %x weights(%w : tensor<64x256xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x256xf32> -> tensor<?x64xf32>
  %1 = lap.fused_linear %x weights(%w : tensor<64x256xbf16>) : tensor<?x256xf32> -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// One token's input is read as it is, unless sums of it are needed.
// CHECK-LABEL: func.func @one(
// CHECK-SAME: %[[X:.*]]: tensor<1x256xf32>
func.func @one(%x: tensor<1x256xf32>, %n: tensor<256xbf16>, %w: tensor<64x256xbf16>, %a: !lap.quantized<64x256, @q4_k>)
    -> (tensor<1x64xf32>, tensor<1x64xf32>) {
  // CHECK: lap.fused_linear %[[X]] weights(%{{.*}} : tensor<64x256xbf16>)
  // CHECK: lap.pack_input %[[X]] norm({{.*}} : tensor<1x256xf32> -> tensor<1x272xi32, #lap.packed<columns = 256, activations = f32, values = true, halves = false, codes = false, sums = {{\[}}32], code_sums = {{\[}}]>>
  %0 = lap.fused_linear %x weights(%w : tensor<64x256xbf16>) : tensor<1x256xf32> -> tensor<1x64xf32>
  %1 = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%a : !lap.quantized<64x256, @q4_k>) {norm = #lap.norm<rms>}
      : tensor<1x256xf32> -> tensor<1x64xf32>
  return %0, %1 : tensor<1x64xf32>, tensor<1x64xf32>
}
