// Type constraints and op classes that all three levels share.
#ifndef LAP_BASE
#define LAP_BASE

include "LapDialect.td"
include "mlir/IR/CommonTypeConstraints.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Lap_WeightElement : AnyTypeOf<[F32, F16, BF16]>;
/// Tokens x features.
def Lap_Activation : TypeAlias<2DTensorOf<[F32]>, "activation: a row a token, f32">;
/// Tokens x words, with the encoding `#lap.packed`.
def Lap_PackedInput : Type<
    And<[2DTensorOf<[I32]>.predicate,
         CPred<"::llvm::isa_and_nonnull<::mlir::lap::PackedAttr>(::llvm::cast<::mlir::RankedTensorType>($_self).getEncoding())">]>,
    "packed input", "::mlir::RankedTensorType">;
def Lap_Vector : TypeAlias<1DTensorOf<[Lap_WeightElement]>, "weight vector">;
def Lap_Matrix : AnyTypeOf<[2DTensorOf<[Lap_WeightElement]>, Lap_QuantizedType], "weight matrix, plain or quantized">;
def Lap_TokenIndices : TypeAlias<1DTensorOf<[I32]>, "an i32 a token">;

def Lap_CacheResource : Resource<"::mlir::lap::CacheResource">;

class Lap_Op<string mnemonic, list<Trait> traits = []> : Op<LapDialect, mnemonic, traits>;

#endif // LAP_BASE
