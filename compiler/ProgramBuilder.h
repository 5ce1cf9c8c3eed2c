// From program level IR to the bundle's FlatBuffer.
#pragma once

#include "compiler/KernelInfo.h"
#include "compiler/WeightWriter.h"
#include "frontends/formats/ModelConfig.h"
#include "runtime/schema/bundle_generated.h"

#include "mlir/IR/BuiltinOps.h"

namespace mlir::lap {

/// One self-test with its expected outputs (table SelfTest of the schema).
using SelfTestData = lapidary::schema::SelfTestT;

/// A segment that is not a weight.
struct Segment {
  lapidary::schema::SegmentKind kind;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t hashLow = 0;
  uint64_t hashHigh = 0;
};

struct ProgramParts {
  ModuleOp module;
  const lapidary::ModelConfig &config;
  ArrayRef<TargetCode> targets;
  /// The tokenizer, the chat template if there is one, then one a variant of
  /// each target.
  const std::vector<Segment> &segments;
  const std::vector<StoredWeight> &weights;
  const std::vector<SelfTestData> &selfTests;
};

/// The FlatBuffer. Its size does not depend on offsets and hashes, so that it
/// can be built before they are known.
FailureOr<std::vector<uint8_t>> buildProgram(const ProgramParts &parts);

} // namespace mlir::lap
