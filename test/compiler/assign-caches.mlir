// RUN: lapidary-opt %s --lap-assign-caches | FileCheck %s
// RUN: lapidary-opt %s --lap-assign-caches="format=q8_0" | FileCheck %s --check-prefix=Q8
// RUN: not lapidary-opt %s --lap-assign-caches="format=q4_0" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: error: unknown cache format 'q4_0': known are f32, f16, bf16 and q8_0

!c = !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
!k = tensor<?x32xf32>
!q = tensor<?x64xf32>
!n = tensor<32xbf16>
!t = tensor<513x8xf32>

lap.weight @one : !n {file = "f", offset = 0}
lap.weight @two : !n {file = "f", offset = 64}
lap.rope_table @part {head_dim = 32, rotated = 4, theta = 1.0e6, positions = 512}
lap.rope_table @whole {head_dim = 32, rotated = 16, theta = 1.0e6, positions = 512}
// Keys follow from values but where they turn, in both entry points; every cache gets the format.
// CHECK: lap.kv_cache @shared : !lap.kv_cache<heads = 1, head_dim = 32, window = 0, rotated = 4>
// Q8: lap.kv_cache @shared : !lap.kv_cache<heads = 1, head_dim = 32, window = 0, format = q8_0, rotated = 4>
lap.kv_cache @shared : !c
// Values of their own, all of the key turns, another weight in another entry point, an op that knows whole keys, no use.
// CHECK: lap.kv_cache @values : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
// CHECK: lap.kv_cache @turns : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
// CHECK: lap.kv_cache @weights : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
// CHECK: lap.kv_cache @plain : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
// CHECK: lap.kv_cache @unused : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
// Q8-COUNT-5: format = q8_0>
lap.kv_cache @values : !c
lap.kv_cache @turns : !c
lap.kv_cache @weights : !c
lap.kv_cache @plain : !c
lap.kv_cache @unused : !c
lap.kv_cache @foreign : !c

// CHECK-LABEL: func.func @prefill(
func.func @prefill(%q: !q, %k: !k, %v: !k, %past: index) {
  %n = lap.get_weight @one : !n
  %t = lap.get_weight @part : !t
  %w = lap.get_weight @whole : tensor<513x32xf32>
  %c0 = lap.get_cache @shared : !c
  %c1 = lap.get_cache @values : !c
  %c2 = lap.get_cache @turns : !c
  %c3 = lap.get_cache @weights : !c
  %c4 = lap.get_cache @plain : !c
  // CHECK: %[[R:.*]] = lap.rope_kv_update {{.*}} : <heads = 1, head_dim = 32, window = 0, rotated = 4>
  // CHECK: lap.attention %{{.*}}, %[[R]], %{{.*}} : <heads = 1, head_dim = 32, window = 0, rotated = 4>
  %r0 = lap.rope_kv_update %c0, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, !t
  %a0 = lap.attention %c0, %r0, %past : !c, !q
  %r1 = lap.rope_kv_update %c1, %q, %k, %v, %n, %n, %t, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, !t
  %r2 = lap.rope_kv_update %c2, %q, %k, %k, %n, %n, %w, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, tensor<513x32xf32>
  %r3 = lap.rope_kv_update %c3, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, !t
  %r4 = lap.rope_kv_update %c4, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, !t
  // Queries that did not come from the cache's update lack the keys' weight.
  // CHECK: lap.get_cache @foreign
  %c5 = lap.get_cache @foreign : !c
  // CHECK-NEXT: lap.rope_kv_update {{.*}} : <heads = 1, head_dim = 32, window = 0>
  // CHECK-NEXT: lap.attention {{.*}} : <heads = 1, head_dim = 32, window = 0>
  %r5 = lap.rope_kv_update %c5, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32} : !c, !q, !k, !n, !n, !t
  %a5 = lap.attention %c5, %q, %past : !c, !q
  return
}

// CHECK-LABEL: func.func @decode(
func.func @decode(%q: tensor<1x64xf32>, %k: tensor<1x32xf32>, %past: index) {
  %n = lap.get_weight @one : !n
  %m = lap.get_weight @two : !n
  %t = lap.get_weight @part : !t
  %c0 = lap.get_cache @shared : !c
  %c3 = lap.get_cache @weights : !c
  %c4 = lap.get_cache @plain : !c
  // CHECK: lap.rope_kv_update {{.*}} rotated = 4>
  %r0 = lap.rope_kv_update %c0, %q, %k, %k, %m, %n, %t, %past {eps = 1.0e-6 : f32} : !c, tensor<1x64xf32>, tensor<1x32xf32>, !n, !n, !t
  %r3 = lap.rope_kv_update %c3, %q, %k, %k, %n, %m, %t, %past {eps = 1.0e-6 : f32} : !c, tensor<1x64xf32>, tensor<1x32xf32>, !n, !n, !t
  lap.kv_update %c4, %k, %k, %past : !c, tensor<1x32xf32>
  return
}

// A query of an entry point that only reads the cache gets the keys' weight where keys are stored in part.
// CHECK-LABEL: func.func @reader(
func.func @reader(%q: tensor<?x64xf32>, %past: index) {
  %n = lap.get_weight @one : !n
  %t = lap.get_weight @part : !t
  %c0 = lap.get_cache @shared : !c
  %c1 = lap.get_cache @plain : !c
  // CHECK: lap.get_cache @plain
  // CHECK-NEXT: %[[K:.*]] = lap.get_weight @one
  // CHECK-NEXT: lap.rope_query {{.*}} key_norm(%[[K]] : tensor<32xbf16>) {{.*}} rotated = 4>
  // CHECK: lap.rope_query {{[^(]*}} : <heads = 1, head_dim = 32, window = 0>
  %r0 = lap.rope_query %c0, %q, %n, %t, %past {eps = 1.0e-6 : f32, ahead = 1 : i64} : !c, tensor<?x64xf32>, !n, !t
  %a0 = lap.attention %c0, %r0, %past : !c, tensor<?x64xf32>
  %r1 = lap.rope_query %c1, %q, %n, %t, %past {eps = 1.0e-6 : f32, ahead = 1 : i64} : !c, tensor<?x64xf32>, !n, !t
  %a1 = lap.attention %c1, %r1, %past : !c, tensor<?x64xf32>
  return
}
