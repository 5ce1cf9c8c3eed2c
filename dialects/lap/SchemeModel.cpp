// Translates a scheme's fields and decode region into lapidary::Scheme.
#include "dialects/lap/SchemeModel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::DecodeOpcode;
using lapidary::DecodeStep;
using lapidary::FieldKind;

bool mlir::lap::setFieldType(lapidary::SchemeField &field, Type type) {
  if (auto integer = dyn_cast<IntegerType>(type)) {
    constexpr unsigned widest = 8;
    if (integer.isSignless() || integer.getWidth() < 1 ||
        integer.getWidth() > widest)
      return false;
    field.bits = integer.getWidth();
    field.kind = integer.isSigned() ? FieldKind::Signed : FieldKind::Unsigned;
    int32_t values = 1 << field.bits;
    field.minimum = integer.isSigned() ? -values / 2 : 0;
    field.maximum = field.minimum + values - 1;
    return true;
  }
  std::optional<FieldKind> kind =
      llvm::TypeSwitch<Type, std::optional<FieldKind>>(type)
          .Case<Float32Type>([](auto) { return FieldKind::F32; })
          .Case<Float16Type>([](auto) { return FieldKind::F16; })
          .Case<BFloat16Type>([](auto) { return FieldKind::BF16; })
          .Case<Float8E4M3FNType>([](auto) { return FieldKind::F8E4M3; })
          .Case<Float8E5M2Type>([](auto) { return FieldKind::F8E5M2; })
          .Case<Float8E8M0FNUType>([](auto) { return FieldKind::F8E8M0; })
          .Case<Float4E2M1FNType>([](auto) { return FieldKind::F4E2M1; })
          .Default([](Type) { return std::nullopt; });
  if (!kind)
    return false;
  field.kind = *kind;
  field.bits = type.getIntOrFloatBitWidth();
  field.minimum = field.maximum = 0;
  return true;
}

static std::optional<DecodeOpcode> getOpcode(arith::CmpIPredicate predicate) {
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return DecodeOpcode::CmpEqI;
  case arith::CmpIPredicate::ne:
    return DecodeOpcode::CmpNeI;
  case arith::CmpIPredicate::slt:
    return DecodeOpcode::CmpLtSI;
  case arith::CmpIPredicate::sle:
    return DecodeOpcode::CmpLeSI;
  case arith::CmpIPredicate::sgt:
    return DecodeOpcode::CmpGtSI;
  case arith::CmpIPredicate::sge:
    return DecodeOpcode::CmpGeSI;
  case arith::CmpIPredicate::ult:
    return DecodeOpcode::CmpLtUI;
  case arith::CmpIPredicate::ule:
    return DecodeOpcode::CmpLeUI;
  case arith::CmpIPredicate::ugt:
    return DecodeOpcode::CmpGtUI;
  case arith::CmpIPredicate::uge:
    return DecodeOpcode::CmpGeUI;
  }
  return std::nullopt;
}

static std::optional<DecodeOpcode> getOpcode(arith::CmpFPredicate predicate) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return DecodeOpcode::CmpEqF;
  case arith::CmpFPredicate::ONE:
    return DecodeOpcode::CmpNeF;
  case arith::CmpFPredicate::OLT:
    return DecodeOpcode::CmpLtF;
  case arith::CmpFPredicate::OLE:
    return DecodeOpcode::CmpLeF;
  case arith::CmpFPredicate::OGT:
    return DecodeOpcode::CmpGtF;
  case arith::CmpFPredicate::OGE:
    return DecodeOpcode::CmpGeF;
  default:
    return std::nullopt;
  }
}

/// The opcode of an op with scalar operands, or none.
static std::optional<DecodeOpcode> getOpcode(Operation *op) {
  using Code = std::optional<DecodeOpcode>;
  return llvm::TypeSwitch<Operation *, Code>(op)
      .Case<arith::AddFOp>([](auto) { return DecodeOpcode::AddF; })
      .Case<arith::SubFOp>([](auto) { return DecodeOpcode::SubF; })
      .Case<arith::MulFOp>([](auto) { return DecodeOpcode::MulF; })
      .Case<arith::DivFOp>([](auto) { return DecodeOpcode::DivF; })
      .Case<arith::NegFOp>([](auto) { return DecodeOpcode::NegF; })
      .Case<arith::MaximumFOp>([](auto) { return DecodeOpcode::MaximumF; })
      .Case<arith::MinimumFOp>([](auto) { return DecodeOpcode::MinimumF; })
      .Case<math::AbsFOp>([](auto) { return DecodeOpcode::AbsF; })
      .Case<math::FloorOp>([](auto) { return DecodeOpcode::Floor; })
      .Case<math::CeilOp>([](auto) { return DecodeOpcode::Ceil; })
      .Case<math::RoundEvenOp>([](auto) { return DecodeOpcode::RoundEven; })
      .Case<math::SqrtOp>([](auto) { return DecodeOpcode::Sqrt; })
      .Case<math::FmaOp>([](auto) { return DecodeOpcode::Fma; })
      .Case<math::Exp2Op>([](auto) { return DecodeOpcode::Exp2; })
      .Case<arith::AddIOp>([](auto) { return DecodeOpcode::AddI; })
      .Case<arith::SubIOp>([](auto) { return DecodeOpcode::SubI; })
      .Case<arith::MulIOp>([](auto) { return DecodeOpcode::MulI; })
      .Case<arith::AndIOp>([](auto) { return DecodeOpcode::AndI; })
      .Case<arith::OrIOp>([](auto) { return DecodeOpcode::OrI; })
      .Case<arith::XOrIOp>([](auto) { return DecodeOpcode::XorI; })
      .Case<arith::ShLIOp>([](auto) { return DecodeOpcode::ShlI; })
      .Case<arith::ShRUIOp>([](auto) { return DecodeOpcode::ShrUI; })
      .Case<arith::ShRSIOp>([](auto) { return DecodeOpcode::ShrSI; })
      .Case<arith::MinSIOp>([](auto) { return DecodeOpcode::MinSI; })
      .Case<arith::MaxSIOp>([](auto) { return DecodeOpcode::MaxSI; })
      .Case<arith::MinUIOp>([](auto) { return DecodeOpcode::MinUI; })
      .Case<arith::MaxUIOp>([](auto) { return DecodeOpcode::MaxUI; })
      .Case<arith::CmpIOp>(
          [](arith::CmpIOp cmp) { return getOpcode(cmp.getPredicate()); })
      .Case<arith::CmpFOp>(
          [](arith::CmpFOp cmp) { return getOpcode(cmp.getPredicate()); })
      .Case<arith::SelectOp>([](auto) { return DecodeOpcode::Select; })
      .Case<arith::SIToFPOp>([](auto) { return DecodeOpcode::SiToF; })
      .Case<arith::UIToFPOp>([](auto) { return DecodeOpcode::UiToF; })
      .Case<arith::FPToSIOp>([](auto) { return DecodeOpcode::FToSi; })
      .Case<arith::BitcastOp>([](auto) { return DecodeOpcode::Bitcast; })
      .Case<arith::ConstantOp>([](auto) { return DecodeOpcode::Constant; })
      .Case<LookupOp>([](auto) { return DecodeOpcode::Lookup; })
      .Default([](Operation *) { return std::nullopt; });
}

/// A condition is 0 or 1 to a decode program; arithmetic on one bit would be
/// something else to a machine.
static bool takesConditions(Operation *op) {
  return isa<arith::CmpIOp, arith::CmpFOp, arith::SelectOp, arith::AndIOp,
             arith::OrIOp, arith::XOrIOp, arith::UIToFPOp, arith::ConstantOp>(
      op);
}

/// Flags allow a compiler what a decode program does not do.
static bool hasFlags(Operation *op) {
  if (auto flags = dyn_cast<arith::ArithIntegerOverflowFlagsInterface>(op))
    if (flags.hasNoSignedWrap() || flags.hasNoUnsignedWrap())
      return true;
  if (auto fast = dyn_cast<arith::ArithFastMathInterface>(op))
    if (fast.getFastMathFlagsAttr() &&
        fast.getFastMathFlagsAttr().getValue() != arith::FastMathFlags::none)
      return true;
  return op->hasAttr("isExact");
}

bool mlir::lap::isDecodeStep(Operation *op) {
  if (op->getNumResults() != 1 || !getOpcode(op) || hasFlags(op))
    return false;
  auto isWord = [&](Type type) {
    return type.isF32() || type.isInteger(32) ||
           (type.isInteger(1) && takesConditions(op));
  };
  // Comparisons are of numbers.
  if (isa<arith::CmpIOp, arith::CmpFOp>(op) &&
      op->getOperand(0).getType().isInteger(1))
    return false;
  return llvm::all_of(op->getResultTypes(), isWord) &&
         llvm::all_of(op->getOperandTypes(), isWord);
}

static uint32_t getBits(Attribute value) {
  if (auto number = dyn_cast<FloatAttr>(value))
    return number.getValue().bitcastToAPInt().getZExtValue();
  return static_cast<uint32_t>(cast<IntegerAttr>(value).getInt()) &
         (cast<IntegerAttr>(value).getType().isInteger(1) ? 1u : ~0u);
}

static lapidary::DecodeProgram makeProgram(SchemeOp scheme) {
  lapidary::DecodeProgram program;
  program.inputs = scheme.getDecode().getNumArguments();
  DenseMap<Value, uint32_t> numbers;
  for (BlockArgument argument : scheme.getDecode().getArguments())
    numbers[argument] = argument.getArgNumber();
  for (Operation &op : scheme.getDecode().front()) {
    if (auto yield = dyn_cast<YieldOp>(op)) {
      program.result = numbers.lookup(yield.getValue());
      break;
    }
    DecodeStep step;
    step.opcode = *getOpcode(&op);
    for (auto [i, operand] : llvm::enumerate(op.getOperands()))
      step.operands[i] = numbers.lookup(operand);
    if (auto constant = dyn_cast<arith::ConstantOp>(op))
      step.immediate = getBits(constant.getValue());
    if (auto lookup = dyn_cast<LookupOp>(op)) {
      if (auto floats = dyn_cast<DenseF32ArrayAttr>(lookup.getTable()))
        for (float value : floats.asArrayRef())
          step.table.push_back(llvm::bit_cast<uint32_t>(value));
      else
        for (int32_t value :
             cast<DenseI32ArrayAttr>(lookup.getTable()).asArrayRef())
          step.table.push_back(static_cast<uint32_t>(value));
    }
    numbers[op.getResult(0)] = program.inputs + program.steps.size();
    program.steps.push_back(std::move(step));
  }
  return program;
}

lapidary::Scheme mlir::lap::makeScheme(SchemeOp op) {
  lapidary::Scheme scheme;
  scheme.name = op.getSymName().str();
  for (auto [i, name] :
       llvm::enumerate(op.getFieldNames().getAsValueRange<StringAttr>())) {
    lapidary::SchemeField field;
    field.name = name.str();
    setFieldType(field, cast<TypeAttr>(op.getFieldTypes()[i]).getValue());
    field.columns = op.getFieldColumns()[i];
    field.minimum = op.getFieldBounds()[2 * i];
    field.maximum = op.getFieldBounds()[2 * i + 1];
    scheme.fields.push_back(std::move(field));
  }
  scheme.strategy = static_cast<lapidary::EncodeStrategy>(op.getEncode());
  scheme.decode = makeProgram(op);
  return scheme;
}
