// Validation of a program's targets: variants, kernels, entry points, their
// bindings and dispatches. BundleValidation.cpp checks the rest and calls this.
#include "runtime/core/BundleValidation.h"
#include "runtime/core/ValidationChecks.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace lapidary {
namespace {

constexpr int64_t maxTiles = int64_t(1) << 40;
constexpr int64_t maxTileWork = int64_t(1) << 40, maxScratch = int64_t(1) << 32;
constexpr uint64_t maxArena = uint64_t(1) << 42;
constexpr size_t maxOperands = 64, maxDispatches = 1 << 20;
/// So that buffers in the arena can be read with the widest aligned loads, and
/// bound by any GPU.
constexpr uint64_t cpuArenaAlignment = 64, gpuArenaAlignment = 256;

/// Extents are linear: what holds at both ends of [1, maxTokens] holds between.
Status checkExtent(const schema::Extent *extent, int64_t maxTokens,
                   int64_t limit, const char *what, const std::string &owner) {
  if (!extent)
    return invalidData(concat(what, " of ", owner, " is missing"));
  for (int64_t tokens : {int64_t(1), maxTokens}) {
    std::optional<int64_t> value = evaluate(*extent, tokens);
    if (!value || *value < 0 || *value > limit)
      return invalidData(concat(what, " of ", owner, " is ", extent->constant(),
                                " + ", extent->per_token(),
                                " * tokens, which at ", tokens,
                                " tokens is not within 0 to ", limit));
  }
  return {};
}

/// One program's targets; the operands need weights and caches, the bindings
/// the model.
class TargetValidator {
public:
  explicit TargetValidator(const schema::Program &program)
      : program(program), model(*program.model()) {}

  Status check();

private:
  Status checkModules(const schema::Target &target,
                      const schema::Variant &variant, const std::string &what);
  Status checkKernel(const schema::Kernel &kernel, int64_t maxTokens,
                     const std::string &what);
  Status checkWindows(const schema::Dispatch &dispatch,
                      const schema::Kernel &kernel, const std::string &where);
  Status checkEntry(const schema::Target &target,
                    const schema::EntryPoint &entry, const std::string &what);
  Status checkBindings(const schema::Target &target,
                       const schema::EntryPoint &entry, bool outputs,
                       const std::string &what);
  Status checkCandidates(const schema::EntryPoint &entry,
                         const std::string &what);
  Status checkOperand(const schema::EntryPoint &entry, uint64_t alignment,
                      const schema::BufferRef &operand, uint32_t index,
                      const std::string &where);
  Status checkTokenBytes(const schema::EntryPoint &entry,
                         const schema::Dispatch &dispatch,
                         const schema::Kernel &kernel,
                         const std::string &where);

  const schema::Program &program;
  const schema::Model &model;
};

Status TargetValidator::check() {
  std::vector<std::pair<std::string_view, std::string_view>> kinds;
  if (program.targets()->size() == 0)
    return invalidData("the program has no target");
  for (uint32_t index = 0; index < program.targets()->size(); ++index) {
    const schema::Target &target = *program.targets()->Get(index);
    LAPIDARY_TRY(
        checkName(target.device(), concat("the device of target ", index)));
    LAPIDARY_TRY(checkName(target.architecture(),
                           concat("the architecture of target ", index)));
    std::string what = concat("target ", target.device()->string_view(), "/",
                              target.architecture()->string_view());
    kinds.emplace_back(target.device()->string_view(),
                       target.architecture()->string_view());

    LAPIDARY_TRY(checkRange(target.candidates(), 0, model.vocabulary(),
                            concat("the candidates of ", what)));
    UniqueNames variants, entries;
    if (target.variants()->size() == 0)
      return invalidData(concat(what, " has no variant"));
    for (const schema::Variant *variant : *target.variants()) {
      LAPIDARY_TRY(checkName(variant->name(), concat("a variant of ", what)));
      for (const flatbuffers::String *feature : *variant->features())
        LAPIDARY_TRY(checkName(
            feature, concat("a feature of variant ", quote(variant->name()))));
      LAPIDARY_TRY(checkSegmentIndex(
          program, variant->segment(), schema::SegmentKind::Code,
          concat("variant ", quote(variant->name()), " of ", what)));
      LAPIDARY_TRY(checkModules(
          target, *variant,
          concat("variant ", quote(variant->name()), " of ", what)));
      variants.add(variant->name());
    }
    for (uint32_t kernel = 0; kernel < target.kernels()->size(); ++kernel) {
      const schema::Kernel &description = *target.kernels()->Get(kernel);
      LAPIDARY_TRY(checkName(description.symbol(),
                             concat("kernel ", kernel, " of ", what)));
      // Dispatches check it again, at the largest step of their entry point.
      LAPIDARY_TRY(checkKernel(
          description, 1,
          concat("kernel ", quote(description.symbol()), " of ", what)));
    }
    for (const schema::EntryPoint *entry : *target.entries()) {
      LAPIDARY_TRY(
          checkName(entry->name(), concat("an entry point of ", what)));
      LAPIDARY_TRY(checkEntry(
          target, *entry,
          concat("entry point ", quote(entry->name()), " of ", what)));
      entries.add(entry->name());
    }
    LAPIDARY_TRY(variants.check(concat("variants of ", what)));
    LAPIDARY_TRY(entries.check(concat("entry points of ", what)));
    for (std::string_view needed :
         {"prefill", "decode", "logits", "draft", "draft_next"}) {
      if (needed.starts_with("draft") && !model.assistant())
        continue;
      bool found = false;
      for (const schema::EntryPoint *entry : *target.entries())
        found |= entry->name()->string_view() == needed;
      if (!found)
        return invalidData(
            concat(what, " has no entry point \"", needed, "\""));
    }
  }
  std::sort(kinds.begin(), kinds.end());
  auto twice = std::adjacent_find(kinds.begin(), kinds.end());
  if (twice != kinds.end())
    return invalidData(
        concat("two targets are for ", twice->first, "/", twice->second));
  return {};
}

Status TargetValidator::checkKernel(const schema::Kernel &kernel,
                                    int64_t maxTokens,
                                    const std::string &what) {
  LAPIDARY_TRY(
      checkExtent(kernel.tiles(), maxTokens, maxTiles, "the tile count", what));
  LAPIDARY_TRY(checkExtent(kernel.tile_work(), maxTokens, maxTileWork,
                           "the tile work", what));
  LAPIDARY_TRY(checkRange(kernel.token_tile(), 0, maxStepTokens,
                          concat("the token tile of ", what)));
  return checkExtent(kernel.scratch(), maxTokens, maxScratch,
                     "the scratch size", what);
}

/// The CPU's code is one object; a GPU's has a module a kernel.
Status TargetValidator::checkModules(const schema::Target &target,
                                     const schema::Variant &variant,
                                     const std::string &what) {
  const auto *modules = variant.modules();
  const bool expected = target.device()->string_view() == "vulkan";
  if (!expected && !modules)
    return {};
  const size_t count = modules ? modules->size() : 0,
               kernels = expected ? target.kernels()->size() : 0;
  if (count != kernels)
    return invalidData(
        concat(what, " has ", count, " modules, expected ", kernels));
  if (count == 0)
    return {};
  LAPIDARY_TRY(checkAlignment(modules, what));
  const uint64_t size = program.segments()->Get(variant.segment())->size();
  for (uint32_t index = 0; index < count; ++index) {
    const schema::Module &module = *modules->Get(index);
    if (module.offset() > size || module.size() > size - module.offset() ||
        module.offset() % 4 != 0 || module.size() % 4 != 0)
      return invalidData(concat("module ", index, " of ", what, " has ",
                                module.size(), " bytes at byte ",
                                module.offset(), " of ", size,
                                ", expected whole words inside of it"));
  }
  return {};
}

/// Needs operands that were checked.
Status TargetValidator::checkWindows(const schema::Dispatch &dispatch,
                                     const schema::Kernel &kernel,
                                     const std::string &where) {
  const auto *windows = kernel.window_bytes();
  if (!windows)
    return {};
  std::string what = concat("kernel ", quote(kernel.symbol()), " in ", where);
  if (windows->size() != dispatch.operands()->size())
    return invalidData(concat(what, " has ", windows->size(),
                              " window_bytes, expected ",
                              dispatch.operands()->size()));
  LAPIDARY_TRY(checkAlignment(windows, what));
  for (uint32_t index = 0; index < windows->size(); ++index) {
    const uint64_t bytes = windows->Get(index);
    if (bytes % 4 != 0 || bytes > maxArena ||
        (bytes != 0 &&
         dispatch.operands()->Get(index)->kind() == schema::BufferKind::Arena))
      return invalidData(concat("operand ", index, " of ", what,
                                " has row tiles of ", bytes,
                                " bytes, expected a multiple of 4 up to ",
                                maxArena, ", and 0 in the arena"));
  }
  return {};
}

Status TargetValidator::checkEntry(const schema::Target &target,
                                   const schema::EntryPoint &entry,
                                   const std::string &what) {
  std::string_view name = entry.name()->string_view();
  LAPIDARY_TRY(checkRange(entry.max_tokens(), 1,
                          name == "decode" ? 1 : maxStepTokens,
                          concat("max_tokens of ", what)));
  if (name == "prefill" && entry.max_tokens() % 16 != 0)
    return invalidData(concat("max_tokens of ", what, " is ",
                              entry.max_tokens(),
                              ", expected a multiple of 16"));
  if (name.starts_with("draft") && !model.assistant())
    return invalidData(
        concat(what, " is there, but the model has no assistant"));
  if (name == "embed_image" && (!model.vision() || model.image_token() < 0))
    return invalidData(concat(
        what, " is there, but the model has no vision or no image_token"));
  if (name == "embed_audio" && (!model.audio() || model.audio_token() < 0))
    return invalidData(concat(
        what, " is there, but the model has no audio or no audio_token"));
  if (entry.arena_bytes() > maxArena)
    return invalidData(concat(what, " has an arena of ", entry.arena_bytes(),
                              " bytes, expected at most ", maxArena));
  LAPIDARY_TRY(checkBindings(target, entry, false, what));
  LAPIDARY_TRY(checkBindings(target, entry, true, what));

  if (entry.dispatches()->size() == 0 ||
      entry.dispatches()->size() > maxDispatches)
    return invalidData(concat(what, " has ", entry.dispatches()->size(),
                              " dispatches, expected 1 to ", maxDispatches));
  for (uint32_t index = 0; index < entry.dispatches()->size(); ++index) {
    const schema::Dispatch &dispatch = *entry.dispatches()->Get(index);
    std::string where = concat("dispatch ", index, " of ", what);
    if (dispatch.kernel() >= target.kernels()->size())
      return invalidData(concat(where, " is of kernel ", dispatch.kernel(),
                                ", but the target has ",
                                target.kernels()->size(), " kernels"));
    const schema::Kernel &kernel = *target.kernels()->Get(dispatch.kernel());
    LAPIDARY_TRY(
        checkKernel(kernel, entry.max_tokens(),
                    concat("kernel ", quote(kernel.symbol()), " in ", where)));
    if (dispatch.operands()->size() > maxOperands)
      return invalidData(concat(where, " has ", dispatch.operands()->size(),
                                " operands, expected at most ", maxOperands));
    LAPIDARY_TRY(checkAlignment(dispatch.operands(), where));
    const uint64_t alignment = target.device()->string_view() == "cpu"
                                   ? cpuArenaAlignment
                                   : gpuArenaAlignment;
    for (uint32_t operand = 0; operand < dispatch.operands()->size(); ++operand)
      LAPIDARY_TRY(checkOperand(entry, alignment,
                                *dispatch.operands()->Get(operand), operand,
                                where));
    LAPIDARY_TRY(checkWindows(dispatch, kernel, where));
    // A GPU's kernels find a sequence's tokens themselves.
    if (kernel.token_bytes() || target.device()->string_view() == "cpu")
      LAPIDARY_TRY(checkTokenBytes(entry, dispatch, kernel, where));
  }
  return checkCandidates(entry, what);
}

/// What is left out where candidates are not wanted must be theirs alone, and
/// nothing before it may touch what is not there then. Needs operands that were
/// checked.
Status TargetValidator::checkCandidates(const schema::EntryPoint &entry,
                                        const std::string &what) {
  const uint32_t count = entry.candidate_dispatches(),
                 all = entry.dispatches()->size();
  const bool gives =
      std::ranges::any_of(*entry.outputs(), [](const schema::Binding *binding) {
        return isCandidates(*binding);
      });
  if (count >= all || (count > 0) != gives)
    return invalidData(concat(what, " has ", count, " of ", all,
                              " dispatches for candidates, which it ",
                              gives ? "gives" : "does not give"));
  for (uint32_t index = 0; index < all; ++index)
    for (const schema::BufferRef *operand :
         *entry.dispatches()->Get(index)->operands()) {
      const bool isOutput = operand->kind() == schema::BufferKind::Output;
      if (index >= all - count
              ? operand->kind() == schema::BufferKind::Cache
              : isOutput &&
                    isCandidates(*entry.outputs()->Get(operand->index())))
        return invalidData(concat("dispatch ", index, " of ", what,
                                  index >= all - count
                                      ? " is for candidates and has a cache"
                                      : " has candidates, but is not among "
                                        "the last that are for them"));
    }
  return {};
}

/// Needs operands that were checked. A kernel with caches gets its operands
/// moved to the first token of each sequence of a step.
Status TargetValidator::checkTokenBytes(const schema::EntryPoint &entry,
                                        const schema::Dispatch &dispatch,
                                        const schema::Kernel &kernel,
                                        const std::string &where) {
  const auto &operands = *dispatch.operands();
  const auto *bytes = kernel.token_bytes();
  bool hasCaches = std::ranges::any_of(operands, [](const auto *operand) {
    return operand->kind() == schema::BufferKind::Cache;
  });
  std::string what = concat("kernel ", quote(kernel.symbol()), " in ", where);
  size_t count = bytes ? bytes->size() : 0,
         expected = hasCaches ? operands.size() : 0;
  if (count != expected)
    return invalidData(
        concat(what, " has ", count, " token_bytes, expected ", expected,
               count == 0 ? "; compile the checkpoint again" : ""));
  if (!hasCaches)
    return {};
  LAPIDARY_TRY(checkAlignment(bytes, what));
  for (uint32_t index = 0; index < count; ++index) {
    const schema::BufferRef &operand = *operands.Get(index);
    uint64_t least = 0, most = 0;
    if (operand.kind() == schema::BufferKind::Arena) {
      // The last token's row begins and ends inside the arena.
      most = (entry.arena_bytes() - operand.offset()) /
             static_cast<uint64_t>(entry.max_tokens());
    } else if (operand.kind() == schema::BufferKind::Input ||
               operand.kind() == schema::BufferKind::Output) {
      const auto &bindings = operand.kind() == schema::BufferKind::Input
                                 ? *entry.inputs()
                                 : *entry.outputs();
      // Elements of every type have 4 bytes.
      least = most =
          4 * static_cast<uint64_t>(std::max<int64_t>(
                  bindings.Get(operand.index())->elements()->per_token(), 0));
    }
    if (bytes->Get(index) < least || bytes->Get(index) > most)
      return invalidData(concat("operand ", index, " of ", what, " has ",
                                bytes->Get(index), " bytes a token, expected ",
                                least, " to ", most));
  }
  return {};
}

Status TargetValidator::checkOperand(const schema::EntryPoint &entry,
                                     uint64_t alignment,
                                     const schema::BufferRef &operand,
                                     uint32_t index, const std::string &where) {
  // Only built for a message: a large model has tens of thousands of operands.
  auto what = [&] { return concat("operand ", index, " of ", where); };
  uint64_t limit = 0;
  switch (operand.kind()) {
  case schema::BufferKind::Input:
    limit = entry.inputs()->size();
    break;
  case schema::BufferKind::Output:
    limit = entry.outputs()->size();
    break;
  case schema::BufferKind::Weight:
    limit = program.weights()->size();
    break;
  case schema::BufferKind::Cache:
    limit = program.caches()->size();
    break;
  case schema::BufferKind::Arena:
    if (operand.offset() >= entry.arena_bytes())
      return invalidData(concat(what(), " begins at byte ", operand.offset(),
                                " of the arena, which has ",
                                entry.arena_bytes(), " bytes"));
    if (operand.offset() % alignment != 0)
      return invalidData(concat(what(), " begins at byte ", operand.offset(),
                                " of the arena, expected a multiple of ",
                                alignment));
    return {};
  default:
    return invalidData(
        concat(what(), " has the unknown kind ", int(operand.kind())));
  }
  if (operand.index() >= limit)
    return invalidData(concat(what(), " is ",
                              schema::EnumNameBufferKind(operand.kind()), " ",
                              operand.index(), ", but there are ", limit));
  if (operand.offset() != 0)
    return invalidData(concat(what(), " has the offset ", operand.offset(),
                              ", which only the arena has"));
  return {};
}

/// What the session will put into a binding of a known entry point, in elements
/// at `tokens`; nothing for a name that the session does not know there.
struct KnownBinding {
  std::string_view entry, name;
  bool output;
  schema::ElementType element;
  /// constant + perToken * tokens.
  int64_t constant, perToken;
};

Status TargetValidator::checkBindings(const schema::Target &target,
                                      const schema::EntryPoint &entry,
                                      bool outputs, const std::string &what) {
  using schema::ElementType;
  int64_t hidden = model.hidden(), vocabulary = model.vocabulary();
  int64_t patch = model.vision() ? int64_t(model.vision()->patch_size()) *
                                       model.vision()->patch_size() * 3
                                 : 0;
  int64_t clusters = model.assistant() ? model.assistant()->clusters() : 0;
  const int64_t candidates = target.candidates();
  int64_t samples = model.audio() ? model.audio()->samples_per_token() : 0;
  const KnownBinding known[] = {
      {"prefill", "tokens", false, ElementType::I32, 0, 1},
      {"prefill", "media_rows", false, ElementType::I32, 0, 1},
      {"prefill", "media", false, ElementType::F32, hidden, 0},
      {"prefill", "visible_end", false, ElementType::I32, 0, 1},
      {"prefill", "hidden", true, ElementType::F32, 0, hidden},
      {"decode", "tokens", false, ElementType::I32, 0, 1},
      {"decode", "logits", true, ElementType::F32, 0, vocabulary},
      {"decode", "hidden", true, ElementType::F32, 0, hidden},
      {"logits", "hidden", false, ElementType::F32, 0, hidden},
      {"logits", "logits", true, ElementType::F32, 0, vocabulary},
      {"embed_image", "patches", false, ElementType::F32, 0, patch},
      {"embed_image", "positions", false, ElementType::I32, 0, 2},
      {"embed_image", "embeddings", true, ElementType::F32, 0, hidden},
      {"embed_audio", "frames", false, ElementType::F32, 0, samples},
      {"embed_audio", "embeddings", true, ElementType::F32, 0, hidden},
      {"draft", "tokens", false, ElementType::I32, 0, 1},
      {"draft", "hidden", false, ElementType::F32, 0, hidden},
      {"draft", "next_hidden", true, ElementType::F32, 0, hidden},
      {"draft", "logits", true, ElementType::F32, 0, vocabulary},
      {"draft", "clusters", true, ElementType::F32, 0, clusters},
      {"decode", "top_logits", true, ElementType::F32, 0, candidates},
      {"decode", "top_tokens", true, ElementType::I32, 0, candidates},
      {"logits", "top_logits", true, ElementType::F32, 0, candidates},
      {"logits", "top_tokens", true, ElementType::I32, 0, candidates},
      {"draft", "top_logits", true, ElementType::F32, 0, candidates},
      {"draft", "top_tokens", true, ElementType::I32, 0, candidates},
  };
  UniqueNames names;
  std::string_view entryName = entry.name()->string_view();
  if (entryName == "extend") // Prefill for few tokens.
    entryName = "prefill";
  if (entryName == "draft_next")
    entryName = "draft";
  // What the model has no use for is not there.
  auto isPart = [&](const KnownBinding &binding) {
    if (binding.entry == "decode" && binding.name == "hidden")
      return model.assistant() != nullptr;
    if (binding.name.starts_with("top_"))
      return candidates > 0 && (binding.entry != "draft" || clusters == 0);
    return binding.name != "clusters" || clusters > 0;
  };
  size_t matched = 0, expected = 0;
  for (const KnownBinding &binding : known)
    expected += binding.entry == entryName && binding.output == outputs &&
                isPart(binding);

  for (const schema::Binding *binding :
       *(outputs ? entry.outputs() : entry.inputs())) {
    LAPIDARY_TRY(checkName(binding->name(), concat("a binding of ", what)));
    std::string where =
        concat("binding ", quote(binding->name()), " of ", what);
    if (binding->element() > ElementType::MAX)
      return invalidData(concat(where, " has the unknown element type ",
                                int(binding->element())));
    LAPIDARY_TRY(checkExtent(binding->elements(), entry.max_tokens(),
                             maxElements, "the size", where));
    names.add(binding->name());
    bool found = false;
    for (const KnownBinding &candidate : known) {
      if (candidate.entry != entryName || candidate.output != outputs ||
          !isPart(candidate) ||
          candidate.name != binding->name()->string_view())
        continue;
      found = true;
      ++matched;
      if (candidate.element != binding->element())
        return invalidData(concat(
            where, " has elements of type ",
            schema::EnumNameElementType(binding->element()), ", expected ",
            schema::EnumNameElementType(candidate.element)));
      for (int64_t tokens : {int64_t(1), entry.max_tokens()})
        if (int64_t size = candidate.constant + candidate.perToken * tokens;
            evaluate(*binding->elements(), tokens) != size)
          return invalidData(
              concat(where, " has ", *evaluate(*binding->elements(), tokens),
                     " elements at ", tokens, " tokens, expected ", size));
    }
    // Entry points that this runtime does not know are carried for newer ones;
    // known ones must be understood whole.
    if (expected > 0 && !found)
      return invalidData(concat(where, " is not known to this runtime"));
  }
  LAPIDARY_TRY(names.check(concat("bindings of ", what)));
  auto has = [&](std::string_view name) {
    for (const schema::Binding *binding : *entry.inputs())
      if (binding->name()->string_view() == name)
        return true;
    return false;
  };
  // Of the inputs of prefill only the tokens are sure: a text model reads no
  // media and has no vision blocks.
  bool complete = matched == expected;
  if (entryName == "prefill" && !outputs)
    complete =
        has("tokens") && has("media") == has("media_rows") &&
        (has("visible_end") || !(has("media") && model.bidirectional_vision()));
  if (!complete)
    return invalidData(concat(what, " lacks ",
                              outputs ? "an output" : "an input",
                              " that the schema says it has"));
  return {};
}

} // namespace

bool isCandidates(const schema::Binding &output) {
  return output.name()->string_view() == "top_logits" ||
         output.name()->string_view() == "top_tokens";
}

Status validateTargets(const schema::Program &program) {
  return TargetValidator(program).check();
}

} // namespace lapidary
