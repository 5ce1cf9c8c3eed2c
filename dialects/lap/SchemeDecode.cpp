// Clones decode regions, and takes affine ones apart.
#include "dialects/lap/SchemeDecode.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;

static Value getCodeArgument(SchemeOp scheme) {
  return scheme.getDecode().getArgument(scheme.getCode());
}

/// The ops of the region that depend on a value.
static llvm::SmallPtrSet<Operation *, 16> getDependent(SchemeOp scheme,
                                                       Value from) {
  llvm::SmallPtrSet<Operation *, 16> dependent;
  for (Operation &op : scheme.getDecode().front())
    for (Value operand : op.getOperands())
      if (operand == from || (operand.getDefiningOp() &&
                              dependent.contains(operand.getDefiningOp())))
        dependent.insert(&op);
  return dependent;
}

static Type inLanes(Type scalar, int64_t lanes) {
  return lanes ? VectorType::get({lanes}, scalar) : scalar;
}

static Value makeConstant(OpBuilder &builder, Location location, Type type,
                          TypedAttr scalar) {
  if (auto vector = dyn_cast<VectorType>(type))
    scalar = cast<TypedAttr>(
        static_cast<Attribute>(DenseElementsAttr::get(vector, scalar)));
  return arith::ConstantOp::create(builder, location, scalar);
}

/// Shifts by 32 and more and conversions of what no i32 holds are poison in
/// `arith`. Here they have the meaning that DecodeProgram gives them: bits that
/// are shifted out are gone, and a conversion gives the nearest i32, NaN 0.
static Value makeTotal(OpBuilder &builder, Operation *op) {
  Location location = op->getLoc();
  Value result = op->getResult(0);
  Type type = result.getType();
  auto word = [&](int32_t value) {
    return makeConstant(builder, location, type,
                        builder.getI32IntegerAttr(value));
  };
  auto select = [&](Value condition, Value then, Value otherwise) -> Value {
    return arith::SelectOp::create(builder, location, condition, then,
                                   otherwise);
  };
  if (isa<arith::ShLIOp, arith::ShRUIOp, arith::ShRSIOp>(op)) {
    constexpr int32_t last = 31;
    Value amount = op->getOperand(1);
    DenseElementsAttr lanes;
    IntegerAttr scalar;
    if (matchPattern(amount, m_Constant(&scalar)) &&
        scalar.getValue().ule(last))
      return result;
    if (matchPattern(amount, m_Constant(&lanes)) && lanes.isSplat() &&
        lanes.getSplatValue<APInt>().ule(last))
      return result;
    builder.setInsertionPoint(op);
    op->setOperand(
        1, arith::MinUIOp::create(builder, location, amount, word(last)));
    builder.setInsertionPointAfter(op);
    if (isa<arith::ShRSIOp>(op))
      return result;
    Value inside = arith::CmpIOp::create(
        builder, location, arith::CmpIPredicate::ule, amount, word(last));
    return select(inside, result, word(0));
  }
  if (isa<arith::FPToSIOp>(op)) {
    constexpr float end = 0x1p31F;
    Value value = op->getOperand(0);
    auto number = [&](float constant) {
      return makeConstant(builder, location, value.getType(),
                          builder.getF32FloatAttr(constant));
    };
    auto compare = [&](arith::CmpFPredicate predicate,
                       float constant) -> Value {
      return arith::CmpFOp::create(builder, location, predicate, value,
                                   number(constant));
    };
    builder.setInsertionPoint(op);
    Value above = compare(arith::CmpFPredicate::OGE, end);
    Value below = compare(arith::CmpFPredicate::OLE, -end);
    Value magnitude = math::AbsFOp::create(builder, location, value);
    Value inside = arith::CmpFOp::create(
        builder, location, arith::CmpFPredicate::OLT, magnitude, number(end));
    op->setOperand(0, select(inside, value, number(0)));
    builder.setInsertionPointAfter(op);
    return select(above, word(INT32_MAX),
                  select(below, word(INT32_MIN), result));
  }
  return result;
}

void DecodeCloner::clone(Operation *op, IRMapping &mapping) {
  if (auto lookup = dyn_cast<LookupOp>(op)) {
    mapping.map(lookup.getResult(),
                emitLookup(lookup, mapping.lookup(lookup.getIndex())));
    return;
  }
  Type type = inLanes(op->getResult(0).getType(), lanes);
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    mapping.map(constant.getResult(),
                makeConstant(builder, location, type, constant.getValue()));
    return;
  }
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(mapping.lookup(operand));
  OperationState state(location, op->getName(), operands, {type},
                       op->getAttrs());
  if (op->getPropertiesStorageSize())
    state.propertiesAttr = op->getPropertiesAsAttribute();
  mapping.map(op->getResult(0), makeTotal(builder, builder.create(state)));
}

void DecodeCloner::cloneOuter(IRMapping &mapping) {
  auto dependent = getDependent(scheme, getCodeArgument(scheme));
  for (Operation &op : scheme.getDecode().front().without_terminator())
    if (!dependent.contains(&op))
      clone(&op, mapping);
}

Value DecodeCloner::cloneValue(IRMapping &mapping, Value value) {
  if (Value found = mapping.lookupOrNull(value))
    return found;
  Operation *op = value.getDefiningOp();
  for (Value operand : op->getOperands())
    cloneValue(mapping, operand);
  clone(op, mapping);
  return mapping.lookup(value);
}

static Value getWeight(SchemeOp scheme) {
  return cast<YieldOp>(scheme.getDecode().front().back()).getValue();
}

Value DecodeCloner::cloneInner(IRMapping mapping, Value code) {
  mapping.map(getCodeArgument(scheme), code);
  return cloneValue(mapping, getWeight(scheme));
}

SmallVector<Value> mlir::lap::getCodeValues(SchemeOp scheme) {
  // Which fields each value depends on, a bit a field.
  DenseMap<Value, uint32_t> fields;
  for (BlockArgument argument : scheme.getDecode().getArguments())
    fields[argument] = 1u << argument.getArgNumber();
  uint32_t codeAlone = fields[getCodeArgument(scheme)];
  SmallVector<Value> found;
  for (Operation &op : scheme.getDecode().front()) {
    uint32_t all = 0;
    for (Value operand : op.getOperands())
      all |= fields[operand];
    for (Value result : op.getResults())
      fields[result] = all;
    if (all == codeAlone && !isa<YieldOp>(op))
      continue;
    for (Value operand : op.getOperands())
      if (fields[operand] == codeAlone && !llvm::is_contained(found, operand))
        found.push_back(operand);
  }
  return found;
}

std::vector<uint32_t> mlir::lap::getCodeTable(SchemeOp scheme,
                                              Value codeValue) {
  lapidary::Scheme model = scheme.getModel();
  lapidary::DecodeProgram program = model.decode;
  program.result = program.inputs;
  if (auto argument = dyn_cast<BlockArgument>(codeValue))
    program.result = argument.getArgNumber();
  else
    for (Operation &op : scheme.getDecode().front()) {
      if (&op == codeValue.getDefiningOp())
        break;
      ++program.result;
    }
  const lapidary::SchemeField &code = model.fields[model.getCode()];
  constexpr unsigned mostBits = 8;
  assert(code.bits <= mostBits && "a table of codes is small");
  (void)mostBits;
  std::vector<uint32_t> codes(size_t(1) << code.bits), zeros(codes.size());
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = lapidary::widenField(code, uint32_t(i));
  std::vector<const uint32_t *> inputs(program.inputs, zeros.data());
  inputs[model.getCode()] = codes.data();
  std::vector<float> values(codes.size());
  program.run(inputs, int64_t(codes.size()), values.data());
  std::vector<uint32_t> table;
  for (float value : values)
    table.push_back(llvm::bit_cast<uint32_t>(value));
  return table;
}

namespace {

/// slope * code + offset; null values stand for 1 and 0. While only asking, all
/// values are of the region itself and nothing is made.
struct Form {
  bool hasSlope = false, hasOffset = false;
  Value slope, offset;
};

/// Whether adding the integer to a code cannot leave what i32 and f32 hold
/// exactly: a field, or a small constant.
static bool isSmallInteger(Value value) {
  constexpr int64_t largest = 1 << 16;
  if (isa<BlockArgument>(value))
    return true;
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto number =
      constant ? dyn_cast<IntegerAttr>(constant.getValue()) : IntegerAttr();
  return number && std::abs(number.getInt()) <= largest;
}

/// Whether a sum with the value may be taken apart: not one with a constant
/// that is there to round the other operand, which would then round something
/// else.
static bool isSmallFloat(Value value) {
  constexpr double largest = 1 << 16;
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto number =
      constant ? dyn_cast<FloatAttr>(constant.getValue()) : FloatAttr();
  return !number || std::fabs(number.getValueAsDouble()) <= largest;
}

/// Follows the code through the region.
class AffineWalk {
public:
  /// Without a builder nothing is made: for asking whether the region is
  /// affine.
  AffineWalk(SchemeOp scheme, Value from, OpBuilder *builder, Location location,
             const IRMapping *outer)
      : scheme(scheme), from(from), builder(builder), location(location),
        outer(outer) {}

  std::optional<Form> run();

private:
  std::optional<Form> visit(Operation *op);
  /// An operand that does not depend on the code.
  Value get(Value operand) const {
    return builder ? outer->lookup(operand) : operand;
  }
  template <typename Op, typename... Values> Value make(Values... values) {
    return builder ? Op::create(*builder, location, values...).getResult()
                   : Value();
  }

  SchemeOp scheme;
  Value from;
  OpBuilder *builder;
  Location location;
  const IRMapping *outer;
  DenseMap<Value, Form> forms;
};

} // namespace

std::optional<Form> AffineWalk::visit(Operation *op) {
  auto operandForm = [&](unsigned i) -> const Form * {
    auto found = forms.find(op->getOperand(i));
    return found == forms.end() ? nullptr : &found->second;
  };
  const Form *left = operandForm(0),
             *right = op->getNumOperands() > 1 ? operandForm(1) : nullptr;
  // Not both, and not the third operand of a select.
  if (!left == !right)
    return std::nullopt;
  const Form &form = left ? *left : *right;
  Value other =
      op->getNumOperands() == 2 ? get(op->getOperand(left ? 1 : 0)) : Value();
  if (isa<arith::AddIOp, arith::SubIOp>(op) &&
      !isSmallInteger(op->getOperand(left ? 1 : 0)))
    return std::nullopt;
  if (isa<arith::AddFOp, arith::SubFOp>(op) &&
      !isSmallFloat(op->getOperand(left ? 1 : 0)))
    return std::nullopt;
  Form result = form;
  auto addOffset = [&]<typename Add>(std::type_identity<Add>) {
    result.offset = form.hasOffset ? make<Add>(form.offset, other) : other;
    result.hasOffset = true;
    return result;
  };
  auto negate = [&] {
    if (form.hasSlope)
      result.slope = make<arith::NegFOp>(form.slope);
    else if (builder)
      result.slope = makeConstant(*builder, location, other.getType(),
                                  builder->getF32FloatAttr(-1));
    result.hasSlope = true;
    if (form.hasOffset)
      result.offset = make<arith::NegFOp>(form.offset);
  };
  auto unsignedCode = [&] {
    return from == getCodeArgument(scheme) &&
           lapidary::FieldKind::Unsigned ==
               scheme.getModel().fields[scheme.getCode()].kind;
  };
  return llvm::TypeSwitch<Operation *, std::optional<Form>>(op)
      .Case<arith::AddIOp>(
          [&](auto) { return addOffset(std::type_identity<arith::AddIOp>()); })
      .Case<arith::SubIOp>([&](auto) -> std::optional<Form> {
        if (!left)
          return std::nullopt;
        if (builder && !form.hasOffset) {
          Value zero = make<arith::XOrIOp>(other, other);
          result.offset = make<arith::SubIOp>(zero, other);
        } else if (form.hasOffset) {
          result.offset = make<arith::SubIOp>(form.offset, other);
        }
        result.hasOffset = true;
        return result;
      })
      .Case<arith::SIToFPOp, arith::UIToFPOp>(
          [&](auto convert) -> std::optional<Form> {
            // Read as unsigned, a negative number would be another one.
            if (isa<arith::UIToFPOp>(op) && (form.hasOffset || !unsignedCode()))
              return std::nullopt;
            if (form.hasOffset && builder)
              result.offset = arith::SIToFPOp::create(
                  *builder, location,
                  isa<VectorType>(form.offset.getType())
                      ? Type(VectorType::get(
                            cast<VectorType>(form.offset.getType()).getShape(),
                            convert.getType()))
                      : convert.getType(),
                  form.offset);
            return result;
          })
      .Case<arith::AddFOp>(
          [&](auto) { return addOffset(std::type_identity<arith::AddFOp>()); })
      .Case<arith::SubFOp>([&](auto) -> std::optional<Form> {
        if (left) {
          result.offset = form.hasOffset
                              ? make<arith::SubFOp>(form.offset, other)
                              : make<arith::NegFOp>(other);
          result.hasOffset = true;
          return result;
        }
        negate();
        result.offset = result.hasOffset
                            ? make<arith::AddFOp>(other, result.offset)
                            : other;
        result.hasOffset = true;
        return result;
      })
      .Case<arith::MulFOp>([&](auto) {
        result.slope =
            form.hasSlope ? make<arith::MulFOp>(form.slope, other) : other;
        result.hasSlope = true;
        if (form.hasOffset)
          result.offset = make<arith::MulFOp>(form.offset, other);
        return result;
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<Form> AffineWalk::run() {
  forms[from] = {};
  auto dependent = getDependent(scheme, from);
  for (Operation &op : scheme.getDecode().front()) {
    if (!dependent.contains(&op))
      continue;
    if (auto yield = dyn_cast<YieldOp>(op))
      return forms.lookup(yield.getValue());
    std::optional<Form> form = visit(&op);
    if (!form)
      return std::nullopt;
    forms[op.getResult(0)] = *form;
  }
  return std::nullopt; // The weights do not depend on the code.
}

bool mlir::lap::isAffine(SchemeOp scheme) {
  Value code = getCodeArgument(scheme);
  return code.getType().isInteger(32) &&
         AffineWalk(scheme, code, nullptr, scheme.getLoc(), nullptr)
             .run()
             .has_value();
}

CenteredCode mlir::lap::getCenteredCode(SchemeOp scheme) {
  constexpr int64_t largest = 128;
  Value code = getCodeArgument(scheme);
  if (scheme.getModel().fields[scheme.getCode()].kind !=
          lapidary::FieldKind::Unsigned ||
      !code.hasOneUse())
    return {code};
  auto centred = dyn_cast<arith::SubIOp>(*code.user_begin());
  auto constant =
      centred ? centred.getRhs().getDefiningOp<arith::ConstantOp>() : nullptr;
  if (!constant)
    return {code};
  int64_t zero = cast<IntegerAttr>(constant.getValue()).getInt();
  if (zero < 1 || zero > largest)
    return {code};
  return {centred, zero};
}

bool mlir::lap::isAffineIn(SchemeOp scheme, Value codeValue) {
  SmallVector<Value> codeValues = getCodeValues(scheme);
  if (codeValues.size() != 1 || codeValues.front() != codeValue)
    return false;
  if (codeValue.getType().isInteger(1))
    return false;
  if (codeValue.getType().isInteger(32) &&
      codeValue != getCodeArgument(scheme)) {
    // Sums of it and of a field must stay exact, as those of a code do.
    constexpr unsigned mostBits = 8;
    constexpr int64_t largest = 1 << 16;
    if (scheme.getModel().fields[scheme.getCode()].bits > mostBits)
      return false;
    for (uint32_t word : getCodeTable(scheme, codeValue))
      if (std::abs(int64_t(int32_t(word))) > largest)
        return false;
  }
  return AffineWalk(scheme, codeValue, nullptr, scheme.getLoc(), nullptr)
      .run()
      .has_value();
}

std::optional<IntegerLevels> mlir::lap::getIntegerLevels(SchemeOp scheme) {
  constexpr unsigned mostBits = 4;
  constexpr float largestLevel = 127;
  SmallVector<Value> values = getCodeValues(scheme);
  if (scheme.getModel().fields[scheme.getCode()].bits > mostBits ||
      values.size() != 1 || !isAffineIn(scheme, values.front()))
    return std::nullopt;
  std::vector<float> numbers;
  float least = 0;
  for (uint32_t word : getCodeTable(scheme, values.front())) {
    float number = values.front().getType().isF32()
                       ? llvm::bit_cast<float>(word)
                       : static_cast<float>(static_cast<int32_t>(word));
    if (!std::isfinite(number))
      return std::nullopt;
    numbers.push_back(number);
    float magnitude = std::fabs(number);
    if (magnitude > 0 && (least == 0 || magnitude < least))
      least = magnitude;
  }
  // The unit is the least level, or a half or a quarter of it.
  for (float unit = least; unit >= least / 4 && unit > 0; unit /= 2) {
    IntegerLevels result = {values.front(), unit, {}};
    for (float number : numbers) {
      float level = number / unit;
      if (std::fabs(level) > largestLevel || level != std::trunc(level) ||
          level * unit != number)
        break;
      result.levels.push_back(static_cast<int8_t>(level));
    }
    if (result.levels.size() == numbers.size())
      return result;
  }
  return std::nullopt;
}

bool mlir::lap::hasIntegerProducts(SchemeOp scheme) {
  constexpr unsigned mostBits = 8;
  return (scheme.getModel().fields[scheme.getCode()].bits <= mostBits &&
          isAffine(scheme)) ||
         getIntegerLevels(scheme).has_value();
}

bool mlir::lap::hasAffineOffset(SchemeOp scheme, Value codeValue) {
  std::optional<Form> form =
      AffineWalk(scheme, codeValue, nullptr, scheme.getLoc(), nullptr).run();
  return form && form->hasOffset;
}

DecodeCloner::Affine DecodeCloner::cloneAffine(const IRMapping &mapping,
                                               Value from) {
  std::optional<Form> form =
      AffineWalk(scheme, from ? from : getCodeArgument(scheme), &builder,
                 location, &mapping)
          .run();
  assert(form && "the scheme is affine");
  return {form->slope, form->offset};
}
