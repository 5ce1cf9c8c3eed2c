// lapidary-compile: the `lapidary compile` command. A program of its own, so
// that running a bundle does not load LLVM.
#include "compiler/RecipeLibrary.h"
#include "tools/compile/Compile.h"
#include "tools/compile/TargetList.h"
#include "tools/compiler/CompilerTool.h"

#include "mlir/IR/AsmState.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace mlir::lap;

int main(int argc, char **argv) {
  CompilerTool tool(argc, argv, "lapidary compile");
  namespace cl = llvm::cl;
  cl::OptionCategory &category = tool.getCategory();
  cl::opt<std::string> checkpoint(
      cl::Positional, cl::value_desc("CHECKPOINT"), cl::cat(category),
      cl::desc("<checkpoint: a Hugging Face folder or a GGUF file>"));
  cl::opt<std::string> media(
      "mmproj", cl::value_desc("FILE"), cl::cat(tool.getCategory()),
      cl::desc("The GGUF file of the projections of images and sounds, for a "
               "GGUF checkpoint"));
  cl::opt<std::string> assistant(
      "assistant", cl::value_desc("FOLDER"), cl::cat(category),
      cl::desc("The checkpoint's companion for multi-token prediction, a "
               "Hugging Face folder: it drafts tokens that the model verifies "
               "(its tensors are 'assistant.*' in recipes)"));
  cl::opt<std::string> output("o", cl::value_desc("FILE"), cl::cat(category),
                              cl::desc("The bundle to write; - with --emit"));
  // Options keep no copies of their texts.
  const std::string targetText =
      "The devices to compile for: " + listTargets() + " (default: cpu)";
  cl::list<std::string> targetNames("target", cl::value_desc("NAME,..."),
                                    cl::CommaSeparated, cl::cat(category),
                                    cl::desc(targetText));
  cl::opt<std::string> quant(
      "quant", cl::value_desc("NAME|FILE"), cl::cat(category),
      cl::desc("How matrices are stored: a scheme (q4_0, or your own .mlir "
               "file) or a recipe (q4_k_m); 'lapidary quants' lists them "
               "(default: as the checkpoint has them)"));
  cl::opt<std::string> recipe(
      "recipe", cl::value_desc("NAME|FILE"), cl::cat(category),
      cl::desc("A recipe, instead of --quant: lines that map names of tensors "
               "to schemes"));
  cl::opt<std::string> importance(
      "importance", cl::value_desc("FILE"), cl::cat(category),
      cl::desc("Weights the encoder's errors by what 'lapidary calibrate' "
               "measured"));
  cl::opt<std::string> activations(
      "activations", cl::value_desc("auto|f32|bf16|int8|int8_token"),
      cl::init("auto"), cl::cat(category),
      cl::desc("What inputs of matrix products are rounded to; int8 has a "
               "scale for each 32 columns (default: auto, int8 where weights "
               "are multiplied as integers then, f32 elsewhere)"));
  cl::opt<std::string> kv(
      "kv", cl::value_desc("f16|q8_0|f32|bf16"), cl::init("f16"),
      cl::cat(category),
      cl::desc("How the caches of keys and values are stored; q8_0 takes about "
               "half of f16 (default: f16)"));
  const std::string phases = listPhases("|");
  cl::opt<std::string> emit(
      "emit", cl::value_desc(phases), cl::cat(category),
      cl::desc("Print this stage instead of writing a bundle"));
  const std::string variants = listVariants();
  const std::string variantHelp =
      "The instruction sets to compile code for, with commas between, or "
      "native, the best that this machine has (default: all of the target's: " +
      variants +
      "); with --emit, one name: whose code is shown (default: avx512, or "
      "dotprod, or matrix16)";
  cl::opt<std::string> variant("variant", cl::value_desc("NAME,..."),
                               cl::cat(category), cl::desc(variantHelp));
  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  registerDefaultTimingManagerCLOptions();
  if (auto code = tool.parseOptions(
          "Compiles a checkpoint to a bundle.\n\n"
          "  lapidary compile gemma-4-12b --quant q4_k_m -o gemma.lap\n"))
    return *code;
  if (checkpoint.empty())
    return tool.failUsage("no checkpoint folder given");
  CompileOptions options;
  if (!emit.empty()) {
    options.emit = parsePhase(emit);
    if (!options.emit)
      return tool.failUsage("--emit " + emit + " is unknown, expected " +
                            listPhases(", "));
  } else if (output.empty() || output == "-") {
    return tool.failUsage("no bundle to write: add -o FILE");
  }
  if (quant.getNumOccurrences() && recipe.getNumOccurrences())
    return tool.failUsage("--quant and --recipe exclude each other");
  if (quant.getNumOccurrences() && !isQuant(quant))
    return tool.failUsage(
        "--quant " + quant +
        " is neither a scheme nor a recipe nor a path that ends in .mlir or "
        ".recipe; 'lapidary quants' lists what there is");
  if (activations != "auto" && !symbolizeActivations(activations))
    return tool.failUsage(
        "--activations " + activations +
        " is unknown, expected auto, f32, bf16, int8 or int8_token");
  if (!symbolizeKvFormat(kv))
    return tool.failUsage("--kv " + kv +
                          " is unknown, expected f16, q8_0, f32 or bf16");
  const std::string target =
      targetNames.empty() ? "cpu" : llvm::join(targetNames, ",");
  std::optional<TargetList> targets = parseTargets(target);
  if (!targets)
    return tool.failUsage("--target " + target + " is unknown, expected " +
                          listTargets());
  if (importance.getNumOccurrences() && options.emit)
    return tool.failUsage("--importance is for writing a bundle; no stage that "
                          "--emit shows depends on it");
  bool showsCode = options.emit == Phase::Llvm || options.emit == Phase::Asm;
  bool showsGpu = options.emit == Phase::Gpu || options.emit == Phase::Spirv;
  if (variant.getNumOccurrences() && options.emit && !showsCode && !showsGpu)
    return tool.failUsage("--variant is for a bundle, --emit=llvm, asm, gpu "
                          "and spirv; no other stage depends on it");
  if (variant.getNumOccurrences() && variant.empty())
    return tool.failUsage("--variant needs a name");
  if (assistant.getNumOccurrences() && assistant.empty())
    return tool.failUsage("--assistant needs a folder");
  if (showsGpu)
    targets->vulkan = true;
  if (showsCode && targets->architectures.empty())
    return tool.failUsage("--emit=llvm and --emit=asm show code of CPUs; for "
                          "--target vulkan there are --emit=gpu and "
                          "--emit=spirv");
  if (showsCode && !variant.getNumOccurrences())
    variant = targets->architectures[0] == cpu::Architecture::X86_64
                  ? "avx512"
                  : "dotprod";
  if (showsGpu && !variant.getNumOccurrences())
    variant = simt::getFacts().front().name.str();
  const cpu::CpuVariant *shown = cpu::findVariant(variant);
  if ((showsCode && !shown) || (showsGpu && !simt::findFacts(variant)))
    return tool.failUsage("--variant " + variant + " is unknown, expected " +
                          "one of " + listVariants());
  if (showsCode && targetNames.empty())
    targets->architectures = {shown->blocking.architecture};
  if (StringRef name = findUnknownVariant(variant, *targets); !name.empty())
    return tool.failUsage("--variant " + name.str() + " is none of --target " +
                          target + "; there are " + listVariants());
  options.checkpoint = checkpoint;
  options.output = output;
  options.target = target;
  options.media = media;
  options.assistant = assistant;
  options.quant = quant;
  options.recipe = recipe;
  options.importance = importance;
  options.activations = activations;
  options.kv = kv;
  options.variant = variant;
  options.cancel = &CompilerTool::isInterrupted();
  if (tool.isTerminal())
    options.progress = [&](StringRef what, double done) {
      tool.showProgress(what, done);
    };
  return tool.run(
      [&](MLIRContext &context) { return compile(context, options); });
}
