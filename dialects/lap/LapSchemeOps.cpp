// Text form and verifiers of schemes. C1, C2, ... are the constraints of
// LapSchemeOps.td.
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/SchemeModel.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::SchemeField;

static constexpr size_t maxFields = 16, maxSteps = 256;
static constexpr int64_t maxPeriod = 65536;

//===----------------------------------------------------------------------===//
// Text: @name(%code : ui4 [from A to B], %scale : f16 per 32 | per row)
//===----------------------------------------------------------------------===//

static ParseResult parseField(OpAsmParser &parser,
                              SmallVectorImpl<OpAsmParser::Argument> &arguments,
                              SmallVectorImpl<Attribute> &types,
                              SmallVectorImpl<int64_t> &columns,
                              SmallVectorImpl<int64_t> &bounds) {
  OpAsmParser::Argument &argument = arguments.emplace_back();
  Type type;
  llvm::SMLoc location;
  if (parser.parseArgument(argument) || parser.parseColon() ||
      parser.getCurrentLocation(&location) || parser.parseType(type))
    return failure();
  lapidary::SchemeField field;
  if (!setFieldType(field, type)) // C2
    return parser.emitError(location)
           << "a field cannot be of type " << type
           << "; expected ui1 to ui8, si1 to si8, f32, f16, bf16, f8E4M3FN, "
              "f8E5M2, f8E8M0FNU or f4E2M1FN";
  int64_t lowest = field.minimum, highest = field.maximum;
  if (succeeded(parser.parseOptionalKeyword("from")) &&
      (parser.parseInteger(lowest) || parser.parseKeyword("to") ||
       parser.parseInteger(highest)))
    return failure();
  int64_t period = 1;
  if (succeeded(parser.parseOptionalKeyword("per"))) {
    if (succeeded(parser.parseOptionalKeyword("row")))
      period = SchemeField::perRow;
    else if (parser.getCurrentLocation(&location) ||
             parser.parseInteger(period))
      return failure();
    else if (period < 4 || period % 4 || period > maxPeriod) // C3
      return parser.emitError(location)
             << "expected 'per row' or 'per N' with N a multiple of 4 of at "
                "most "
             << maxPeriod << ", found " << period;
  }
  argument.type = field.isFloat() ? Type(parser.getBuilder().getF32Type())
                                  : Type(parser.getBuilder().getI32Type());
  types.push_back(TypeAttr::get(type));
  columns.push_back(period);
  bounds.append({lowest, highest});
  return success();
}

ParseResult SchemeOp::parse(OpAsmParser &parser, OperationState &state) {
  Builder &builder = parser.getBuilder();
  StringAttr name;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Attribute> names, types;
  SmallVector<int64_t> columns, bounds;
  if (parser.parseSymbolName(name, getSymNameAttrName(state.name),
                             state.attributes) ||
      parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, [&] {
        return parseField(parser, arguments, types, columns, bounds);
      }))
    return failure();
  for (const OpAsmParser::Argument &argument : arguments)
    names.push_back(
        builder.getStringAttr(argument.ssaName.name.drop_front())); // No %.
  if (succeeded(parser.parseOptionalKeyword("encode"))) {
    StringRef strategy;
    llvm::SMLoc location;
    if (parser.parseLParen() || parser.getCurrentLocation(&location) ||
        parser.parseKeyword(&strategy) || parser.parseRParen())
      return failure();
    std::optional<Encode> encode = symbolizeEncode(strategy);
    if (!encode)
      return parser.emitError(location)
             << "expected encode(nearest), encode(absmax), encode(search) or "
                "encode(weighted), found "
             << strategy;
    state.addAttribute(getEncodeAttrName(state.name),
                       EncodeAttr::get(builder.getContext(), *encode));
  }
  if (succeeded(parser.parseOptionalKeyword("affine")))
    state.addAttribute(getAffineAttrName(state.name), builder.getUnitAttr());
  state.addAttribute(getFieldNamesAttrName(state.name),
                     builder.getArrayAttr(names));
  state.addAttribute(getFieldTypesAttrName(state.name),
                     builder.getArrayAttr(types));
  state.addAttribute(getFieldColumnsAttrName(state.name),
                     builder.getDenseI64ArrayAttr(columns));
  state.addAttribute(getFieldBoundsAttrName(state.name),
                     builder.getDenseI64ArrayAttr(bounds));
  return parser.parseRegion(*state.addRegion(), arguments);
}

void SchemeOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printSymbolName(getSymName());
  printer << '(';
  for (auto [i, argument] : llvm::enumerate(getDecode().getArguments())) {
    auto type = cast<TypeAttr>(getFieldTypes()[i]).getValue();
    printer << (i ? ", " : "");
    printer.printOperand(argument);
    printer << " : " << type;
    SchemeField field;
    ArrayRef<int64_t> bounds = getFieldBounds();
    if (setFieldType(field, type) &&
        (bounds[2 * i] != field.minimum || bounds[2 * i + 1] != field.maximum))
      printer << " from " << bounds[2 * i] << " to " << bounds[2 * i + 1];
    int64_t columns = getFieldColumns()[i];
    if (columns == SchemeField::perRow)
      printer << " per row";
    else if (columns != 1)
      printer << " per " << columns;
  }
  printer << ')';
  if (getEncode() != Encode::Weighted)
    printer << " encode(" << stringifyEncode(getEncode()) << ')';
  if (getAffine())
    printer << " affine";
  printer << ' ';
  printer.printRegion(getDecode(), /*printEntryBlockArgs=*/false);
}

void SchemeOp::getAsmBlockArgumentNames(Region &region,
                                        OpAsmSetValueNameFn setName) {
  for (auto [name, argument] :
       llvm::zip(getFieldNames().getAsValueRange<StringAttr>(),
                 region.getArguments()))
    setName(argument, name);
}

//===----------------------------------------------------------------------===//
// Verifiers
//===----------------------------------------------------------------------===//

static LogicalResult verifyFields(SchemeOp op) {
  size_t count = op.getFieldNames().size();
  if (count == 0 || count > maxFields || op.getFieldTypes().size() != count ||
      op.getFieldColumns().size() != count ||
      op.getFieldBounds().size() != 2 * count ||
      op.getDecode().getNumArguments() != count) // C1
    return op.emitOpError("expected 1 to ") << maxFields << " fields";
  int64_t codes = 0, block = 1;
  for (int64_t columns : op.getFieldColumns()) {
    if (columns != SchemeField::perRow && columns != 1 &&
        (columns < 4 || columns % 4 || columns > maxPeriod)) // C3
      return op.emitOpError("expected 'per N' with N a multiple of 4 of at "
                            "most ")
             << maxPeriod << ", found " << columns;
    codes += columns == 1;
    block = std::max(block, columns);
  }
  if (codes != 1) // C1
    return op.emitOpError("expected exactly one field with a value a column "
                          "(without 'per'), the code; found ")
           << codes;
  for (size_t i = 0; i < count; ++i) {
    auto name = dyn_cast<StringAttr>(op.getFieldNames()[i]);
    auto type = cast<TypeAttr>(op.getFieldTypes()[i]).getValue();
    SchemeField field;
    if (!setFieldType(field, type)) // C2
      return op.emitOpError("field ")
             << name << " has the type " << type
             << ", which is none that a field can have";
    int64_t lowest = op.getFieldBounds()[2 * i],
            highest = op.getFieldBounds()[2 * i + 1];
    bool whole = lowest == field.minimum && highest == field.maximum;
    if (!whole && (field.isFloat() || lowest < field.minimum ||
                   highest > field.maximum || lowest >= highest)) // C2
      return op.emitOpError("field ")
             << name << ": values from " << lowest << " to " << highest
             << " do not fit into " << type;
    int64_t columns = op.getFieldColumns()[i];
    if (columns > 1 && block % columns) // C3
      return op.emitOpError("field ")
             << name << " is per " << columns
             << " columns, which do not divide the block of " << block;
    Type argument = op.getDecode().getArgument(i).getType();
    if (field.isFloat() ? !argument.isF32() : !argument.isInteger(32))
      return op.emitOpError("field ")
             << name << " arrives as " << (field.isFloat() ? "f32" : "i32");
  }
  return success();
}

LogicalResult SchemeOp::verify() {
  if (failed(verifyFields(*this)))
    return failure();
  Block &block = getDecode().front();
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!yield) // C4
    return emitOpError("expected a decode region that ends with lap.yield: "
                       "it says what a stored value means");
  size_t steps = 0;
  for (Operation &op : block) {
    if (&op == yield)
      break;
    if (!isDecodeStep(&op)) // C4
      return op.emitOpError(
          "cannot be used to decode: expected scalar ops of arith and math on "
          "i32 and f32 (i1 for conditions), without flags, that are listed in "
          "docs/schemes.md, or lap.lookup");
    if (++steps > maxSteps)
      return emitOpError("expected at most ")
             << maxSteps << " ops in the decode region";
  }
  return success();
}

unsigned SchemeOp::getCode() {
  return llvm::find(getFieldColumns(), 1) - getFieldColumns().begin();
}

lapidary::Scheme SchemeOp::getModel() { return makeScheme(*this); }

LogicalResult LookupOp::verify() {
  size_t size = 0;
  Type element;
  if (auto floats = dyn_cast<DenseF32ArrayAttr>(getTable())) {
    size = floats.size();
    element = Float32Type::get(getContext());
  } else {
    size = cast<DenseI32ArrayAttr>(getTable()).size();
    element = IntegerType::get(getContext(), 32);
  }
  constexpr size_t maxTable = 256;
  if (size < 2 || size > maxTable || !llvm::isPowerOf2_64(size)) // C1
    return emitOpError("expected a table of 2, 4, ... or 256 entries, found ")
           << size;
  if (element != getType()) // C1
    return emitOpError("has a table of ")
           << element << " but gives " << getType();
  return success();
}
