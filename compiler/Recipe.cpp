// Parses recipes and looks tensors up in them.
#include "compiler/Recipe.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/GlobPattern.h"

using namespace lapidary;
using llvm::StringRef;

static constexpr size_t maxLines = 10000;

int64_t lapidary::getLayerNumber(StringRef tensor) {
  size_t at = tensor.find("layers.");
  int64_t number = -1;
  if (at == StringRef::npos || tensor.substr(at + StringRef("layers.").size())
                                   .split('.')
                                   .first.getAsInteger(10, number))
    return -1;
  return number;
}

Result<Recipe::LayerRange> Recipe::parseRange(StringRef text,
                                              const std::string &where) {
  auto error = [&] {
    return invalidArgument(where +
                           ": expected first/N, last/N, every/N, A or "
                           "A-B as layers, found '" +
                           text.str() + "'");
  };
  auto number = [&](StringRef digits, int64_t &value, int64_t least) {
    return !digits.getAsInteger(10, value) && value >= least;
  };
  LayerRange range = {LayerRange::Kind::Numbers, 0, 0};
  auto [head, tail] = text.split('/');
  if (text.contains('/')) {
    if (head == "first")
      range.kind = LayerRange::Kind::First;
    else if (head == "last")
      range.kind = LayerRange::Kind::Last;
    else if (head == "every")
      range.kind = LayerRange::Kind::Every;
    else
      return error();
    if (!number(tail, range.first, 1))
      return error();
    return range;
  }
  auto [from, to] = text.split('-');
  if (!number(from, range.first, 0) ||
      !number(text.contains('-') ? to : from, range.last, range.first))
    return error();
  return range;
}

Result<Recipe> Recipe::parse(StringRef text, const std::string &origin) {
  Recipe recipe;
  llvm::SmallVector<StringRef> rows;
  text.split(rows, '\n');
  for (auto [index, row] : llvm::enumerate(rows)) {
    std::string where = origin + ":" + std::to_string(index + 1);
    llvm::SmallVector<StringRef> words;
    for (StringRef word : llvm::split(row.split('#').first.trim(), ' '))
      for (StringRef part : llvm::split(word, '\t'))
        if (!part.trim().empty())
          words.push_back(part.trim());
    if (words.empty())
      continue;
    bool hasLayers = words.size() == 4 && words[2] == "layers";
    if (words.size() != 2 && !hasLayers)
      return invalidArgument(where +
                             ": expected 'PATTERN SCHEME' or 'PATTERN SCHEME "
                             "layers RANGES', found '" +
                             row.trim().str() + "'");
    if (recipe.lines.size() == maxLines)
      return invalidArgument(where + ": expected at most " +
                             std::to_string(maxLines) + " lines");
    auto glob = llvm::GlobPattern::create(words[0]);
    if (!glob)
      return invalidArgument(where + ": " + llvm::toString(glob.takeError()));
    Line line = {words[0].str(), words[1].str(), {}};
    if (hasLayers)
      for (StringRef range : llvm::split(words[3], ','))
        line.layers.push_back(LAPIDARY_TRY(parseRange(range, where)));
    recipe.lines.push_back(std::move(line));
  }
  if (recipe.lines.empty())
    return invalidArgument(origin + ": expected at least one line 'PATTERN "
                                    "SCHEME', found none");
  return recipe;
}

Recipe Recipe::forAll(StringRef scheme) {
  Recipe recipe;
  recipe.lines.push_back({"*", scheme.str(), {}});
  return recipe;
}

bool Recipe::contains(const LayerRange &range, int64_t layer, int64_t layers) {
  switch (range.kind) {
  case LayerRange::Kind::First:
    return layer < layers / range.first;
  case LayerRange::Kind::Last:
    return layer >= layers - layers / range.first;
  case LayerRange::Kind::Every:
    return layer % range.first == range.first - 1;
  case LayerRange::Kind::Numbers:
    return layer >= range.first && layer <= range.last;
  }
  return false;
}

StringRef Recipe::getScheme(StringRef tensor, int64_t layers) const {
  int64_t layer = getLayerNumber(tensor);
  for (const Line &line : lines) {
    if (!llvm::cantFail(llvm::GlobPattern::create(line.pattern)).match(tensor))
      continue;
    if (line.layers.empty() ||
        (layer >= 0 && llvm::any_of(line.layers, [&](const LayerRange &range) {
           return contains(range, layer, layers);
         })))
      return line.scheme;
  }
  return {};
}

std::vector<std::string> Recipe::getSchemes() const {
  std::vector<std::string> schemes;
  for (const Line &line : lines)
    if (line.scheme != keep && !llvm::is_contained(schemes, line.scheme))
      schemes.push_back(line.scheme);
  return schemes;
}

void Recipe::mapSchemes(
    llvm::function_ref<std::string(StringRef scheme)> function) {
  for (Line &line : lines)
    if (line.scheme != keep)
      line.scheme = function(line.scheme);
}
