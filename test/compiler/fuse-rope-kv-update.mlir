// RUN: lapidary-opt %s --lap-fuse-rope-kv-update | FileCheck %s

!sliding = !lap.kv_cache<heads = 2, head_dim = 32, window = 16>
!full = !lap.kv_cache<heads = 1, head_dim = 64, window = 0>

lap.kv_cache @c : !full
lap.rope_table @rope {head_dim = 64, rotated = 16, theta = 1.0e6, positions = 512}
lap.weight @query_norm : tensor<64xbf16> {file = "f", offset = 0}

// The turned query comes from the update, which stays where it was: in front of the attention.
// CHECK-LABEL: func.func @sliding_layer(
// CHECK-SAME: %[[C:[a-z0-9]+]]: !lap.kv_cache<heads = 2, head_dim = 32, window = 16>, %[[Q:[a-z0-9]+]]: tensor<?x128xf32>, %[[K:[a-z0-9]+]]: tensor<?x64xf32>, %[[V:[a-z0-9]+]]: tensor<?x64xf32>, %[[WQ:[a-z0-9]+]]: tensor<32xbf16>, %[[WK:[a-z0-9]+]]: tensor<32xbf16>, %[[T:[a-z0-9]+]]: tensor<513x32xf32>, %[[PAST:[a-z0-9]+]]: index, %[[END:[a-z0-9]+]]: tensor<?xi32>
func.func @sliding_layer(%c: !sliding, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %v: tensor<?x64xf32>, %wq: tensor<32xbf16>,
                         %wk: tensor<32xbf16>, %table: tensor<513x32xf32>, %past: index, %end: tensor<?xi32>) -> tensor<?x128xf32> {
  // CHECK-NEXT: %[[R:.*]] = lap.rope_kv_update %[[C]], %[[Q]], %[[K]], %[[V]], %[[WQ]], %[[WK]], %[[T]], %[[PAST]] {eps = {{.*}} : f32}
  // CHECK-NEXT: %[[A:.*]] = lap.attention %[[C]], %[[R]], %[[PAST]] visible(%[[END]] : tensor<?xi32>)
  // CHECK-NEXT: return %[[A]]
  %qn = lap.rms_norm %q, %wq {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x128xf32>, tensor<32xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 32 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %wk {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x64xf32>, tensor<32xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 32 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %v {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !sliding, tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past visible(%end : tensor<?xi32>) : !sliding, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// One token; values are the keys; each symbol is read where it is used; the query's norm and turn come behind the update.
// CHECK-LABEL: func.func @full_layer(
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<1x128xf32>, %[[K:[a-z0-9]+]]: tensor<1x64xf32>, %[[WK:[a-z0-9]+]]: tensor<64xbf16>, %[[PAST:[a-z0-9]+]]: index
func.func @full_layer(%q: tensor<1x128xf32>, %k: tensor<1x64xf32>, %wk: tensor<64xbf16>, %past: index) -> tensor<1x128xf32> {
  // CHECK: %[[T:.*]] = lap.get_weight @rope
  // CHECK: %[[C:.*]] = lap.get_cache @c
  // CHECK: %[[WQ:.*]] = lap.get_weight @query_norm
  // CHECK: %[[R:.*]] = lap.rope_kv_update %[[C]], %[[Q]], %[[K]], %[[K]], %[[WQ]], %[[WK]], %[[T]], %[[PAST]]
  // CHECK: lap.attention %{{.*}}, %[[R]], %[[PAST]] :
  %t0 = lap.get_weight @rope : tensor<513x32xf32>
  %kn = lap.rms_norm %k, %wk {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<1x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %t0, %past {head_dim = 64 : i64} : tensor<1x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<1x64xf32>
  %c0 = lap.get_cache @c : !full
  lap.kv_update %c0, %kr, %vn, %past : !full, tensor<1x64xf32>
  %wq = lap.get_weight @query_norm : tensor<64xbf16>
  %qn = lap.rms_norm %q, %wq {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<1x128xf32>, tensor<64xbf16>
  %t1 = lap.get_weight @rope : tensor<513x32xf32>
  %qr = lap.rope %qn, %t1, %past {head_dim = 64 : i64} : tensor<1x128xf32>, tensor<513x32xf32>
  %c1 = lap.get_cache @c : !full
  %a = lap.attention %c1, %qr, %past : !full, tensor<1x128xf32>
  return %a : tensor<1x128xf32>
}

// A query that is computed behind the update: the update waits for it.
// CHECK-LABEL: func.func @late_query(
func.func @late_query(%c: !full, %x: tensor<?x32xf32>, %m: tensor<128x32xbf16>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>,
                      %table: tensor<513x32xf32>, %past: index) -> tensor<?x128xf32> {
  // CHECK-NEXT: %[[Q:.*]] = lap.fused_linear
  // CHECK-NEXT: lap.rope_kv_update %{{.*}}, %[[Q]],
  // CHECK-NEXT: lap.attention
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %q = lap.fused_linear %x weights(%m : tensor<128x32xbf16>) : tensor<?x32xf32> -> tensor<?x128xf32>
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Refused: the query follows from what another attention reads in the cache that the update has changed.
// CHECK-LABEL: func.func @query_behind_a_read(
func.func @query_behind_a_read(%c: !full, %d: !lap.kv_cache<heads = 2, head_dim = 64, window = 0>, %x: tensor<?x128xf32>, %k: tensor<?x64xf32>,
                               %w: tensor<64xbf16>, %table: tensor<513x32xf32>, %past: index) -> tensor<?x128xf32> {
  // CHECK: lap.kv_update
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %q = lap.attention %d, %x, %past : !lap.kv_cache<heads = 2, head_dim = 64, window = 0>, tensor<?x128xf32>
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Refused: the attention reads the cache before the update.
// CHECK-LABEL: func.func @attention_first(
func.func @attention_first(%c: !full, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>, %table: tensor<513x32xf32>,
                           %past: index) -> tensor<?x128xf32> {
  // CHECK: lap.attention
  // CHECK: lap.kv_update
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  return %a : tensor<?x128xf32>
}

// Refused: queries and keys turn by different tables.
// CHECK-LABEL: func.func @other_table(
func.func @other_table(%c: !full, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>, %t0: tensor<513x32xf32>,
                       %t1: tensor<513x32xf32>, %past: index) -> tensor<?x128xf32> {
  // CHECK: lap.kv_update
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %t0, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %t1, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Refused: values are not normalized without a weight.
// CHECK-LABEL: func.func @weighted_values(
func.func @weighted_values(%c: !full, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>, %table: tensor<513x32xf32>,
                           %past: index) -> tensor<?x128xf32> {
  // CHECK: lap.kv_update
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Refused: the norms differ in eps.
// CHECK-LABEL: func.func @other_eps(
func.func @other_eps(%c: !full, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>, %table: tensor<513x32xf32>,
                     %past: index) -> tensor<?x128xf32> {
  // CHECK: lap.kv_update
  %qn = lap.rms_norm %q, %w {eps = 1.0e-5 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Refused: the turned query has another use.
// CHECK-LABEL: func.func @query_used_twice(
func.func @query_used_twice(%c: !full, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %w: tensor<64xbf16>, %table: tensor<513x32xf32>,
                            %past: index) -> (tensor<?x128xf32>, tensor<?x128xf32>) {
  // CHECK: lap.kv_update
  %qn = lap.rms_norm %q, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %kn = lap.rms_norm %k, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %kr = lap.rope %kn, %table, %past {head_dim = 64 : i64} : tensor<?x64xf32>, tensor<513x32xf32>
  %vn = lap.rms_norm %k {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  lap.kv_update %c, %kr, %vn, %past : !full, tensor<?x64xf32>
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a, %qr : tensor<?x128xf32>, tensor<?x128xf32>
}

// An entry point that only reads the cache: the query's norm and turn alone, for the position behind the last.
// CHECK-LABEL: func.func @reader(
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<?x128xf32>, %[[WQ:[a-z0-9]+]]: tensor<64xbf16>, %[[T:[a-z0-9]+]]: tensor<513x32xf32>, %[[PAST:[a-z0-9]+]]: index
func.func @reader(%q: tensor<?x128xf32>, %wq: tensor<64xbf16>, %table: tensor<513x32xf32>, %past: index) -> tensor<?x128xf32> {
  // CHECK: %[[C:.*]] = lap.get_cache @c
  // CHECK-NEXT: %[[R:.*]] = lap.rope_query %[[C]], %[[Q]], %[[WQ]], %[[T]], %[[PAST]] {ahead = 1 : i64, eps = {{.*}} : f32}
  // CHECK-NEXT: lap.attention %[[C]], %[[R]], %[[PAST]]
  %qn = lap.rms_norm %q, %wq {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %qr = lap.rope %qn, %table, %past {head_dim = 64 : i64, ahead = 1 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %c = lap.get_cache @c : !full
  %a = lap.attention %c, %qr, %past : !full, tensor<?x128xf32>
  return %a : tensor<?x128xf32>
}

// Without a weighted norm, or where the turned query has another use, nothing is fused.
// CHECK-LABEL: func.func @no_reader(
func.func @no_reader(%c: !full, %q: tensor<?x128xf32>, %wq: tensor<64xbf16>, %table: tensor<513x32xf32>, %past: index)
    -> (tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>) {
  // CHECK-NOT: lap.rope_query
  %n0 = lap.rms_norm %q {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>
  %q0 = lap.rope %n0, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %a0 = lap.attention %c, %q0, %past : !full, tensor<?x128xf32>
  %n1 = lap.rms_norm %q, %wq {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x128xf32>, tensor<64xbf16>
  %q1 = lap.rope %n1, %table, %past {head_dim = 64 : i64} : tensor<?x128xf32>, tensor<513x32xf32>
  %a1 = lap.attention %c, %q1, %past : !full, tensor<?x128xf32>
  // CHECK: return
  return %a0, %a1, %q1 : tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>
}
