// What the parts of bundle validation share: checks of names, numbers and
// segment indices, each with a message of one form.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/core/Text.h"
#include "runtime/schema/bundle_generated.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// Tokens that one step may have, of any entry point.
inline constexpr int64_t maxStepTokens = 1 << 20;
/// Elements of a tensor or binding.
inline constexpr int64_t maxElements = int64_t(1) << 40;

/// The part of validateProgram that is in TargetValidation.cpp: targets with
/// their variants, kernels and entry points. Needs a model, segments, weights
/// and caches that were checked.
Status validateTargets(const schema::Program &program);

inline std::string quote(const flatbuffers::String *text) {
  return concat("\"", text->string_view(), "\"");
}

/// A name reaches messages, terminals and the dynamic linker: it must be short
/// and free of control characters.
inline Status checkName(const flatbuffers::String *text,
                        std::string_view what) {
  constexpr size_t maxBytes = 512;
  std::string_view name = text->string_view();
  if (name.empty() || name.size() > maxBytes)
    return invalidData(concat(what, " has a name of ", name.size(),
                              " bytes, expected 1 to ", maxBytes));
  for (unsigned char byte : name)
    if (byte < 0x20 || byte == 0x7f)
      return invalidData(
          concat(what, " has a name with the control character ", int(byte)));
  return {};
}

/// Names of one kind, each of which may stand once.
class UniqueNames {
public:
  void add(const flatbuffers::String *name) {
    names.push_back(name->string_view());
  }
  Status check(std::string_view what) {
    std::sort(names.begin(), names.end());
    auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
      return invalidData(
          concat("two ", what, " have the name \"", *twice, "\""));
    return {};
  }

private:
  std::vector<std::string_view> names;
};

inline Status checkRange(int64_t value, int64_t low, int64_t high,
                         std::string_view what) {
  if (value < low || value > high)
    return invalidData(
        concat(what, " is ", value, ", expected ", low, " to ", high));
  return {};
}

/// The FlatBuffers verifier looks at the alignment of a vector's length (4
/// bytes) but not at that of its elements.
template <typename T>
Status checkAlignment(const flatbuffers::Vector<T> *vector,
                      const std::string &what) {
  if (reinterpret_cast<uintptr_t>(vector->Data()) % alignof(int64_t) != 0)
    return invalidData(concat(what,
                              " is malformed: a list in it is not aligned to ",
                              alignof(int64_t), " bytes"));
  return {};
}

inline Status checkSegmentIndex(const schema::Program &program, uint32_t index,
                                schema::SegmentKind kind,
                                const std::string &what) {
  if (index >= program.segments()->size())
    return invalidData(concat(what, " is in segment ", index,
                              ", but the program has ",
                              program.segments()->size(), " segments"));
  if (schema::SegmentKind found = program.segments()->Get(index)->kind();
      found != kind)
    return invalidData(concat(what, " is in segment ", index, " of kind ",
                              schema::EnumNameSegmentKind(found), ", expected ",
                              schema::EnumNameSegmentKind(kind)));
  return {};
}

} // namespace lapidary
