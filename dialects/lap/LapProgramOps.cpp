// Kernels, dispatches, and their verification.
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/WeightLayout.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionImplementation.h"

using namespace mlir;
using namespace mlir::lap;

void KernelOp::build(OpBuilder &builder, OperationState &state, StringRef name,
                     FunctionType type) {
  state.addAttribute(SymbolTable::getSymbolAttrName(),
                     builder.getStringAttr(name));
  state.addAttribute(getFunctionTypeAttrName(state.name), TypeAttr::get(type));
  state.addRegion();
}

ParseResult KernelOp::parse(OpAsmParser &parser, OperationState &result) {
  auto buildType = [](Builder &builder, ArrayRef<Type> arguments,
                      ArrayRef<Type> results,
                      function_interface_impl::VariadicFlag, std::string &) {
    return builder.getFunctionType(arguments, results);
  };
  return function_interface_impl::parseFunctionOp(
      parser, result, /*allowVariadic=*/false,
      getFunctionTypeAttrName(result.name), buildType,
      getArgAttrsAttrName(result.name), getResAttrsAttrName(result.name));
}

void KernelOp::print(OpAsmPrinter &printer) {
  function_interface_impl::printFunctionOp(
      printer, *this, /*isVariadic=*/false, getFunctionTypeAttrName(),
      getArgAttrsAttrName(), getResAttrsAttrName());
}

LogicalResult ReturnOp::verify() {
  auto kernel = cast<KernelOp>((*this)->getParentOp());
  if (getOperandTypes() != kernel.getResultTypes()) // C1
    return emitOpError("expected operands of the types of the results of @")
           << kernel.getName();
  return success();
}

LogicalResult DispatchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel =
      symbols.lookupNearestSymbolFrom<KernelOp>(*this, getKernelAttr());
  if (!kernel) // C1
    return emitOpError() << getKernelAttr() << " names no lap.kernel";
  if (TypeRange(getOperands()) != TypeRange(kernel.getArgumentTypes()) ||
      getResultTypes() != kernel.getResultTypes()) // C1
    return emitOpError("does not fit the signature of ")
           << getKernelAttr() << ": " << kernel.getFunctionType();
  return success();
}

LogicalResult UnpackOp::verifySymbolUses(SymbolTableCollection &) {
  ArrayRef<int64_t> shape = getMatrixShape(getResult().getType());
  if (shape[0] <= 0 || shape[1] <= 0 ||
      shape[0] > maxWeightElements / shape[1]) // C2
    return emitOpError("expected a matrix of 1 to 2^40 elements, found ")
           << getResult().getType();
  FailureOr<int64_t> expected =
      getStoredBytes(getResult().getType(), getLayout(), *this);
  if (failed(expected))
    return failure();
  if (getBytes().getType().getDimSize(0) != *expected) // C1
    return emitOpError("expected ")
           << *expected << " bytes for " << getResult().getType() << ", found "
           << getBytes().getType();
  return success();
}
