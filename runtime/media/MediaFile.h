// Reads a media file into memory, with the checks that all of them need.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lapidary {

/// No picture or sound within the limits needs a larger file: 64 Mpixel of
/// 16-bit RGBA are 512 MiB before compression.
inline constexpr int64_t maxMediaFileBytes = int64_t(1) << 30;

/// The bytes of a regular file. `what` is what messages call it ("image").
Result<std::vector<uint8_t>> readMediaFile(const std::string &path,
                                           const char *what);

} // namespace lapidary
