// RUN: lapidary-opt %s --lap-convert-gpu-to-vulkan | FileCheck %s

// A loop that may have no round gives what it began with; one that has rounds needs no choice.
// CHECK-LABEL: spirv.func @k
// CHECK: %[[INITIAL:.*]] = spirv.Constant 7 : i32
// CHECK: %[[RESULT:.*]] = spirv.Load "Function"
// CHECK: %[[ANY:.*]] = spirv.SLessThan %{{.*}}, %[[END:.*]] : i32
// CHECK: %[[DEFINED:.*]] = spirv.Select %[[ANY]], %[[RESULT]], %[[INITIAL]] : i1, i32
// CHECK: spirv.Store "StorageBuffer" %{{.*}}, %[[DEFINED]]
// CHECK: spirv.mlir.loop
// CHECK-NOT: spirv.Select
gpu.module @k {
  gpu.func @k(%out: memref<?xi32, #gpu.address_space<global>>, %rounds: i32, %b: i32, %c: i32, %d: i32) kernel
      attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %initial = arith.constant 7 : i32
    %end = arith.index_cast %rounds : i32 to index
    %some = scf.for %i = %c0 to %end step %c1 iter_args(%x = %initial) -> i32 {
      %y = arith.addi %x, %x : i32
      scf.yield %y : i32
    }
    memref.store %some, %out[%c0] : memref<?xi32, #gpu.address_space<global>>
    %five = scf.for %i = %c0 to %c5 step %c1 iter_args(%x = %b) -> i32 {
      %y = arith.addi %x, %x : i32
      scf.yield %y : i32
    }
    memref.store %five, %out[%c1] : memref<?xi32, #gpu.address_space<global>>
    gpu.return
  }
}
