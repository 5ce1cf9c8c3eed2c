// The companion's guesses, and those of the prompt itself.
#include "runtime/model/Drafter.h"

#include <algorithm>
#include <new>

namespace lapidary {
namespace {

/// Tokens that must agree: two could be anywhere, so four are looked for first.
constexpr size_t longestMatch = 4, shortestMatch = 2;

class CompanionDrafter : public Drafter {
public:
  explicit CompanionDrafter(Engine &engine) : engine(engine) {}
  Status draft(std::span<Draft> drafts) override {
    return engine.draft(drafts);
  }
  bool isFree() const override { return false; }

private:
  Engine &engine;
};

class LookupDrafter : public Drafter {
public:
  Status draft(std::span<Draft> drafts) override {
    try {
      for (Draft &draft : drafts)
        draft.tokens = lookUp(draft.sequence->history().tokens(), draft.token,
                              draft.count);
    } catch (const std::bad_alloc &) {
      return outOfMemory("no memory for drafts");
    }
    return {};
  }
  bool isFree() const override { return true; }
};

} // namespace

std::vector<int32_t> lookUp(std::span<const int32_t> history, int32_t token,
                            int64_t count) {
  for (size_t length = longestMatch; length >= shortestMatch; --length) {
    // The token and `length - 1` before it.
    size_t before = length - 1;
    if (history.size() <= before)
      continue;
    std::span<const int32_t> wanted = history.last(before);
    for (size_t end = history.size() - 1; end-- > before;) {
      if (history[end] != token ||
          !std::ranges::equal(history.subspan(end - before, before), wanted))
        continue;
      auto rest = history.subspan(end + 1);
      rest = rest.first(std::min(rest.size(), static_cast<size_t>(count)));
      return {rest.begin(), rest.end()};
    }
  }
  return {};
}

std::unique_ptr<Drafter> Drafter::create(Engine &engine) {
  if (engine.hasCompanion())
    return std::make_unique<CompanionDrafter>(engine);
  return std::make_unique<LookupDrafter>();
}

} // namespace lapidary
