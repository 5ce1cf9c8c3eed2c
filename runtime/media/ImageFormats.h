// What Image.cpp shares with the decoder of each format: the size check that
// comes before any allocation, and the decoders themselves.
#pragma once

#include "runtime/media/Image.h"

namespace lapidary {

/// What a decoder is given beside the bytes.
struct ImageSource {
  std::span<const uint8_t> bytes;
  std::string_view origin;
  int64_t maxPixels;
};

/// Refuses an empty picture and one over the limits, naming the size found.
Status checkImageSize(const ImageSource &source, int64_t width, int64_t height);

/// "PNG image 'cat.png': text", the form of every message about a picture.
std::string imageMessage(const ImageSource &source, std::string_view format,
                         std::string_view text);

Result<Image> decodePng(const ImageSource &source);
Result<Image> decodeJpeg(const ImageSource &source);
Result<Image> decodeWebp(const ImageSource &source);

} // namespace lapidary
