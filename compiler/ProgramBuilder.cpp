// From program level IR to the bundle's FlatBuffer.
#include "compiler/ProgramBuilder.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

#include <array>

using namespace mlir;
using namespace mlir::lap;
namespace schema = lapidary::schema;

namespace {

class ProgramBuilder {
public:
  explicit ProgramBuilder(const ProgramParts &parts)
      : parts(parts), module(parts.module) {}
  FailureOr<std::vector<uint8_t>> build();

private:
  void addModel();
  void addSegments();
  void addSchemes();
  void addWeights();
  void addCaches();
  LogicalResult addTarget(const TargetCode &code, uint32_t firstCode);
  LogicalResult addKernels(const TargetCode &code);
  LogicalResult addEntry(func::FuncOp function);
  /// The operands that stand for `value`: none for an index, two for a cache.
  FailureOr<SmallVector<schema::BufferRef, 2>> getReferences(Value value,
                                                             Operation *user);

  const ProgramParts &parts;
  ModuleOp module;
  schema::ProgramT program;
  schema::TargetT *target = nullptr;
  llvm::StringMap<uint32_t> weightIndex, cacheIndex, kernelIndex;
  /// Arguments of the entry point at hand.
  DenseMap<Value, schema::BufferRef> bindings;
};

} // namespace

/// The operands that a cache is to the kernels.
static constexpr std::array<const char *, 2> cacheParts = {".k", ".v"};

static std::string getSchemeName(Operation *op) {
  if (isa<RopeTableOp>(op))
    return "f32";
  auto weight = cast<WeightOp>(op);
  if (auto quantized = dyn_cast<QuantizedType>(weight.getValueType()))
    return quantized.getScheme().getValue().str();
  Type element = cast<RankedTensorType>(weight.getValueType()).getElementType();
  return element.isF32() ? "f32" : element.isF16() ? "f16" : "bf16";
}

void ProgramBuilder::addSchemes() {
  for (auto op : module.getOps<SchemeOp>()) {
    auto scheme = std::make_unique<schema::SchemeT>();
    scheme->name = op.getSymName().str();
    llvm::raw_string_ostream(scheme->text) << op;
    program.schemes.push_back(std::move(scheme));
  }
}

/// Of a kernel with caches, the bytes a token of each operand in the bundle:
/// rows of the step's tokens are the dynamic dimension. Empty for others.
static std::vector<uint64_t> getTokenBytes(KernelOp kernel) {
  std::vector<uint64_t> bytes;
  bool hasCaches = false;
  for (Type type : kernel.getArgumentTypes()) {
    if (isa<KvCacheType>(type)) {
      hasCaches = true;
      bytes.insert(bytes.end(), cacheParts.size(), 0);
    } else if (auto memref = dyn_cast<MemRefType>(type)) {
      uint64_t row = memref.getElementTypeBitWidth() / 8;
      for (int64_t size : memref.getShape().drop_front())
        row *= size;
      bytes.push_back(memref.isDynamicDim(0) ? row : 0);
    }
  }
  if (!hasCaches)
    bytes.clear();
  return bytes;
}

static std::unique_ptr<schema::Extent> getExtent(Extent extent) {
  return std::make_unique<schema::Extent>(extent.constant, extent.perToken);
}

void ProgramBuilder::addModel() {
  const lapidary::ModelConfig &config = parts.config;
  auto model = std::make_unique<schema::ModelT>();
  model->name = config.name;
  model->architecture = config.modelType;
  model->vocabulary = config.text.vocabulary;
  model->hidden = config.text.hidden;
  model->layers = config.text.layers.size();
  model->context = config.text.maxPositions;
  model->bos_token = config.bosToken;
  model->pad_token = config.padToken;
  model->stop_tokens.assign(config.stopTokens.begin(), config.stopTokens.end());
  model->suppress_tokens.assign(config.suppressTokens.begin(),
                                config.suppressTokens.end());
  model->image_token = config.vision ? config.imageToken : -1;
  model->video_token = config.vision ? config.videoToken : -1;
  model->audio_token = config.audio ? config.audioToken : -1;
  model->bidirectional_vision = config.text.bidirectionalVision;
  if (config.vision) {
    model->vision = std::make_unique<schema::VisionT>();
    model->vision->patch_size = config.vision->patchSize;
    model->vision->max_soft_tokens = config.vision->maxSoftTokens;
    model->vision->video_soft_tokens = config.vision->videoSoftTokens;
    model->vision->video_frames = config.vision->videoFrames;
    model->vision->positions = config.vision->positions;
  }
  if (config.audio) {
    model->audio = std::make_unique<schema::AudioT>();
    model->audio->rate = config.audio->rate;
    model->audio->samples_per_token = config.audio->samplesPerToken;
    model->audio->max_tokens = config.audio->maxTokens;
  }
  model->sampling = std::make_unique<schema::SamplingT>();
  model->sampling->enabled = config.sampling.enabled;
  model->sampling->temperature =
      static_cast<float>(config.sampling.temperature);
  model->sampling->top_k = config.sampling.topK;
  model->sampling->top_p = static_cast<float>(config.sampling.topP);
  if (config.assistant) {
    model->assistant = std::make_unique<schema::AssistantT>();
    model->assistant->clusters = config.assistant->clusters;
    model->assistant->top_clusters = config.assistant->topClusters;
    model->assistant->token_order = config.assistant->tokenOrder;
  }
  program.model = std::move(model);
}

void ProgramBuilder::addSegments() {
  auto add = [&](schema::SegmentKind kind, uint64_t offset, uint64_t bytes,
                 uint64_t low, uint64_t high) {
    auto segment = std::make_unique<schema::SegmentT>();
    segment->kind = kind;
    segment->offset = offset;
    segment->size = bytes;
    segment->hash_low = low;
    segment->hash_high = high;
    program.segments.push_back(std::move(segment));
  };
  for (const Segment &segment : parts.segments)
    add(segment.kind, segment.offset, segment.bytes, segment.hashLow,
        segment.hashHigh);
  for (const StoredWeight &weight : parts.weights)
    add(schema::SegmentKind::Weight, weight.offset, weight.bytes,
        weight.hashLow, weight.hashHigh);
}

void ProgramBuilder::addWeights() {
  for (const StoredWeight &stored : parts.weights) {
    auto weight = std::make_unique<schema::WeightT>();
    weight->name = SymbolTable::getSymbolName(stored.op).str();
    weight->scheme = getSchemeName(stored.op);
    weight->layout = "plain";
    SmallVector<int64_t> shape;
    if (auto table = dyn_cast<RopeTableOp>(stored.op)) {
      if (isEmptyTable(table))
        shape.push_back(1);
      else
        llvm::append_range(shape, table.getValueType().getShape());
    } else {
      auto op = cast<WeightOp>(stored.op);
      llvm::append_range(shape,
                         cast<RankedTensorType>(op.getType()).getShape());
      weight->layout = stringifyLayout(op.getLayout()).str();
    }
    weight->shape.assign(shape.begin(), shape.end());
    weightIndex[weight->name] = program.weights.size();
    weight->segment = parts.segments.size() + program.weights.size();
    program.weights.push_back(std::move(weight));
  }
}

void ProgramBuilder::addCaches() {
  for (auto op : module.getOps<KvCacheOp>()) {
    auto type = cast<KvCacheType>(op.getType());
    cacheIndex[op.getSymName()] = program.caches.size();
    const std::array<int64_t, cacheParts.size()> elements = {type.getKeyDim(),
                                                             type.getHeadDim()};
    for (auto [part, dim] : llvm::zip(cacheParts, elements)) {
      auto cache = std::make_unique<schema::CacheT>();
      cache->name = op.getSymName().str() + part;
      cache->kind = type.getWindow() ? schema::CacheKind::Ring
                                     : schema::CacheKind::Growing;
      cache->row_bytes = type.getHeads() * type.getStoredBytes(dim);
      cache->window = type.getWindow();
      cache->format = stringifyKvFormat(type.getFormat()).str();
      program.caches.push_back(std::move(cache));
    }
  }
}

LogicalResult ProgramBuilder::addKernels(const TargetCode &code) {
  for (auto op : module.getOps<KernelOp>()) {
    auto info = code.kernels.find(op.getName());
    if (info == code.kernels.end())
      return op.emitOpError("was not compiled");
    auto kernel = std::make_unique<schema::KernelT>();
    kernel->symbol = op.getName().str();
    kernel->tiles = getExtent(info->second.tiles);
    kernel->tile_work = getExtent(info->second.tileWork);
    kernel->scratch = getExtent(info->second.scratch);
    kernel->token_bytes = getTokenBytes(op);
    kernel->token_tile = info->second.tokenTile;
    kernel->window_bytes = info->second.windowBytes;
    kernel->windows_repeat = info->second.windowsRepeat;
    kernelIndex[op.getName()] = target->kernels.size();
    target->kernels.push_back(std::move(kernel));
  }
  return success();
}

FailureOr<SmallVector<schema::BufferRef, 2>>
ProgramBuilder::getReferences(Value value, Operation *user) {
  using Kind = schema::BufferKind;
  using References = SmallVector<schema::BufferRef, 2>;
  if (value.getType().isIndex())
    return References();
  if (auto bound = bindings.find(value); bound != bindings.end())
    return References{bound->second};
  if (auto get = value.getDefiningOp<GetWeightOp>())
    return References{{Kind::Weight, weightIndex.lookup(get.getWeight()), 0}};
  if (auto get = value.getDefiningOp<GetCacheOp>()) {
    uint32_t index = cacheIndex.lookup(get.getCache());
    return References{{Kind::Cache, index, 0}, {Kind::Cache, index + 1, 0}};
  }
  if (auto view = value.getDefiningOp<memref::ViewOp>()) {
    std::optional<int64_t> offset = getConstantIntValue(view.getByteShift());
    if (offset && view.getSource().getDefiningOp<ArenaOp>())
      return References{{Kind::Arena, 0, static_cast<uint64_t>(*offset)}};
  }
  return user->emitOpError("operand ")
         << value << " is no binding, weight, cache or planned buffer";
}

LogicalResult ProgramBuilder::addEntry(func::FuncOp function) {
  auto entry = std::make_unique<schema::EntryPointT>();
  entry->name = function.getName().str();
  auto getInteger = [&](StringRef name) -> int64_t {
    auto attribute = function->getAttrOfType<IntegerAttr>(name);
    return attribute ? attribute.getInt() : 0;
  };
  entry->max_tokens = getInteger("lap.max_tokens");
  entry->arena_bytes = getInteger("lap.arena_bytes");
  entry->candidate_dispatches = getInteger("lap.candidate_ops");

  bindings.clear();
  for (BlockArgument argument : function.getArguments()) {
    auto type = dyn_cast<MemRefType>(argument.getType());
    if (!type)
      continue;
    unsigned number = argument.getArgNumber();
    auto binding = std::make_unique<schema::BindingT>();
    if (auto name = function.getArgAttrOfType<StringAttr>(number, "lap.name"))
      binding->name = name.str();
    else
      return function.emitError("argument ") << number << " has no lap.name";
    binding->element = type.getElementType().isF32() ? schema::ElementType::F32
                                                     : schema::ElementType::I32;
    int64_t rowElements = 1;
    for (int64_t size : type.getShape().drop_front())
      rowElements *= size;
    // The rows of media are the caller's, not the step's tokens.
    Extent elements;
    if (binding->name == "media")
      elements.constant = rowElements;
    else if (type.isDynamicDim(0))
      elements.perToken = rowElements;
    else
      elements.constant = rowElements * type.getDimSize(0);
    binding->elements = getExtent(elements);
    if (binding->name == "top_tokens")
      target->candidates = static_cast<int32_t>(rowElements);
    bool isResult = function.getArgAttr(number, "lap.result") != nullptr;
    auto &list = isResult ? entry->outputs : entry->inputs;
    bindings[argument] = {isResult ? schema::BufferKind::Output
                                   : schema::BufferKind::Input,
                          static_cast<uint32_t>(list.size()), 0};
    list.push_back(std::move(binding));
  }
  for (auto dispatch : function.getOps<DispatchOp>()) {
    auto step = std::make_unique<schema::DispatchT>();
    step->kernel = kernelIndex.lookup(dispatch.getKernel());
    for (Value operand : dispatch.getOperands()) {
      auto references = getReferences(operand, dispatch);
      if (failed(references))
        return failure();
      step->operands.insert(step->operands.end(), references->begin(),
                            references->end());
    }
    entry->dispatches.push_back(std::move(step));
  }
  target->entries.push_back(std::move(entry));
  return success();
}

/// Its code is in the segments from `firstCode` on.
LogicalResult ProgramBuilder::addTarget(const TargetCode &code,
                                        uint32_t firstCode) {
  auto owned = std::make_unique<schema::TargetT>();
  target = owned.get();
  program.targets.push_back(std::move(owned));
  target->device = code.device;
  target->architecture = code.architecture;
  for (const TargetCode::Variant &own : code.variants) {
    auto variant = std::make_unique<schema::VariantT>();
    variant->name = own.name;
    variant->features = own.features;
    variant->segment =
        firstCode + (code.modules.empty() ? target->variants.size() : 0);
    if (!own.modules.empty())
      for (auto kernel : module.getOps<KernelOp>()) {
        auto place = own.modules.lookup(kernel.getName());
        variant->modules.emplace_back(place.offset, place.size);
      }
    target->variants.push_back(std::move(variant));
  }
  if (failed(addKernels(code)))
    return failure();
  for (auto function : module.getOps<func::FuncOp>())
    if (failed(addEntry(function)))
      return failure();
  return success();
}

FailureOr<std::vector<uint8_t>> ProgramBuilder::build() {
  program.producer = "lapidary " LAPIDARY_VERSION;
  addModel();
  addSegments();
  addSchemes();
  addWeights();
  addCaches();
  uint32_t firstCode = 0;
  while (firstCode < parts.segments.size() &&
         parts.segments[firstCode].kind != schema::SegmentKind::Code)
    ++firstCode;
  for (const TargetCode &code : parts.targets) {
    if (failed(addTarget(code, firstCode)))
      return failure();
    firstCode += code.countSegments();
  }
  for (const SelfTestData &test : parts.selfTests)
    program.self_tests.push_back(std::make_unique<SelfTestData>(test));
  program.tokenizer = 0;
  if (parts.segments.size() > 1 &&
      parts.segments[1].kind == schema::SegmentKind::ChatTemplate)
    program.chat_template = 1;

  flatbuffers::FlatBufferBuilder builder;
  // Offsets and hashes of 0 take as much room as any other.
  builder.ForceDefaults(true);
  builder.Finish(schema::Program::Pack(builder, &program),
                 schema::ProgramIdentifier());
  return std::vector<uint8_t>(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
}

FailureOr<std::vector<uint8_t>>
mlir::lap::buildProgram(const ProgramParts &parts) {
  return ProgramBuilder(parts).build();
}
