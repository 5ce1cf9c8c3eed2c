// A decoded picture: 8-bit RGB rows. PNG, JPEG and WebP are told apart by
// their content, never by a file's name.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

struct Image {
  int32_t width = 0;
  int32_t height = 0;
  /// width * height * 3 bytes: rows from the top, red, green, blue.
  std::vector<uint8_t> rgb;
};

/// The most pixels an image may have, and the longest side: a file of a few
/// bytes can claim any size, and somebody has to pay for the memory.
inline constexpr int64_t maxImagePixels = int64_t(64) << 20;
inline constexpr int32_t maxImageSide = 1'000'000;

/// Decodes a PNG, JPEG or WebP file that lies in memory. Grey and palette
/// pictures are expanded, 16-bit ones keep their high byte, alpha is dropped
/// (not blended), CMYK is converted without a colour profile, and an EXIF
/// orientation is not applied, all as the reference does. Of an animation the
/// first picture is taken. `origin` is what error messages call the bytes.
Result<Image> decodeImage(std::span<const uint8_t> bytes,
                          std::string_view origin,
                          int64_t maxPixels = maxImagePixels);

/// decodeImage of a file's content.
Result<Image> readImage(const std::string &path);

} // namespace lapidary
