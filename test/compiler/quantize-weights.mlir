// RUN: lapidary-opt %s --lap-quantize-weights="quant=q8_0" -split-input-file | FileCheck %s
// RUN: lapidary-opt %s --lap-quantize-weights="quant=bf16" -split-input-file | FileCheck %s --check-prefix=PLAIN
// RUN: lapidary-opt %s --lap-quantize-weights -split-input-file | FileCheck %s --check-prefix=NOTHING
// RUN: printf '# one line a rule\n@t* keep\ntable keep\nmat?ix nf4 layers 0-9\nmatrix q4_k # no layer\n* q6_k\n' > %t.recipe
// RUN: lapidary-opt %s --lap-quantize-weights="recipe=%t.recipe" -split-input-file | FileCheck %s --check-prefix=RECIPE
// RUN: printf 'table q8_0\n' > %t.short.recipe
// RUN: not lapidary-opt %s --lap-quantize-weights="quant=%t.short.recipe" -split-input-file 2>&1 | FileCheck %s --check-prefix=SHORT
// RUN: not lapidary-opt %s --lap-quantize-weights="quant=q3_x" -split-input-file 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not lapidary-opt %s --lap-quantize-weights="recipe=q3_x" -split-input-file 2>&1 | FileCheck %s --check-prefix=NORECIPE
// RUN: printf 'lap.scheme @bf16(%%%%code : si8, %%%%s : f16 per 32) {\n  %%%%v = arith.sitofp %%%%code : i32 to f32\n  %%%%w = arith.mulf %%%%v, %%%%s : f32\n  lap.yield %%%%w : f32\n}\n' > %t.bf16.mlir
// RUN: not lapidary-opt %s --lap-quantize-weights="quant=%t.bf16.mlir" -split-input-file 2>&1 | FileCheck %s --check-prefix=NAME

// NAME: error: @bf16 is the name of plain values; give the scheme another name

// A scheme whose value is its code is no scheme of the module: the matrix is a tensor of that type.
// PLAIN-NOT: lap.scheme
// PLAIN: lap.weight @table : tensor<64x32xbf16> {file = "f", offset = 0 : i64}
// PLAIN: lap.weight @matrix : tensor<16x32xf16> {{{.*}} stored = tensor<16x32xbf16>}
// NOTHING-NOT: lap.scheme
// NOTHING-NOT: stored =

// The first line that fits decides; a line for layers is for no other tensor.
// RECIPE: lap.scheme @q4_k(
// RECIPE: lap.weight @table : tensor<64x32xbf16> {file = "f", offset = 0 : i64}
// RECIPE: lap.weight @matrix : {{.*}} stored = !lap.quantized<16x32, @q4_k>}

// SHORT: error: no line of the recipe is for matrix; end it with '* SCHEME' or '* keep'
// UNKNOWN: error: unknown --quant 'q3_x': known are the schemes bf16, {{.*}}, the recipes 2bit,
// NORECIPE: error: unknown recipe 'q3_x': known are 2bit,

// Matrices and the table get the scheme, also where one weight is both; vectors stay.
// CHECK: lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
// CHECK: lap.weight @table : tensor<64x32xbf16> {{{.*}} stored = !lap.quantized<64x32, @q8_0>}
lap.weight @table : tensor<64x32xbf16> {file = "f", offset = 0}
// CHECK: lap.weight @matrix : tensor<16x32xf16> {{{.*}} stored = !lap.quantized<16x32, @q8_0>}
lap.weight @matrix : tensor<16x32xf16> {file = "f", offset = 4096}
// CHECK: lap.weight @norm : tensor<32xbf16> {file = "f", offset = 8192 : i64}
lap.weight @norm : tensor<32xbf16> {file = "f", offset = 8192}

// CHECK-LABEL: func.func @matrices(
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi32>
func.func @matrices(%ids: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x16xf32>) {
  // CHECK: %[[T:.*]] = lap.get_weight @table : !lap.quantized<64x32, @q8_0>
  // CHECK: %[[TD:.*]] = lap.dequantize %[[T]] : <64x32, @q8_0> -> tensor<64x32xf32>
  %table = lap.get_weight @table : tensor<64x32xbf16>
  // CHECK: %[[M:.*]] = lap.get_weight @matrix : !lap.quantized<16x32, @q8_0>
  // CHECK: %[[MD:.*]] = lap.dequantize %[[M]]
  %matrix = lap.get_weight @matrix : tensor<16x32xf16>
  // CHECK: lap.get_weight @norm : tensor<32xbf16>
  %norm = lap.get_weight @norm : tensor<32xbf16>
  // CHECK: lap.embedding %[[IDS]], %[[TD]] {{.*}} : tensor<?xi32>, tensor<64x32xf32>
  %h = lap.embedding %ids, %table {scale = 1.0 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %n = lap.rms_norm %h, %norm {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  // CHECK: lap.linear %{{.*}}, %[[TD]] : tensor<?x32xf32>, tensor<64x32xf32> -> tensor<?x64xf32>
  %l = lap.linear %n, %table : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  // CHECK: lap.linear %{{.*}}, %[[MD]]
  %m = lap.linear %n, %matrix : tensor<?x32xf32>, tensor<16x32xf16> -> tensor<?x16xf32>
  return %l, %m : tensor<?x64xf32>, tensor<?x16xf32>
}

// -----

// A matrix with a use that is none of a matrix stays, and so does one that nobody reads; no scheme is added for them.
// CHECK-NOT: lap.scheme
// CHECK: lap.weight @returned : tensor<16x32xbf16> {file = "f", offset = 0 : i64}
lap.weight @returned : tensor<16x32xbf16> {file = "f", offset = 0}
// CHECK: lap.weight @unused : tensor<16x32xbf16> {file = "f", offset = 0 : i64}
lap.weight @unused : tensor<16x32xbf16> {file = "f", offset = 0}
// CHECK-LABEL: func.func @other_uses(
func.func @other_uses(%x: tensor<?x32xf32>) -> (tensor<?x16xf32>, tensor<16x32xbf16>) {
  // CHECK: %[[W:.*]] = lap.get_weight @returned : tensor<16x32xbf16>
  %w = lap.get_weight @returned : tensor<16x32xbf16>
  %u = lap.get_weight @unused : tensor<16x32xbf16>
  // CHECK: lap.linear %{{.*}}, %[[W]]
  %y = lap.linear %x, %w : tensor<?x32xf32>, tensor<16x32xbf16> -> tensor<?x16xf32>
  return %y, %w : tensor<?x16xf32>, tensor<16x32xbf16>
}
