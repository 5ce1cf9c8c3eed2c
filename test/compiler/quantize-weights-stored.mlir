// RUN: lapidary-opt %s --lap-quantize-weights="quant=q4_0" 2>&1 | FileCheck %s
// RUN: lapidary-opt %s --lap-quantize-weights 2>&1 | FileCheck %s --check-prefix=NOTHING
// What the checkpoint has quantized stays, and who asks for something else is told.
// CHECK: remark: 1 matrix of the checkpoint is quantized already and stays as it is
// CHECK: lap.weight @stored : {{.*}} stored = !lap.quantized<16x32, @own>}
// CHECK: lap.weight @matrix : {{.*}} stored = !lap.quantized<16x32, @q4_0>}
// NOTHING-NOT: remark:
lap.scheme @own(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
lap.weight @stored : tensor<16x32xbf16> {file = "f", offset = 0, stored = !lap.quantized<16x32, @own>}
lap.weight @matrix : tensor<16x32xbf16> {file = "f", offset = 4096}
func.func @matrices(%x: tensor<?x32xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %s = lap.get_weight @stored : !lap.quantized<16x32, @own>
  %d = lap.dequantize %s : <16x32, @own> -> tensor<16x32xf32>
  %a = lap.linear %x, %d : tensor<?x32xf32>, tensor<16x32xf32> -> tensor<?x16xf32>
  %m = lap.get_weight @matrix : tensor<16x32xbf16>
  %b = lap.linear %x, %m : tensor<?x32xf32>, tensor<16x32xbf16> -> tensor<?x16xf32>
  return %a, %b : tensor<?x16xf32>, tensor<?x16xf32>
}
