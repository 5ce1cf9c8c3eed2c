// One conversation in an engine: its KV caches, what it has read, and the way
// back to what a next prompt has in common with it.
#pragma once

#include "runtime/devices/Device.h"
#include "runtime/model/SequenceHistory.h"

#include <memory>
#include <string>

namespace lapidary {

class Engine;

/// Made by an engine, which must live longer. Used by one thread at a time, the
/// one that uses the engine.
class Sequence {
public:
  ~Sequence();
  Sequence(const Sequence &) = delete;
  Sequence &operator=(const Sequence &) = delete;

  /// Tokens in the state.
  int64_t position() const { return past.size(); }
  const SequenceHistory &history() const { return past; }
  /// Back to an empty state; memory of the caches is given back.
  void reset();

  /// Tokens of a whole prompt that the sequence could keep, which `reuse` does:
  /// all but one at most, so that there is something to compute logits from.
  int64_t reusable(const SequenceHistory &prompt) const;
  /// Goes back to what the sequence has in common with the prompt, or as near
  /// to it as it can; gives position(), where the rest of the prompt follows.
  int64_t reuse(const SequenceHistory &prompt);
  /// Goes back to `position`, or to the nearest before it that can be reached:
  /// never into a block of vision tokens, and where rings were overwritten only
  /// to a snapshot or the beginning. Gives position().
  int64_t goBack(int64_t position);
  /// For measurements: from here on the state is one of `position` tokens whose
  /// keys and values are all zero, and the caches have all of their memory.
  Status assume(int64_t position);
  /// A next prompt is likely to go on from the present position, such as a
  /// prompt's end: a snapshot is taken before the rings lose it.
  void mark() { mark(position()); }

  /// Writes the state to a file that `load` of the same bundle takes; see
  /// StateFile.cpp. The file takes its place when all of it is written.
  Status save(const std::string &path) const;
  /// Replaces the state by a file's. NotFound where there is none; InvalidData
  /// for what `save` did not write or what was altered since, InvalidArgument
  /// for another bundle's or one that is longer than the context. After an
  /// error the state is empty.
  Status load(const std::string &path);

private:
  friend class Engine;
  explicit Sequence(Engine &engine) : engine(engine) {}

  /// Before a step to `end`: takes the snapshots that it would make
  /// impossible. The step may then overwrite rings even if it fails.
  void prepare(int64_t end);
  /// After a step.
  void advance(std::span<const int32_t> tokens, std::span<const MediaKey> keys,
               bool generated);
  /// The same for a position that may be still to come.
  void mark(int64_t position);
  int64_t commonPrefix(const SequenceHistory &prompt) const;
  bool inBlock(const SequenceHistory &history, int64_t position) const;
  /// The nearest position to go back to at or before `position`.
  int64_t reachable(int64_t position) const;
  void takeSnapshot(int64_t position);
  Status read(class StateReader &reader);
  /// Copies what the rings hold for a sequence of `position` tokens into `data`
  /// or, with `restore`, from it.
  Status copyRings(int64_t position, uint8_t *data, bool restore);

  Engine &engine;
  std::unique_ptr<SequenceCaches> caches;
  SequenceHistory past;
  /// Rings still hold what every position from here to position() sees.
  int64_t oldest = 0;
  /// Positions that snapshots are wanted of, ascending.
  std::vector<int64_t> marks;
};

} // namespace lapidary
