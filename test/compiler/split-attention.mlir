// RUN: lapidary-opt %s --lap-split-attention | FileCheck %s
// RUN: lapidary-opt %s --lap-split-attention=gpu | FileCheck %s --check-prefix=GPU

!one = !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
!three = !lap.kv_cache<heads = 3, head_dim = 32, window = 0>
!many = !lap.kv_cache<heads = 16, head_dim = 2, window = 0>
!wide = !lap.kv_cache<heads = 1, head_dim = 32, window = 300>
!ring = !lap.kv_cache<heads = 1, head_dim = 32, window = 64>

// A GPU has use for more pieces, and windows are cut into them, if they are wide enough for two.
// GPU-LABEL: func.func @decode(
// GPU: lap.partial_attention {{.*}} {splits = 16 : i64} : <heads = 1,
// GPU: lap.partial_attention {{.*}} {splits = 16 : i64} : <heads = 3,
// GPU: lap.partial_attention {{.*}} {splits = 8 : i64} : <heads = 16,
// GPU: lap.attention {{.*}} window = 64>
// GPU-LABEL: func.func @window(
// GPU: lap.partial_attention {{.*}} {splits = 4 : i64} : <heads = 1, {{.*}} window = 300>
// GPU: lap.attention {{.*}} visible(

// One head is cut into 16 parts, three into 6 each; enough heads and sliding windows stay whole.
// CHECK-LABEL: func.func @decode(
// CHECK: %[[P:.*]] = lap.partial_attention %{{.*}}, %[[Q:.*]], %[[PAST:.*]] {splits = 16 : i64} : <heads = 1, {{.*}}>, tensor<1x96xf32> -> tensor<1x1632xf32>
// CHECK: %[[A:.*]] = lap.merge_attention %[[P]] {heads = 3 : i64, splits = 16 : i64} : tensor<1x1632xf32> -> tensor<1x96xf32>
// CHECK: lap.partial_attention {{.*}} {splits = 6 : i64} {{.*}} -> tensor<1x612xf32>
// CHECK: lap.merge_attention {{.*}} {heads = 3 : i64, splits = 6 : i64}
// CHECK: lap.attention {{.*}} : <heads = 16,
// CHECK: lap.attention {{.*}} window = 64>
// CHECK: return %[[A]]
func.func @decode(%one: !one, %three: !three, %many: !many, %ring: !ring, %q: tensor<1x96xf32>, %past: index) -> tensor<1x96xf32> attributes {lap.max_tokens = 1 : i64} {
  %a = lap.attention %one, %q, %past : !one, tensor<1x96xf32>
  %b = lap.attention %three, %q, %past : !three, tensor<1x96xf32>
  %c = lap.attention %many, %q, %past : !many, tensor<1x96xf32>
  %d = lap.attention %ring, %q, %past : !ring, tensor<1x96xf32>
  return %a : tensor<1x96xf32>
}

// The longest step whose attention is cut into parts.
// CHECK-LABEL: func.func @extend(
// CHECK: lap.partial_attention {{.*}} -> tensor<?x1632xf32>
// CHECK: lap.merge_attention
func.func @extend(%one: !one, %q: tensor<?x96xf32>, %past: index) -> tensor<?x96xf32> attributes {lap.max_tokens = 32 : i64} {
  %a = lap.attention %one, %q, %past : !one, tensor<?x96xf32>
  return %a : tensor<?x96xf32>
}

// Longer steps, and functions that say nothing of their steps, are left alone.
// CHECK-LABEL: func.func @prefill(
// CHECK: lap.attention
func.func @prefill(%one: !one, %q: tensor<?x96xf32>, %past: index) -> tensor<?x96xf32> attributes {lap.max_tokens = 33 : i64} {
  %a = lap.attention %one, %q, %past : !one, tensor<?x96xf32>
  return %a : tensor<?x96xf32>
}
// CHECK-LABEL: func.func @unknown(
// CHECK: lap.attention
func.func @unknown(%one: !one, %q: tensor<?x96xf32>, %past: index) -> tensor<?x96xf32> {
  %a = lap.attention %one, %q, %past : !one, tensor<?x96xf32>
  return %a : tensor<?x96xf32>
}

// Windows stay whole on CPUs, and anywhere where tokens say what they see.
// CHECK-LABEL: func.func @window(
// CHECK-NOT: lap.partial_attention
func.func @window(%wide: !wide, %q: tensor<?x96xf32>, %past: index, %end: tensor<?xi32>) -> tensor<?x96xf32> attributes {lap.max_tokens = 32 : i64} {
  %a = lap.attention %wide, %q, %past : !wide, tensor<?x96xf32>
  %b = lap.attention %wide, %q, %past visible(%end : tensor<?xi32>) : !wide, tensor<?x96xf32>
  return %a : tensor<?x96xf32>
}
