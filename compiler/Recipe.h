// Which tensor is stored in which scheme: a few lines of text.
//
//   # pattern                scheme  [layers]
//   *.mlp.down_proj.weight   q6_k    layers first/8,last/8,every/3
//   model.embed_*            keep
//   *                        q4_k
//
// The first line that fits a tensor's name decides; `*` stands for anything,
// `?` for a character, `keep` leaves the tensor as the checkpoint has it. A
// scheme is a built-in one or the path of a file, from the recipe's folder.
// `layers` narrows a line to layers: `first/N` and `last/N` are the N-th part
// at an end, `every/N` each N-th, `A` and `A-B` are numbers from 0.
#pragma once

#include "runtime/core/Status.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace lapidary {

class Recipe {
public:
  /// `origin` is named in messages.
  static Result<Recipe> parse(llvm::StringRef text, const std::string &origin);
  /// A recipe that stores all in one scheme.
  static Recipe forAll(llvm::StringRef scheme);

  static constexpr llvm::StringRef keep = "keep";
  /// The scheme for a tensor of a model with `layers` layers; empty when no
  /// line fits.
  llvm::StringRef getScheme(llvm::StringRef tensor, int64_t layers) const;
  /// All schemes that lines name, each once, without `keep`.
  std::vector<std::string> getSchemes() const;
  /// Replaces each scheme but `keep` by what the function gives for it.
  void
  mapSchemes(llvm::function_ref<std::string(llvm::StringRef scheme)> function);

private:
  struct LayerRange {
    enum class Kind { First, Last, Every, Numbers } kind;
    int64_t first, last;
  };
  struct Line {
    std::string pattern;
    std::string scheme;
    std::vector<LayerRange> layers;
  };
  static Result<LayerRange> parseRange(llvm::StringRef text,
                                       const std::string &where);
  static bool contains(const LayerRange &range, int64_t layer, int64_t layers);

  std::vector<Line> lines;
};

/// The number behind "layers." in a tensor's name, or -1.
int64_t getLayerNumber(llvm::StringRef tensor);

} // namespace lapidary
