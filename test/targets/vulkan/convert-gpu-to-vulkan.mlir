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
// CHECK: spirv.AtomicOr <Device> <None>
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

// What subgroups add up is not of uniform groups, which Vulkan has not; their numbers demand a capability.
// CHECK-LABEL: spirv.module @__spv__subgroups Logical GLSL450
// CHECK-SAME: requires #spirv.vce<v1.4, [{{.*}}GroupNonUniformArithmetic{{.*}}GroupNonUniform
// CHECK-DAG: spirv.GlobalVariable @[[NUMBER:.*]] built_in("SubgroupId")
// CHECK-DAG: spirv.GlobalVariable @[[LANE:.*]] built_in("SubgroupLocalInvocationId")
// CHECK: spirv.GroupNonUniformFAdd <Subgroup> <Reduce>
// CHECK: spirv.GroupNonUniformFMax <Subgroup> <Reduce>
// CHECK: spirv.EntryPoint "GLCompute" @subgroups
gpu.module @subgroups {
  gpu.func @subgroups(%to: memref<?xi32, #gpu.address_space<global>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %number = gpu.subgroup_id : index
    %lane = gpu.lane_id
    %word = memref.load %to[%lane] : memref<?xi32, #gpu.address_space<global>>
    %own = arith.bitcast %word : i32 to f32
    %sum = gpu.subgroup_reduce add %own : (f32) -> f32
    %most = gpu.subgroup_reduce maxnumf %sum : (f32) -> f32
    %bits = arith.bitcast %most : f32 to i32
    memref.store %bits, %to[%number] : memref<?xi32, #gpu.address_space<global>>
    gpu.return
  }
}

// Matrices of halves lie in words. They demand Vulkan's memory model: what the workgroup shares is not private, and barriers
// make it available and visible.
// CHECK-LABEL: spirv.module @__spv__matrices Logical Vulkan
// CHECK-SAME: requires #spirv.vce<v1.4, [{{.*}}CooperativeMatrixKHR{{.*}}VulkanMemoryModel], [{{.*}}SPV_KHR_cooperative_matrix{{.*}}SPV_KHR_vulkan_memory_model
// CHECK: spirv.Store "Workgroup" {{.*}} ["NonPrivatePointer"]
// CHECK: spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|WorkgroupMemory|MakeAvailable|MakeVisible>
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <RowMajor>, <NonPrivatePointer> : !spirv.ptr<i32, Workgroup>, i32 -> !spirv.coopmatrix<16x16xf16, Subgroup, MatrixA>
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <ColumnMajor>, <NonPrivatePointer>
// CHECK: spirv.KHR.CooperativeMatrixMulAdd
// CHECK: spirv.KHR.CooperativeMatrixStore {{.*}}, <NonPrivatePointer> : !spirv.ptr<i32, Workgroup>, !spirv.coopmatrix<16x16xf32, Subgroup, MatrixAcc>
gpu.module @matrices {
  gpu.func @matrices(%from: memref<?xi32, #gpu.address_space<global>>)
      workgroup(%shared: memref<1024xi32, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant 0.0 : f32
    %thread = gpu.thread_id x
    %word = memref.load %from[%thread] : memref<?xi32, #gpu.address_space<global>>
    memref.store %word, %shared[%thread] : memref<1024xi32, #gpu.address_space<workgroup>>
    gpu.barrier
    %sums = gpu.subgroup_mma_constant_matrix %zero : !gpu.mma_matrix<16x16xf32, "COp">
    %a = gpu.subgroup_mma_load_matrix %shared[%c0] {leadDimension = 12 : index} : memref<1024xi32, #gpu.address_space<workgroup>> -> !gpu.mma_matrix<16x16xf16, "AOp">
    %b = gpu.subgroup_mma_load_matrix %shared[%c256] {leadDimension = 12 : index, transpose} : memref<1024xi32, #gpu.address_space<workgroup>> -> !gpu.mma_matrix<16x16xf16, "BOp">
    %r = gpu.subgroup_mma_compute %a, %b, %sums : !gpu.mma_matrix<16x16xf16, "AOp">, !gpu.mma_matrix<16x16xf16, "BOp"> -> !gpu.mma_matrix<16x16xf32, "COp">
    gpu.barrier
    gpu.subgroup_mma_store_matrix %r, %shared[%c0] {leadDimension = 16 : index} : !gpu.mma_matrix<16x16xf32, "COp">, memref<1024xi32, #gpu.address_space<workgroup>>
    gpu.return
  }
}
