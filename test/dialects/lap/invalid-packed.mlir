// Packed inputs, and the ops that write and read them.
// RUN: lapidary-opt %s -verify-diagnostics -split-input-file

// packed C1: columns.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected 1 to 2^24 columns, codes with 8-bit activations alone and halves with bf16}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 0, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>
  return
}

// -----

// packed C1: codes are of 8-bit activations.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected 1 to 2^24 columns, codes with 8-bit activations alone and halves with bf16}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = true, sums = [], code_sums = []>>
  return
}

// -----

// packed C1: halves are of bf16.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected 1 to 2^24 columns, codes with 8-bit activations alone and halves with bf16}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = true, codes = false, sums = [], code_sums = []>>
  return
}

// -----

// packed C2: sums of columns.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected periods of sums, and pairs of a period and an excess of code_sums where there are codes}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [-1], code_sums = []>>
  return
}

// -----

// packed C2: pairs.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected periods of sums, and pairs of a period and an excess of code_sums where there are codes}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = int8, values = true, halves = false, codes = true, sums = [], code_sums = [32]>>
  return
}

// -----

// packed C2: the excess of a byte.
func.func @packed(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected code_sums of 1 column or more and an excess of 1 to 128}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = int8, values = true, halves = false, codes = true, sums = [], code_sums = [32, 200]>>
  return
}

// -----

// pack_input C1: of the input's columns.
func.func @pack_input(%x: tensor<?x33xf32>) {
  // expected-error@+1 {{expected rows of 48 words for 32 columns}}
  %y = lap.pack_input %x : tensor<?x33xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>
  return
}

// -----

// pack_input C1: so many words.
func.func @pack_input(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected rows of 48 words for 32 columns}}
  %y = lap.pack_input %x : tensor<?x32xf32> -> tensor<?x32xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>
  return
}

// -----

// pack_input C2
func.func @pack_input(%x: tensor<?x32xf32>, %n: tensor<32xf32>) {
  // expected-error@+1 {{norm 'none' does not take these norm operands}}
  %y = lap.pack_input %x norm(%n : tensor<32xf32>) : tensor<?x32xf32> -> tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>
  return
}

// -----

// fused_linear C6: a packed input is normalized.
func.func @fused_linear(%x: tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{expected no norm, the activations of its packed input and rows of 48 words}}
  %y = lap.fused_linear %x weights(%w : tensor<64x32xf32>) {norm = #lap.norm<rms>} : tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C6: it is rounded as the op says.
func.func @fused_linear(%x: tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{expected no norm, the activations of its packed input and rows of 48 words}}
  %y = lap.fused_linear %x weights(%w : tensor<64x32xf32>) {activations = #lap.activations<bf16>} : tensor<?x48xi32, #lap.packed<columns = 32, activations = f32, values = true, halves = false, codes = false, sums = [], code_sums = []>> -> tensor<?x64xf32>
  return
}
