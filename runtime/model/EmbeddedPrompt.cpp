// What a prompt's media are to a sequence: keys, by which it knows again what
// it has seen, and embeddings of what it has not.
#include "runtime/core/Text.h"
#include "runtime/model/Generator.h"
#include "runtime/model/Timer.h"

#include <algorithm>
// The state of a stream is laid out in the header only for those who ask.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace lapidary {
namespace {

/// Soft tokens of an item; 0 where the model cannot take it, of which embedding
/// will say why.
size_t countRows(const schema::Model &model, const MediaInput &item) {
  size_t values = 0, row = 0;
  if (!item.embeddings.empty()) {
    values = item.embeddings.size();
    row = static_cast<size_t>(model.hidden());
  } else if (!item.frames.empty() && model.audio()) {
    values = item.frames.size();
    row = static_cast<size_t>(model.audio()->samples_per_token());
  } else if (model.vision()) {
    auto side = static_cast<size_t>(model.vision()->patch_size());
    values = item.patches.size();
    row = side * side * 3;
  }
  return row > 0 ? values / row : 0;
}

/// Appends a key for each of the item's `rows`.
void addKeys(const MediaInput &item, size_t rows, std::vector<MediaKey> &keys) {
  if (!item.embeddings.empty()) {
    size_t hidden = item.embeddings.size() / std::max<size_t>(rows, 1);
    for (size_t row = 0; row < rows; ++row)
      keys.push_back(
          hashEmbedding(item.embeddings.subspan(row * hidden, hidden)));
    return;
  }
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  for (std::span<const float> values : {item.patches, item.frames})
    XXH3_128bits_update(&state, values.data(), values.size_bytes());
  XXH3_128bits_update(&state, item.positions.data(),
                      item.positions.size_bytes());
  XXH128_hash_t hash = XXH3_128bits_digest(&state);
  for (size_t row = 0; row < rows; ++row) {
    const uint64_t place[] = {hash.low64, hash.high64, row};
    XXH128_hash_t key = XXH3_128bits(place, sizeof(place));
    keys.push_back({key.low64, key.high64});
  }
}

/// The keys of all soft tokens, once the items are known to be as many.
Result<std::vector<MediaKey>> checkMedia(const Engine &engine,
                                         const GenerateInput &input) {
  const schema::Model &model = *engine.bundle().program().model();
  std::vector<MediaKey> keys;
  for (size_t index = 0; index < input.media.size(); ++index) {
    const MediaInput &item = input.media[index];
    if (int(!item.patches.empty()) + int(!item.frames.empty()) +
            int(!item.embeddings.empty()) !=
        1)
      return invalidArgument(
          concat("media item ", index,
                 " must have patches, frames or embeddings, and one of them"));
    addKeys(item, countRows(model, item), keys);
  }
  return keys;
}

} // namespace

Result<SequenceHistory> describeInput(const Engine &engine,
                                      const GenerateInput &input) {
  std::vector<MediaKey> keys = LAPIDARY_TRY(checkMedia(engine, input));
  SequenceHistory history;
  size_t soft = 0;
  for (int32_t token : input.tokens) {
    if (!engine.isSoft(token))
      history.append(token);
    else if (soft++ < keys.size())
      history.append(token, keys[soft - 1]);
  }
  if (soft != keys.size())
    return invalidArgument(concat("the prompt has ", soft,
                                  " soft tokens, but its media have ",
                                  keys.size(), " embeddings"));
  return history;
}

Result<EmbeddedPrompt> embedPrompt(Engine &engine, Sequence &sequence,
                                   const GenerateInput &input) {
  const schema::Model &model = *engine.bundle().program().model();
  Timer timer;
  EmbeddedPrompt result;
  size_t skip = 0;
  if (input.whole) {
    SequenceHistory history = LAPIDARY_TRY(describeInput(engine, input));
    result.reusedTokens = sequence.reuse(history);
    skip = sequence.history().softTokens().size();
  }
  result.prompt.tokens =
      input.tokens.subspan(static_cast<size_t>(result.reusedTokens));
  std::vector<MediaKey> keys = LAPIDARY_TRY(checkMedia(engine, input));
  size_t hidden = static_cast<size_t>(model.hidden());
  for (size_t rows = 0; const MediaInput &item : input.media) {
    size_t first = rows;
    rows += countRows(model, item);
    if (input.whole && rows <= skip)
      continue;
    std::span<const float> embeddings = item.embeddings;
    if (embeddings.empty()) {
      // The vector's own memory stays where it is when `storage` grows.
      result.storage.push_back(
          item.frames.empty()
              ? LAPIDARY_TRY(engine.embedImage(item.patches, item.positions))
              : LAPIDARY_TRY(engine.embedAudio(item.frames)));
      embeddings = result.storage.back();
    }
    // A sound may be cut in the middle.
    result.prompt.media.push_back(
        embeddings.subspan(skip > first ? (skip - first) * hidden : 0));
  }
  result.prompt.keys.assign(keys.begin() + static_cast<int64_t>(skip),
                            keys.end());
  result.embedSeconds = input.media.empty() ? 0 : timer.seconds();
  return result;
}

} // namespace lapidary
