// RUN: lapidary-opt %s --lap-plan-memory -verify-diagnostics -split-input-file | FileCheck %s

lap.kernel @one(%x: memref<4x8xf32>, %y: memref<4x8xf32>) {
  lap.return
}

// Buffers that follow each other in a chain take two places in turn: what a dispatch reads it never writes.
// CHECK-LABEL: func.func @chain(
// CHECK-SAME: attributes {lap.arena_bytes = 512 : i64}
func.func @chain(%x: memref<4x8xf32>, %y: memref<4x8xf32>) {
  // CHECK: %[[ARENA:.*]] = lap.arena : memref<512xi8>
  // CHECK: %[[O0:.*]] = arith.constant 0 : index
  // CHECK: %[[A:.*]] = memref.view %[[ARENA]][%[[O0]]][] : memref<512xi8> to memref<4x8xf32>
  // CHECK: lap.dispatch @one(%{{.*}}, %[[A]])
  // CHECK: %[[O1:.*]] = arith.constant 256 : index
  // CHECK: %[[B:.*]] = memref.view %[[ARENA]][%[[O1]]][]
  // CHECK: lap.dispatch @one(%[[A]], %[[B]])
  // CHECK: %[[O2:.*]] = arith.constant 0 : index
  // CHECK: %[[C:.*]] = memref.view %[[ARENA]][%[[O2]]][]
  // CHECK: lap.dispatch @one(%[[B]], %[[C]])
  // CHECK-NOT: memref.alloc
  %a = memref.alloc() : memref<4x8xf32>
  lap.dispatch @one(%x, %a) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
  %b = memref.alloc() : memref<4x8xf32>
  lap.dispatch @one(%a, %b) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
  %c = memref.alloc() : memref<4x8xf32>
  lap.dispatch @one(%b, %c) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
  lap.dispatch @one(%c, %y) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
  return
}

// -----

lap.kernel @two(%x: memref<?x3xf32>, %r: memref<?x3xf32>, %y: memref<?x3xf32>) {
  lap.return
}

// Sizes are those of lap.max_tokens rows (10 x 3 x 4 = 120, a place of 256), and a view has as many rows as the step.
// A buffer that is read again later keeps its place until then.
// CHECK-LABEL: func.func @residual(
// CHECK-SAME: lap.arena_bytes = 768 : i64
func.func @residual(%x: memref<?x3xf32>, %y: memref<?x3xf32>) attributes {lap.max_tokens = 10 : i64} {
  // CHECK: %[[ARENA:.*]] = lap.arena : memref<768xi8>
  // CHECK: %[[ROWS:.*]] = memref.dim
  // CHECK: %[[O0:.*]] = arith.constant 0 : index
  // CHECK: %[[H:.*]] = memref.view %[[ARENA]][%[[O0]]][%[[ROWS]]] : memref<768xi8> to memref<?x3xf32>
  // CHECK: arith.constant 256 : index
  // CHECK: arith.constant 512 : index
  // CHECK: arith.constant 256 : index
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x3xf32>
  %h = memref.alloc(%rows) : memref<?x3xf32>
  lap.dispatch @two(%x, %x, %h) : (memref<?x3xf32>, memref<?x3xf32>, memref<?x3xf32>) -> ()
  %a = memref.alloc(%rows) : memref<?x3xf32>
  lap.dispatch @two(%h, %x, %a) : (memref<?x3xf32>, memref<?x3xf32>, memref<?x3xf32>) -> ()
  %b = memref.alloc(%rows) : memref<?x3xf32>
  lap.dispatch @two(%a, %x, %b) : (memref<?x3xf32>, memref<?x3xf32>, memref<?x3xf32>) -> ()
  %c = memref.alloc(%rows) : memref<?x3xf32>
  lap.dispatch @two(%b, %x, %c) : (memref<?x3xf32>, memref<?x3xf32>, memref<?x3xf32>) -> ()
  lap.dispatch @two(%c, %h, %y) : (memref<?x3xf32>, memref<?x3xf32>, memref<?x3xf32>) -> ()
  return
}

// -----

lap.kernel @small(%x: memref<16xf32>, %y: memref<16xf32>) {
  lap.return
}
lap.kernel @mixed(%x: memref<16xf32>, %y: memref<256xf32>) {
  lap.return
}
lap.kernel @narrow(%x: memref<256xf32>, %y: memref<16xf32>) {
  lap.return
}

// The largest buffer comes first, at the arena's start; small ones fit into its place when it is free.
// CHECK-LABEL: func.func @largest_first(
// CHECK-SAME: lap.arena_bytes = 1280 : i64
func.func @largest_first(%x: memref<16xf32>, %y: memref<16xf32>) {
  // CHECK: %[[O0:.*]] = arith.constant 1024 : index
  // CHECK: %[[A:.*]] = memref.view %{{.*}}[%[[O0]]][] : memref<1280xi8> to memref<16xf32>
  // CHECK: %[[O1:.*]] = arith.constant 0 : index
  // CHECK: %[[B:.*]] = memref.view %{{.*}}[%[[O1]]][] : memref<1280xi8> to memref<256xf32>
  // CHECK: %[[O2:.*]] = arith.constant 1024 : index
  // CHECK: %[[O3:.*]] = arith.constant 0 : index
  %a = memref.alloc() : memref<16xf32>
  lap.dispatch @small(%x, %a) : (memref<16xf32>, memref<16xf32>) -> ()
  %b = memref.alloc() : memref<256xf32>
  lap.dispatch @mixed(%a, %b) : (memref<16xf32>, memref<256xf32>) -> ()
  %c = memref.alloc() : memref<16xf32>
  lap.dispatch @narrow(%b, %c) : (memref<256xf32>, memref<16xf32>) -> ()
  %d = memref.alloc() : memref<16xf32>
  lap.dispatch @small(%c, %d) : (memref<16xf32>, memref<16xf32>) -> ()
  lap.dispatch @small(%d, %y) : (memref<16xf32>, memref<16xf32>) -> ()
  return
}

// -----

lap.kernel @fill(%a: memref<16xf32>) {
  lap.return
}

// A result that nobody reads has a place of its own while it is written; a function without buffers has no arena.
// CHECK-LABEL: func.func @unread(
// CHECK-SAME: lap.arena_bytes = 256 : i64
func.func @unread() {
  // CHECK: lap.arena : memref<256xi8>
  %a = memref.alloc() : memref<16xf32>
  lap.dispatch @fill(%a) : (memref<16xf32>) -> ()
  %b = memref.alloc() : memref<16xf32>
  lap.dispatch @fill(%b) : (memref<16xf32>) -> ()
  return
}
// CHECK-LABEL: func.func @no_buffers(
// CHECK-SAME: lap.arena_bytes = 0 : i64
func.func @no_buffers(%x: memref<16xf32>) {
  // CHECK-NOT: lap.arena :
  lap.dispatch @fill(%x) : (memref<16xf32>) -> ()
  return
}

// -----

// Refused: nothing bounds the rows.
// expected-error@+1 {{expected a positive lap.max_tokens, which sizes its buffers}}
func.func @no_max_tokens(%x: memref<?x3xf32>, %rows: index) {
  %h = memref.alloc(%rows) : memref<?x3xf32>
  return
}

// -----

// Refused: a size that no machine has.
func.func @too_large(%rows: index) attributes {lap.max_tokens = 4611686018427387904 : i64} {
  // expected-error@+1 {{takes more than 2^40 bytes at 4611686018427387904 tokens}}
  %h = memref.alloc(%rows) : memref<?x3xf32>
  return
}

// -----

// Refused: a buffer that something else than a dispatch takes.
func.func @other_user() {
  %a = memref.alloc() : memref<16xf32>
  // expected-error@+1 {{takes a buffer, expected a dispatch}}
  memref.dealloc %a : memref<16xf32>
  return
}
