// Folds and canonicalizations leave the values as they were, to the last bit.
// RUN: lapidary-opt %s --canonicalize | FileCheck %s

// A table without columns turns no pair.
// CHECK-LABEL: func.func @rope_of_nothing(
// CHECK-SAME: %[[X:.*]]: tensor<?x256xf32>
func.func @rope_of_nothing(%x: tensor<?x256xf32>, %table: tensor<528x0xf32>, %past: index) -> tensor<?x256xf32> {
  // CHECK-NEXT: return %[[X]]
  %r = lap.rope %x, %table, %past {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x0xf32>
  return %r : tensor<?x256xf32>
}

// A table that turns some pairs stays.
// CHECK-LABEL: func.func @rope_of_a_pair(
func.func @rope_of_a_pair(%x: tensor<?x256xf32>, %table: tensor<528x2xf32>, %past: index) -> tensor<?x256xf32> {
  // CHECK: lap.rope
  %r = lap.rope %x, %table, %past {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x2xf32>
  return %r : tensor<?x256xf32>
}

// Media without rows replaces nothing.
// CHECK-LABEL: func.func @scatter_of_nothing(
// CHECK-SAME: %[[X:.*]]: tensor<?x256xf32>,
func.func @scatter_of_nothing(%x: tensor<?x256xf32>, %media: tensor<0x256xf32>, %rows: tensor<?xi32>) -> tensor<?x256xf32> {
  // CHECK-NEXT: return %[[X]]
  %r = lap.scatter_embeddings %x, %media, %rows : tensor<?x256xf32>, tensor<0x256xf32>, tensor<?xi32>
  return %r : tensor<?x256xf32>
}

// Media of a number of rows that is not known stays.
// CHECK-LABEL: func.func @scatter_of_some(
func.func @scatter_of_some(%x: tensor<?x256xf32>, %media: tensor<?x256xf32>, %rows: tensor<?xi32>) -> tensor<?x256xf32> {
  // CHECK: lap.scatter_embeddings
  %r = lap.scatter_embeddings %x, %media, %rows : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?xi32>
  return %r : tensor<?x256xf32>
}

// The same of the fused op: it keeps the table and loses the media.
// CHECK-LABEL: func.func @embed_without_media(
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<64x256xbf16>,
func.func @embed_without_media(%ids: tensor<?xi32>, %table: tensor<64x256xbf16>, %media: tensor<0x256xf32>, %rows: tensor<?xi32>)
    -> tensor<?x256xf32> {
  // CHECK: lap.embed %[[IDS]], %[[TABLE]] {scale = 1.600000e+01 : f32}
  %r = lap.embed %ids, %table media(%media, %rows : tensor<0x256xf32>, tensor<?xi32>) {scale = 16.0 : f32}
      : tensor<?xi32>, tensor<64x256xbf16> -> tensor<?x256xf32>
  return %r : tensor<?x256xf32>
}

// A weight whose result nobody reads goes, and one weight is applied once.
// CHECK-LABEL: func.func @needed_weights(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x256xf32>, %[[N:[a-z0-9]+]]: tensor<256xbf16>, %[[A:[a-z0-9]+]]: tensor<128x256xbf16>, %[[B:[a-z0-9]+]]: tensor<64x256xbf16>
func.func @needed_weights(%x: tensor<?x256xf32>, %n: tensor<256xbf16>, %a: tensor<128x256xbf16>, %b: tensor<64x256xbf16>)
    -> (tensor<?x128xf32>, tensor<?x128xf32>) {
  // CHECK: %[[R:.*]] = lap.fused_linear %[[X]] norm(%[[N]] : tensor<256xbf16>) weights(%[[A]] : tensor<128x256xbf16>) {{.*}} norm = #lap.norm<rms>
  // CHECK: return %[[R]], %[[R]]
  %r:3 = lap.fused_linear %x norm(%n : tensor<256xbf16>)
      weights(%a, %b, %a : tensor<128x256xbf16>, tensor<64x256xbf16>, tensor<128x256xbf16>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32}
      : tensor<?x256xf32> -> tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x128xf32>
  return %r#0, %r#2 : tensor<?x128xf32>, tensor<?x128xf32>
}

// Gate and up stay two weights, even where they are one.
// CHECK-LABEL: func.func @gate_and_up(
func.func @gate_and_up(%x: tensor<?x256xf32>, %a: tensor<128x256xbf16>) -> tensor<?x128xf32> {
  // CHECK: weights(%[[A:.*]], %[[A]] :
  %r = lap.fused_linear %x weights(%a, %a : tensor<128x256xbf16>, tensor<128x256xbf16>) {epilogue = #lap.epilogue<gated_gelu>}
      : tensor<?x256xf32> -> tensor<?x128xf32>
  return %r : tensor<?x128xf32>
}
