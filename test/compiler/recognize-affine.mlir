// RUN: lapidary-opt %s --lap-recognize-affine | FileCheck %s
// Which of the built-in schemes are affine.
// RUN: cat %S/../../schemes/*.mlir | lapidary-opt --lap-recognize-affine | FileCheck %s --check-prefix=BUILTIN

// BUILTIN: lap.scheme @bf16({{[^)]*}}) {
// BUILTIN: lap.scheme @f16({{[^)]*}}) {
// BUILTIN: lap.scheme @f32({{[^)]*}}) {
// BUILTIN: lap.scheme @fp8_e4m3({{[^)]*}}) {
// BUILTIN: lap.scheme @int4_group128({{[^)]*}}) affine {
// BUILTIN: lap.scheme @int8_channel({{[^)]*}}) affine {
// BUILTIN: lap.scheme @iq4_nl({{[^)]*}}) {
// BUILTIN: lap.scheme @mxfp4({{[^)]*}}) {
// BUILTIN: lap.scheme @nf4({{[^)]*}}) {
// BUILTIN: lap.scheme @nvfp4({{[^)]*}}) {
// BUILTIN: lap.scheme @q2_k({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q3_k({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q4_0({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q4_1({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q4_k({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q5_0({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q5_1({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q5_k({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q6_k({{[^)]*}}) affine {
// BUILTIN: lap.scheme @q8_0({{[^)]*}}) affine {
// BUILTIN: lap.scheme @ternary({{[^)]*}}) affine {
// BUILTIN-NOT: lap.scheme

// A field may be taken from the code, a weight from a field, and a sum be multiplied with what does not depend on the code.
// CHECK: lap.scheme @reversed({{.*}}) affine {
lap.scheme @reversed(%code : ui4, %scale : f16 per 32, %zero : ui4 per 32) {
  %centred = arith.subi %code, %zero : i32
  %value = arith.sitofp %centred : i32 to f32
  %negative = arith.subf %scale, %value : f32
  %weight = arith.mulf %negative, %scale : f32
  lap.yield %weight : f32
}

// A product of code and code is not.
// CHECK: lap.scheme @square({{[^)]*}}) {
lap.scheme @square(%code : si4, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %square = arith.mulf %value, %value : f32
  %weight = arith.mulf %square, %scale : f32
  lap.yield %weight : f32
}

// Nor is what is divided by the code.
// CHECK: lap.scheme @inverse({{[^)]*}}) {
lap.scheme @inverse(%code : ui4 from 1 to 15, %scale : f16 per 32) {
  %value = arith.uitofp %code : i32 to f32
  %weight = arith.divf %scale, %value : f32
  lap.yield %weight : f32
}

// A table is none, even one of even steps.
// CHECK: lap.scheme @table({{[^)]*}}) {
lap.scheme @table(%code : ui1, %scale : f16 per 32) {
  %level = lap.lookup %code, array<f32: -1.0, 1.0> -> f32
  %weight = arith.mulf %level, %scale : f32
  lap.yield %weight : f32
}

// Who claims to be affine and is not, is not.
// CHECK: lap.scheme @claimed({{[^)]*}}) {
lap.scheme @claimed(%code : si4, %scale : f16 per 32) affine {
  %value = arith.sitofp %code : i32 to f32
  %magnitude = math.absf %value : f32
  %weight = arith.mulf %magnitude, %scale : f32
  lap.yield %weight : f32
}

// A constant that is added and taken away rounds the code's multiple: sums in another order would not.
// CHECK: lap.scheme @rounded({{[^)]*}}) {
lap.scheme @rounded(%code : ui4, %scale : f16 per 32) {
  %magic = arith.constant 12582912.0 : f32
  %half = arith.constant 0.3 : f32
  %value = arith.sitofp %code : i32 to f32
  %part = arith.mulf %value, %half : f32
  %up = arith.addf %part, %magic : f32
  %down = arith.subf %up, %magic : f32
  %weight = arith.mulf %down, %scale : f32
  lap.yield %weight : f32
}

// CHECK: lap.scheme @shifted({{[^)]*}}) affine {
lap.scheme @shifted(%code : ui4, %scale : f16 per 32) {
  %zero = arith.constant 7.5 : f32
  %value = arith.sitofp %code : i32 to f32
  %centred = arith.subf %value, %zero : f32
  %weight = arith.mulf %centred, %scale : f32
  lap.yield %weight : f32
}
