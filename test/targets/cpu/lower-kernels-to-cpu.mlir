// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu | FileCheck %s
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx512 | FileCheck %s
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx2 | FileCheck %s
// Nothing of the dialect is left, schemes neither, and columns go by vectors: there is no product and no exponential of a
// column's scalar.
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu | FileCheck %s --check-prefix=NOWHERE
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx2 | FileCheck %s --check-prefix=NOWHERE
// The variant decides how many sums a product over many tokens keeps.
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx2 | FileCheck %s --check-prefix=AVX2
// RUN: lapidary-opt %s --lap-lower-kernels-to-cpu=variant=avx512 | FileCheck %s --check-prefix=AVX512

// NOWHERE-NOT: {{(^| )lap\.[a-z_]+ [@%]}}
// NOWHERE-NOT: {{(math.fma|math.exp|arith.subf|arith.maxnumf) .* : f32$}}

#values = #lap.packed<columns = 40, activations = f32, values = true, halves = false, codes = false, sums = [],
                      code_sums = []>
!window = !lap.kv_cache<heads = 2, head_dim = 20, window = 16>
!full = !lap.kv_cache<heads = 1, head_dim = 32, window = 0>

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// The runtime's signature: buffers, sizes, scratch, first tile, end tile; operands are loaded in the order of the kernel's
// arguments. A tile is a token; its 40 columns are two whole vectors and a masked one of 8, in the norm and in the sum.
// CHECK-LABEL: func.func @residual_norm(
// CHECK-SAME: %[[BUFFERS:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[FIRST:.*]]: i64, %[[END:.*]]: i64)
// CHECK-SAME: lap.scratch = array<i64: 0, 0>, lap.tile_work = array<i64: 160, 0>, lap.tiles = array<i64: 0, 1>
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[B:.*]] = arith.index_cast %[[FIRST]] : i64 to index
// CHECK-DAG: %[[E:.*]] = arith.index_cast %[[END]] : i64 to index
// CHECK: llvm.load %[[BUFFERS]]
// CHECK: %[[INPUT_AT:.*]] = llvm.getelementptr %[[BUFFERS]][1]
// CHECK: %[[INPUT_POINTER:.*]] = llvm.load %[[INPUT_AT]]
// CHECK: llvm.insertvalue %[[INPUT_POINTER]]
// CHECK: %[[INPUT:.*]] = builtin.unrealized_conversion_cast {{.*}} to memref<?xf32>
// CHECK: llvm.getelementptr %[[BUFFERS]][2]
// CHECK: to memref<?xi16>
// CHECK: llvm.getelementptr %[[BUFFERS]][4]
// CHECK: %[[OUT:.*]] = builtin.unrealized_conversion_cast {{.*}} to memref<?xf32>
// CHECK: scf.for %{{.*}} = %[[B]] to %[[E]] step %c1 {
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16 iter_args(
// CHECK: vector.load %[[INPUT]]{{.*}} : memref<?xf32>, vector<16xf32>
// CHECK: vector.create_mask %[[C8]] : vector<16xi1>
// CHECK: vector.maskedload %[[INPUT]]{{.*}} into vector<16xf32>
// CHECK: vector.reduction <add>
// CHECK: math.sqrt
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16 {
// CHECK: vector.load %{{.*}} : memref<?xi16>, vector<16xi16>
// CHECK: vector.store %{{.*}}, %[[OUT]]{{.*}} : memref<?xf32>, vector<16xf32>
// CHECK-NOT: scf.for
// CHECK: vector.create_mask %[[C8]]
// CHECK: vector.maskedstore %[[OUT]]
// CHECK-NOT: memref.store
lap.kernel @residual_norm(%residual: memref<?x40xf32>, %input: memref<?x40xf32>, %w: memref<40xbf16>, %s: memref<1xbf16>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %residual restrict : memref<?x40xf32> to tensor<?x40xf32>
  %1 = bufferization.to_tensor %input restrict : memref<?x40xf32> to tensor<?x40xf32>
  %2 = bufferization.to_tensor %w restrict : memref<40xbf16> to tensor<40xbf16>
  %3 = bufferization.to_tensor %s restrict : memref<1xbf16> to tensor<1xbf16>
  %r = lap.residual_norm %0, %1, %2 scale(%3 : tensor<1xbf16>) {eps = 1.0e-6 : f32} : tensor<?x40xf32>, tensor<40xbf16>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// A token's row is a lane of its tile: a block's scales are loaded once, then the tile is decoded by 8 columns into scratch
// memory, from where the lane is taken; one whole block of 32, then the 8 columns that are left. A media row is copied.
// CHECK-LABEL: func.func @embed(
// CHECK-SAME: lap.scratch = array<i64: 512, 0>, {{.*}}lap.tiles = array<i64: 0, 1>
// CHECK: scf.for
// CHECK: memref.load {{.*}} : memref<?xi32>
// CHECK: scf.if
// CHECK: memref.load {{.*}} : memref<?xi32>
// CHECK: %[[ROW:.*]] = arith.remui
// CHECK: vector.load {{.*}} : memref<?xi8>, vector<32xi8>
// CHECK: arith.extf {{.*}} : vector<16xf16> to vector<16xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c8 {
// CHECK-COUNT-2: vector.load {{.*}} : memref<?xi8>, vector<64xi8>
// CHECK-COUNT-8: vector.store {{.*}} : memref<?xf32>, vector<16xf32>
// CHECK: memref.load %{{.*}}[%[[ROW]]] : memref<?xf32>
// CHECK: memref.store {{.*}} : memref<?xf32>
// CHECK: vector.load {{.*}} : memref<?xi8>, vector<32xi8>
// CHECK-COUNT-2: vector.load {{.*}} : memref<?xi8>, vector<64xi8>
// CHECK-COUNT-8: memref.store {{.*}} : memref<?xf32>
// CHECK: scf.if
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16 {
// CHECK: vector.store {{.*}} : memref<?xf32>, vector<16xf32>
// CHECK: vector.maskedstore
// CHECK-NOT: memref.store
lap.kernel @embed(%ids: memref<?xi32>, %table: memref<2112xi8>, %media: memref<?x40xf32>, %rows: memref<?xi32>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %ids restrict : memref<?xi32> to tensor<?xi32>
  %1 = lap.unpack %table {layout = #lap.layout<rows16>} : memref<2112xi8> -> !lap.quantized<40x40, @q8_0>
  %2 = bufferization.to_tensor %media restrict : memref<?x40xf32> to tensor<?x40xf32>
  %3 = bufferization.to_tensor %rows restrict : memref<?xi32> to tensor<?xi32>
  %r = lap.embed %0, %1 media(%2, %3 : tensor<?x40xf32>, tensor<?xi32>) {scale = 2.0 : f32} : tensor<?xi32>, !lap.quantized<40x40, @q8_0> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// A tile is a token: two whole vectors of it and a masked one, whose place is filled up.
// CHECK-LABEL: func.func @pack_input(
// CHECK-SAME: lap.tiles = array<i64: 0, 1>
// CHECK: scf.for
// CHECK: math.sqrt
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16 {
// CHECK: vector.store {{.*}} : memref<?xf32>, vector<16xf32>
// CHECK: vector.maskedload
// CHECK: vector.store {{.*}} : memref<?xf32>, vector<16xf32>
lap.kernel @pack_input(%x: memref<?x40xf32>, %out: memref<?x48xi32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x40xf32> to tensor<?x40xf32>
  %r = lap.pack_input %0 {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x40xf32> -> tensor<?x48xi32, #values>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x48xi32, #values>, memref<?x48xi32>) -> ()
  lap.return
}

// A tile is 16 rows of the weight, three of 40: each weight is read once for all tokens. A block of tokens has its sums in
// registers, 12 by two tiles or 6 by one; what is left goes in blocks of 8, 4, 2 and 1.
// CHECK-LABEL: func.func @fused_linear(
// CHECK-SAME: lap.tiles = array<i64: 3, 0>
// CHECK: vector.load {{.*}} : memref<?xi8>, vector<64xi8>
// CHECK: math.fma {{.*}} : vector<16xf32>
// AVX2-LABEL: func.func @fused_linear(
// AVX2: scf.for %{{.*}} = %c0 to %{{.*}} step %c6 {
// AVX2: %{{.*}}:6 = scf.for
// AVX2: %{{.*}}:4 = scf.for
// AVX2: %{{.*}}:2 = scf.for
// AVX2-NOT: step %c12
// AVX512-LABEL: func.func @fused_linear(
// AVX512: scf.for %{{.*}} = %c0 to %{{.*}} step %c12 {
// AVX512: %{{.*}}:24 = scf.for
// AVX512: %{{.*}}:16 = scf.for
// AVX512: %{{.*}}:8 = scf.for
// AVX512: %{{.*}}:4 = scf.for
// AVX512: %{{.*}}:2 = scf.for
lap.kernel @fused_linear(%x: memref<?x48xi32>, %w: memref<3840xi8>, %out: memref<?x40xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x48xi32> to tensor<?x48xi32, #values>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<3840xi8> -> tensor<40x40xbf16>
  %r = lap.fused_linear %0 weights(%1 : tensor<40x40xbf16>) : tensor<?x48xi32, #values> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  lap.return
}

// One token that is known here needs no size.
// CHECK-LABEL: func.func @fused_linear_one(
// CHECK-SAME: %{{.*}}: !llvm.ptr, %[[SIZES:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK-SAME: lap.tiles = array<i64: 3, 0>
// CHECK-NOT: %[[SIZES]]
// CHECK: math.fma {{.*}} : vector<16xf32>
// AVX2-LABEL: func.func @fused_linear_one(
// AVX512-LABEL: func.func @fused_linear_one(
lap.kernel @fused_linear_one(%x: memref<1x40xf32>, %w: memref<3840xi8>, %out: memref<1x40xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<1x40xf32> to tensor<1x40xf32>
  %1 = lap.unpack %w {layout = #lap.layout<rows16>} : memref<3840xi8> -> tensor<40x40xbf16>
  %r = lap.fused_linear %0 weights(%1 : tensor<40x40xbf16>) : tensor<1x40xf32> -> tensor<1x40xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x40xf32>, memref<1x40xf32>) -> ()
  lap.return
}

// A tile is a key head of a token and its two query heads. The cache is two buffers, `past` none; the ring's blocks are those
// of the chunk and of the window. Of 10 pairs 8 turn, by a masked vector, and the others pass through, by another.
// CHECK-LABEL: func.func @rope_kv_update(
// CHECK-SAME: %[[BUFFERS:.*]]: !llvm.ptr, %[[SIZES:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK-SAME: lap.tiles = array<i64: 0, 2>
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK-DAG: llvm.getelementptr %[[SIZES]][1]
// CHECK-DAG: llvm.getelementptr %[[SIZES]][2]
// CHECK: llvm.getelementptr %[[BUFFERS]][7]
// CHECK-NOT: llvm.getelementptr %[[BUFFERS]][8]
// CHECK: scf.for
// CHECK: scf.for %{{.*}} = %c0 to %[[C2]] step
// CHECK: vector.create_mask %[[C8]]
// CHECK: vector.maskedload
// CHECK: vector.create_mask %[[C2]]
// CHECK: vector.maskedstore {{.*}} : memref<?xf32>
// CHECK: arith.remui
// CHECK: arith.truncf {{.*}} : f32 to f16
// CHECK: memref.store {{.*}} : memref<?xi16>
// CHECK: arith.truncf {{.*}} : vector<16xf32> to vector<16xf16>
// CHECK: vector.store {{.*}} : memref<?xi16>, vector<16xi16>
// CHECK: vector.maskedstore {{.*}} : memref<?xi16>
lap.kernel @rope_kv_update(%cache: !window, %query: memref<?x80xf32>, %keys: memref<?x40xf32>, %qn: memref<20xbf16>, %kn: memref<20xbf16>, %table: memref<514x16xf32>, %past: index, %out: memref<?x80xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<?x80xf32> to tensor<?x80xf32>
  %1 = bufferization.to_tensor %keys restrict : memref<?x40xf32> to tensor<?x40xf32>
  %2 = bufferization.to_tensor %qn restrict : memref<20xbf16> to tensor<20xbf16>
  %3 = bufferization.to_tensor %kn restrict : memref<20xbf16> to tensor<20xbf16>
  %4 = bufferization.to_tensor %table restrict : memref<514x16xf32> to tensor<514x16xf32>
  %r = lap.rope_kv_update %cache, %0, %1, %1, %2, %3, %4, %past {eps = 1.0e-6 : f32} : !window, tensor<?x80xf32>, tensor<?x40xf32>, tensor<20xbf16>, tensor<20xbf16>, tensor<514x16xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x80xf32>, memref<?x80xf32>) -> ()
  lap.return
}

// 64 tiles share the two heads' runs of tokens, whatever their number; scratch holds 128 queries and their sums. One pass over
// four blocks of 16 keys at a time, for as many queries as the registers take: no lane sums in a score, what is not visible is minus
// infinity, and the sums are rescaled once for the four blocks.
// CHECK-LABEL: func.func @attention(
// CHECK-SAME: lap.scratch = array<i64: 55808, 0>, {{.*}}lap.tiles = array<i64: 64, 0>
// CHECK: arith.ceildivui
// CHECK: scf.for
// CHECK: memref.load {{.*}} : memref<?xi32>
// CHECK: arith.maxsi
// CHECK: scf.for %{{.*}} step %c4 {
// CHECK: arith.remui
// CHECK: %{{.*}}:{{16|4}} = scf.for %{{.*}} step %c1{{.*}} iter_args(
// CHECK: vector.load {{.*}} : memref<?xi16>, vector<16xi16>
// CHECK-COUNT-4: math.fma {{.*}} : vector<16xf32>
// CHECK: arith.cmpi sge, {{.*}} : vector<16xi32>
// CHECK: arith.cmpi slt, {{.*}} : vector<16xi32>
// CHECK: arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: vector.reduction <maxnumf>
// CHECK: vector.load {{.*}} : memref<?xi16>, vector<16xi16>
// CHECK: vector.maskedload {{.*}} : memref<?xi16>
// CHECK: arith.divf {{.*}} : vector<16xf32>
// CHECK: vector.maskedstore
lap.kernel @attention(%cache: !window, %query: memref<?x80xf32>, %past: index, %ends: memref<?xi32>, %out: memref<?x80xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<?x80xf32> to tensor<?x80xf32>
  %1 = bufferization.to_tensor %ends restrict : memref<?xi32> to tensor<?xi32>
  %r = lap.attention %cache, %0, %past visible(%1 : tensor<?xi32>) : !window, tensor<?x80xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x80xf32>, memref<?x80xf32>) -> ()
  lap.return
}

// Without a window there is no ring, with one token no size but `past`. The sixteen heads of a group are one tile, and whole vectors need no mask.
// CHECK-LABEL: func.func @attention_one(
// CHECK-SAME: %{{.*}}: !llvm.ptr, %[[SIZES:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK-SAME: lap.scratch = array<i64: 10560, 0>, {{.*}}lap.tiles = array<i64: 1, 0>
// CHECK-NOT: llvm.load %[[SIZES]]
// CHECK: llvm.getelementptr %[[SIZES]][1]
// CHECK-NOT: llvm.getelementptr %[[SIZES]][2]
// CHECK: %{{.*}}:{{16|4}} = scf.for
// CHECK-NOT: masked
lap.kernel @attention_one(%cache: !full, %query: memref<1x512xf32>, %past: index, %out: memref<1x512xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x512xf32> to tensor<1x512xf32>
  %r = lap.attention %cache, %0, %past : !full, tensor<1x512xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x512xf32>, memref<1x512xf32>) -> ()
  lap.return
}

// Parts: a tile is a key head and one of 16 parts of the positions. A part without positions leaves a maximum and a sum of
// weights and nothing else.
// CHECK-LABEL: func.func @partial(
// CHECK-SAME: lap.tiles = array<i64: 16, 0>
// CHECK: scf.if
// CHECK: %{{.*}}:{{16|4}} = scf.for
// CHECK: scf.if
// CHECK: memref.store {{.*}} : memref<?xf32>
// CHECK: memref.store {{.*}} : memref<?xf32>
// CHECK-NEXT: }
lap.kernel @partial(%cache: !full, %query: memref<1x512xf32>, %past: index, %out: memref<1x8704xf32>) {
  %0 = bufferization.to_tensor %query restrict : memref<1x512xf32> to tensor<1x512xf32>
  %r = lap.partial_attention %cache, %0, %past {splits = 16 : i64} : !full, tensor<1x512xf32> -> tensor<1x8704xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x8704xf32>, memref<1x8704xf32>) -> ()
  lap.return
}

// A tile is a head of a token: the parts' maxima are one vector, and only parts with a share are read.
// CHECK-LABEL: func.func @merge(
// CHECK-SAME: lap.tiles = array<i64: 0, 16>
// CHECK: vector.reduction <maxnumf>
// CHECK: arith.cmpf une
// CHECK: scf.if
// CHECK: math.fma
lap.kernel @merge(%parts: memref<1x8704xf32>, %out: memref<1x512xf32>) {
  %0 = bufferization.to_tensor %parts restrict : memref<1x8704xf32> to tensor<1x8704xf32>
  %r = lap.merge_attention %0 {heads = 16 : i64, splits = 16 : i64} : tensor<1x8704xf32> -> tensor<1x512xf32>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<1x512xf32>, memref<1x512xf32>) -> ()
  lap.return
}

// Two norms, each with a mean and then the squares of what differs from it; the lanes past 33 columns are left out of those.
// CHECK-LABEL: func.func @patch_embedding(
// CHECK-SAME: lap.tiles = array<i64: 0, 1>
// CHECK: scf.for
// CHECK-COUNT-2: memref.load {{.*}} : memref<?xi32>
// CHECK-COUNT-2: scf.for %{{.*}} = %c0 to %c32 step %c16 iter_args(
// CHECK: arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16 {
// CHECK: vector.maskedstore
// CHECK-COUNT-2: scf.for %{{.*}} = %c0 to %c32 step %c16 iter_args(
// CHECK: arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: vector.maskedstore
// CHECK-NOT: memref.store
lap.kernel @patch_embedding(%x: memref<?x33xf32>, %w: memref<33xbf16>, %b: memref<33xbf16>, %xy: memref<?x2xi32>, %table: memref<8x2x33xbf16>, %out: memref<?x33xf32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x33xf32> to tensor<?x33xf32>
  %1 = bufferization.to_tensor %w restrict : memref<33xbf16> to tensor<33xbf16>
  %2 = bufferization.to_tensor %b restrict : memref<33xbf16> to tensor<33xbf16>
  %3 = bufferization.to_tensor %xy restrict : memref<?x2xi32> to tensor<?x2xi32>
  %4 = bufferization.to_tensor %table restrict : memref<8x2x33xbf16> to tensor<8x2x33xbf16>
  %r = lap.patch_embedding %0, %1, %2, %3, %4, %1, %2 {eps = 1.0e-5 : f32} : tensor<?x33xf32>, tensor<33xbf16>, tensor<33xbf16>, tensor<?x2xi32>, tensor<8x2x33xbf16>, tensor<33xbf16>, tensor<33xbf16>
  bufferization.materialize_in_destination %r in restrict writable %out : (tensor<?x33xf32>, memref<?x33xf32>) -> ()
  lap.return
}

// A block is sorted in scratch memory, a key and a token each; absent columns have the least key.
// CHECK-LABEL: func.func @top_k(
// CHECK-SAME: lap.scratch = array<i64: 512, 0>
// CHECK-SAME: lap.tiles = array<i64: 0, 1>
// CHECK: scf.for %{{.*}} = %c0 to %c64 step %c1 {
// CHECK: arith.cmpi sge, %{{.*}}, %c0_i32
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 {
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c1 {
// CHECK: arith.cmpi ult,
// CHECK: scf.if
// CHECK: scf.for %{{.*}} = %c0 to %c8 step %c1 {
lap.kernel @top_k(%x: memref<?x33xf32>, %ids: memref<?x33xi32>, %values: memref<?x8xf32>, %tokens: memref<?x8xi32>) {
  %0 = bufferization.to_tensor %x restrict : memref<?x33xf32> to tensor<?x33xf32>
  %1 = bufferization.to_tensor %ids restrict : memref<?x33xi32> to tensor<?x33xi32>
  %v, %i = lap.top_k %0 ids(%1 : tensor<?x33xi32>) {count = 8 : i64} : tensor<?x33xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
  bufferization.materialize_in_destination %v in restrict writable %values : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
  bufferization.materialize_in_destination %i in restrict writable %tokens : (tensor<?x8xi32>, memref<?x8xi32>) -> ()
  lap.return
}
