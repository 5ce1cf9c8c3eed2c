// Each labelled constraint of schemes and of the ops in them is refused when it is broken, as in invalid.mlir.
// RUN: lapidary-opt %s -verify-diagnostics -split-input-file

// scheme C1: no field.
// expected-error@+1 {{expected 1 to 16 fields}}
lap.scheme @s() {
  %c = arith.constant 0.0 : f32
  lap.yield %c : f32
}

// -----

// scheme C1: too many fields.
// expected-error@+1 {{expected 1 to 16 fields}}
lap.scheme @s(%code : f32, %f0 : f32 per 4, %f1 : f32 per 4, %f2 : f32 per 4, %f3 : f32 per 4, %f4 : f32 per 4, %f5 : f32 per 4, %f6 : f32 per 4, %f7 : f32 per 4, %f8 : f32 per 4, %f9 : f32 per 4, %f10 : f32 per 4, %f11 : f32 per 4, %f12 : f32 per 4, %f13 : f32 per 4, %f14 : f32 per 4, %f15 : f32 per 4) {
  lap.yield %code : f32
}

// -----

// scheme C1: no code.
// expected-error@+1 {{expected exactly one field with a value a column (without 'per'), the code; found 0}}
lap.scheme @s(%code : f32 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C1: two codes.
// expected-error@+1 {{the code; found 2}}
lap.scheme @s(%code : f32, %more : ui4) {
  lap.yield %code : f32
}

// -----

// scheme C2: a signless integer.
// expected-error@+1 {{a field cannot be of type 'i8'; expected ui1 to ui8, si1 to si8, f32}}
lap.scheme @s(%code : f32, %scale : i8 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: a wide integer.
// expected-error@+1 {{a field cannot be of type 'ui9'}}
lap.scheme @s(%code : f32, %scale : ui9 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: another float.
// expected-error@+1 {{a field cannot be of type 'f64'}}
lap.scheme @s(%code : f32, %scale : f64 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: bounds beyond the type.
// expected-error@+1 {{field "scale": values from 0 to 16 do not fit into 'ui4'}}
lap.scheme @s(%code : f32, %scale : ui4 from 0 to 16 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: bounds below the type.
// expected-error@+1 {{values from -3 to 1 do not fit into 'si2'}}
lap.scheme @s(%code : f32, %scale : si2 from -3 to 1 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: A < B.
// expected-error@+1 {{values from 7 to 7 do not fit into 'ui4'}}
lap.scheme @s(%code : f32, %scale : ui4 from 7 to 7 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C2: bounds of a float.
// expected-error@+1 {{values from 0 to 7 do not fit into 'f16'}}
lap.scheme @s(%code : f32, %scale : f16 from 0 to 7 per 32) {
  lap.yield %code : f32
}

// -----

// scheme C3: a multiple of 4.
// expected-error@+1 {{expected 'per row' or 'per N' with N a multiple of 4 of at most 65536, found 30}}
lap.scheme @s(%code : f32, %scale : f16 per 30) {
  lap.yield %code : f32
}

// -----

// scheme C3: no period of 0.
// expected-error@+1 {{of at most 65536, found 0}}
lap.scheme @s(%code : f32, %scale : f16 per 0) {
  lap.yield %code : f32
}

// -----

// scheme C3: a bounded block.
// expected-error@+1 {{of at most 65536, found 65540}}
lap.scheme @s(%code : f32, %scale : f16 per 65540) {
  lap.yield %code : f32
}

// -----

// scheme C3: periods divide the block.
// expected-error@+1 {{field "a" is per 48 columns, which do not divide the block of 64}}
lap.scheme @s(%code : f32, %a : f16 per 48, %b : f16 per 64) {
  lap.yield %code : f32
}

// -----

// scheme C4: no yield.
// expected-error@+1 {{expected a decode region that ends with lap.yield: it says what a stored value means}}
lap.scheme @s(%code : f32) {
  %w = arith.negf %code : f32
}

// -----

// scheme C4: an empty region.
// expected-error@+1 {{expects a non-empty block}}
lap.scheme @s(%code : f32) {
}

// -----

// scheme C4: a yield of something else than f32.
lap.scheme @s(%code : ui4) {
  // expected-error@+1 {{operand #0 must be 32-bit float, but got 'i32'}}
  "lap.yield"(%code) : (i32) -> ()
}

// -----

// scheme C4: an op with a side effect.
lap.scheme @s(%code : f32) {
  // expected-error@+1 {{cannot be used to decode: expected scalar ops of arith and math on i32 and f32}}
  %m = memref.alloc() : memref<4xf32>
  lap.yield %code : f32
}

// -----

// scheme C4: another type.
lap.scheme @s(%code : f32) {
  // expected-error@+1 {{cannot be used to decode}}
  %d = arith.extf %code : f32 to f64
  lap.yield %code : f32
}

// -----

// scheme C4: an op of arith that is not of the list.
lap.scheme @s(%code : ui4) {
  // expected-error@+1 {{cannot be used to decode}}
  %d = arith.divsi %code, %code : i32
  %v = arith.sitofp %d : i32 to f32
  lap.yield %v : f32
}

// -----

// An encoding strategy that there is not.
// expected-error@+1 {{expected encode(nearest), encode(absmax), encode(search) or encode(weighted), found best}}
lap.scheme @s(%code : f32) encode(best) {
  lap.yield %code : f32
}

// -----

// lookup C1: the size.
lap.scheme @s(%code : ui2) {
  // expected-error@+1 {{expected a table of 2, 4, ... or 256 entries, found 3}}
  %v = lap.lookup %code, array<f32: 0.0, 1.0, 2.0> -> f32
  lap.yield %v : f32
}

// -----

// lookup C1: the type.
lap.scheme @s(%code : ui1) {
  // expected-error@+1 {{has a table of 'i32' but gives 'f32'}}
  %v = lap.lookup %code, array<i32: 0, 1> -> f32
  lap.yield %v : f32
}

// -----

// yield: of a scheme alone.
func.func @yield(%x: f32) {
  // expected-error@+1 {{expects parent op 'lap.scheme'}}
  lap.yield %x : f32
}

// -----

// scheme C4: arithmetic on a condition.
lap.scheme @s(%code : ui4, %scale : f16 per 32) {
  %zero = arith.constant 8 : i32
  %low = arith.cmpi slt, %code, %zero : i32
  // expected-error@+1 {{cannot be used to decode}}
  %sign = arith.sitofp %low : i1 to f32
  %weight = arith.mulf %sign, %scale : f32
  lap.yield %weight : f32
}

// -----

// scheme C4: flags.
lap.scheme @s(%code : ui4, %scale : f16 per 32) {
  %zero = arith.constant 8 : i32
  // expected-error@+1 {{cannot be used to decode}}
  %centred = arith.subi %code, %zero overflow<nsw> : i32
  %value = arith.sitofp %centred : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// -----

lap.scheme @s(%code : ui4, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  // expected-error@+1 {{cannot be used to decode}}
  %weight = arith.mulf %value, %scale fastmath<fast> : f32
  lap.yield %weight : f32
}
