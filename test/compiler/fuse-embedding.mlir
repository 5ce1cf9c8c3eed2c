// RUN: lapidary-opt %s --lap-fuse-embedding | FileCheck %s

// Tokens and media are one kernel.
// CHECK-LABEL: func.func @tokens_and_media(
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi32>, %[[T:.*]]: tensor<64x32xbf16>, %[[M:.*]]: tensor<?x32xf32>, %[[R:.*]]: tensor<?xi32>
func.func @tokens_and_media(%ids: tensor<?xi32>, %table: tensor<64x32xbf16>, %media: tensor<?x32xf32>, %rows: tensor<?xi32>) -> tensor<?x32xf32> {
  // CHECK-NEXT: %[[H:.*]] = lap.embed %[[IDS]], %[[T]] media(%[[M]], %[[R]] : tensor<?x32xf32>, tensor<?xi32>) {scale = 4.000000e+00 : f32}
  // CHECK-NEXT: return %[[H]]
  %e = lap.embedding %ids, %table {scale = 4.0 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %h = lap.scatter_embeddings %e, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>
  return %h : tensor<?x32xf32>
}

// A step of one token has no media.
// CHECK-LABEL: func.func @one_token(
func.func @one_token(%ids: tensor<1xi32>, %table: tensor<64x32xbf16>) -> tensor<1x32xf32> {
  // CHECK-NEXT: lap.embed %{{.*}}, %{{.*}} {scale = 4.000000e+00 : f32} : tensor<1xi32>, tensor<64x32xbf16> -> tensor<1x32xf32>
  %e = lap.embedding %ids, %table {scale = 4.0 : f32} : tensor<1xi32>, tensor<64x32xbf16> -> tensor<1x32xf32>
  return %e : tensor<1x32xf32>
}

// The table may be quantized.
// CHECK-LABEL: func.func @quantized(
func.func @quantized(%ids: tensor<?xi32>, %table: !lap.quantized<64x32, @q8_0>) -> tensor<?x32xf32> {
  // CHECK-NEXT: lap.embed %{{.*}}, %{{.*}} {{.*}} : tensor<?xi32>, !lap.quantized<64x32, @q8_0> -> tensor<?x32xf32>
  %e = lap.embedding %ids, %table {scale = 4.0 : f32} : tensor<?xi32>, !lap.quantized<64x32, @q8_0> -> tensor<?x32xf32>
  return %e : tensor<?x32xf32>
}

// Embeddings that are read before media is put into them stay for that use.
// CHECK-LABEL: func.func @read_before(
func.func @read_before(%ids: tensor<?xi32>, %table: tensor<64x32xbf16>, %media: tensor<?x32xf32>, %rows: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  // CHECK-NEXT: %[[E:.*]] = lap.embed %{{.*}}, %{{[^ ]*}} {
  // CHECK-NEXT: %[[H:.*]] = lap.embed %{{.*}} media(
  // CHECK-NEXT: return %[[E]], %[[H]]
  %e = lap.embedding %ids, %table {scale = 4.0 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %h = lap.scatter_embeddings %e, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>
  return %e, %h : tensor<?x32xf32>, tensor<?x32xf32>
}

// Media put into something else, or a second time, is refused.
// CHECK-LABEL: func.func @refused(
func.func @refused(%x: tensor<?x32xf32>, %ids: tensor<?xi32>, %table: tensor<64x32xbf16>, %media: tensor<?x32xf32>, %rows: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  // CHECK: lap.scatter_embeddings
  %a = lap.scatter_embeddings %x, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>
  // CHECK: %[[H:.*]] = lap.embed {{.*}} media(
  // CHECK: lap.scatter_embeddings %[[H]]
  %e = lap.embedding %ids, %table {scale = 4.0 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %h = lap.scatter_embeddings %e, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>
  %b = lap.scatter_embeddings %h, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>
  return %a, %b : tensor<?x32xf32>, tensor<?x32xf32>
}
