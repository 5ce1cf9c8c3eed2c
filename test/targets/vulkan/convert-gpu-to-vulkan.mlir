// RUN: lapidary-opt %s --lap-convert-gpu-to-vulkan | FileCheck %s
// RUN: lapidary-opt %s --lap-convert-gpu-to-vulkan | FileCheck %s --check-prefix=ALL --implicit-check-not=gpu. --implicit-check-not=memref
// ALL: spirv.module
// Buffers are bound in order, the numbers at the end are push constants, and workgroups' memory is a variable. The version is
// one that Vulkan 1.2 takes, whatever is used. What is only read is marked.
// CHECK-LABEL: spirv.module @__spv__copy Logical GLSL450 requires #spirv.vce<v1.4, [Shader
// CHECK-DAG: spirv.GlobalVariable @[[SHARED:.*]] : !spirv.ptr<!spirv.struct<(!spirv.array<128 x i32>)>, Workgroup>
// CHECK-DAG: spirv.GlobalVariable @[[PUSH:.*]] : !spirv.ptr<!spirv.struct<(!spirv.array<2 x i32, stride=4> [0])>, PushConstant>
// CHECK-DAG: spirv.GlobalVariable @[[FROM:.*]] bind(0, 0) {non_writable} : !spirv.ptr<!spirv.struct<(!spirv.rtarray<i32, stride=4> [0])>, StorageBuffer>
// CHECK-DAG: spirv.GlobalVariable @[[TO:.*]] bind(0, 1) :
// CHECK: spirv.func @copy() "None"
// CHECK: spirv.Load "PushConstant"
// CHECK: spirv.Load "StorageBuffer"
// CHECK: spirv.Store "Workgroup"
// CHECK: spirv.ControlBarrier <Workgroup>, <Workgroup>
// CHECK: spirv.Load "Workgroup"
// CHECK: spirv.AtomicOr
// CHECK: spirv.EntryPoint "GLCompute" @copy, {{.*}}@[[FROM]], @[[TO]]
// CHECK: spirv.ExecutionMode @copy "LocalSize", 128, 1, 1
gpu.module @copy {
  gpu.func @copy(%from: memref<?xi32, #gpu.address_space<global>>, %to: memref<?xi32, #gpu.address_space<global>>, %first: i32, %bits: i32)
      workgroup(%shared: memref<128xi32, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %thread = gpu.thread_id x
    %begin = arith.index_cast %first : i32 to index
    %at = arith.addi %begin, %thread : index
    %word = memref.load %from[%at] : memref<?xi32, #gpu.address_space<global>>
    memref.store %word, %shared[%thread] : memref<128xi32, #gpu.address_space<workgroup>>
    gpu.barrier
    %own = memref.load %shared[%thread] : memref<128xi32, #gpu.address_space<workgroup>>
    %both = arith.ori %own, %bits : i32
    %old = memref.atomic_rmw ori %both, %to[%at] : (i32, memref<?xi32, #gpu.address_space<global>>) -> i32
    gpu.return
  }
}

// Dot products are an extension of that version.
// CHECK-LABEL: spirv.module @__spv__dot
// CHECK-SAME: requires #spirv.vce<v1.4, [{{.*}}DotProduct{{.*}}], [{{.*}}SPV_KHR_integer_dot_product
gpu.module @dot {
  gpu.func @dot(%from: memref<?xi32, #gpu.address_space<global>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %thread = gpu.thread_id x
    %word = memref.load %from[%thread] : memref<?xi32, #gpu.address_space<global>>
    %dot = spirv.SDot %word, %word, <PackedVectorFormat4x8Bit> : i32 -> i32
    memref.store %dot, %from[%thread] : memref<?xi32, #gpu.address_space<global>>
    gpu.return
  }
}
