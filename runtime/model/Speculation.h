// Steps that check guesses: an answer's next token goes into a step with drafts
// of what follows it, every choice is made from the model's own logits, and the
// sequence goes back to the first draft that was not chosen. A choice is the
// same as without drafts, so samplers and whatever constrains them go on from
// token to token and never back.
#pragma once

#include "runtime/model/Drafter.h"
#include "runtime/model/Generator.h"
#include "runtime/model/StepCosts.h"

#include <map>
#include <memory>

namespace lapidary {

/// An answer on its way through steps.
struct Lane {
  Sequence *sequence = nullptr;
  Answer *answer = nullptr;
  /// GenerateOptions::draft and ::maxTokens.
  int32_t draft = 0;
  int64_t maxTokens = 0;
  /// The token to decode next and the drafts behind it.
  std::vector<int32_t> tokens = {};
  /// What the last layer gave at the sequence's last position, where a
  /// companion needs it.
  std::vector<float> hidden = {};

  Acceptance acceptance = {};
  /// Steps without a draft since the last one, and after how many one is tried.
  int64_t idle = 0, patience = 0;

  /// All rows of the step belong to the answer.
  Work work() const;
};

/// What the answers of one engine share: who drafts, and what it is worth.
class Speculation {
public:
  explicit Speculation(Engine &engine)
      : engine(engine), drafter(Drafter::create(engine)) {}

  /// An answer begins behind a prompt whose last step was `work`. False: it has
  /// ended already.
  Result<bool> begin(Lane &lane, const Work &work);
  /// Puts drafts behind the tokens of lanes that are to be in one step, which
  /// has room for `room` more tokens than one a lane. `alone`: the step has
  /// nothing else, so that its time says what steps of its size take.
  Status propose(std::span<Lane *const> lanes, int64_t room, bool alone);
  /// Engine::step, timed.
  Status step(std::span<Work> works);
  /// Chooses from a step's logits, as long as the drafts are what is chosen.
  /// False: the answer has ended.
  Result<bool> accept(Lane &lane, const Work &work);

private:
  void chooseWidths(std::span<Lane *const> lanes,
                    std::span<const int64_t> limits, int64_t room, bool alone,
                    std::vector<int64_t> &widths);
  /// Of lanes that leave it to us how many.
  void chooseBest(std::span<Lane *const> lanes, std::span<const int64_t> limits,
                  int64_t room, bool alone, std::vector<int64_t> &widths);
  void maximizeRate(std::span<Lane *const> lanes,
                    std::span<const int64_t> limits, int64_t room,
                    std::vector<int64_t> &widths);
  int64_t limit(const Lane &lane, int64_t room) const;
  Status draft(std::span<Lane *const> lanes, std::span<const int64_t> widths);
  void keepHidden(Lane &lane, const Work &work, size_t row);

  Engine &engine;
  std::unique_ptr<Drafter> drafter;
  StepCosts costs;
  /// How often steps of so many tokens that are not known were tried.
  std::map<int64_t, int32_t> explored;
  /// Seconds of one token of all drafts of a step.
  double draftSeconds = 0;
  bool draftsMeasured = false;
  Acceptance acceptance;
  /// Steps with drafts since the last one without, and how many there may be.
  static constexpr int64_t leastPlainPatience = 4;
  int64_t sincePlain = 0, plainPatience = leastPlainPatience;
};

} // namespace lapidary
