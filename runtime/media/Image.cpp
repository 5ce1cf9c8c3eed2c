// Tells picture formats apart by their first bytes and hands them to the
// decoder of the format; the limits on a picture's size are checked here.
#include "runtime/media/ImageFormats.h"
#include "runtime/media/MediaFile.h"

#include <algorithm>
#include <cstring>
#include <new>

using namespace lapidary;

namespace {

bool startsWith(std::span<const uint8_t> bytes, size_t offset,
                std::string_view magic) {
  return bytes.size() >= offset + magic.size() &&
         std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
}

/// What the bytes are, when they are something that people pass by mistake.
std::string guessContent(std::span<const uint8_t> bytes) {
  if (startsWith(bytes, 0, "GIF8"))
    return "a GIF (pass it as a video, or convert it to PNG)";
  if (startsWith(bytes, 0, "BM"))
    return "a BMP image (convert it to PNG)";
  if (startsWith(bytes, 0, "II*") ||
      startsWith(bytes, 0, std::string_view("MM\0*", 4)))
    return "a TIFF image (convert it to PNG)";
  if (startsWith(bytes, 0, "%PDF"))
    return "a PDF (convert its pages to PNG)";
  if (startsWith(bytes, 4, "ftyp"))
    return "an HEIC, AVIF or MP4 file";
  bool text = true;
  for (uint8_t byte : bytes.first(std::min<size_t>(bytes.size(), 64)))
    text &= byte >= 0x20 || byte == '\n' || byte == '\r' || byte == '\t';
  return text ? "text" : "another kind of data";
}

} // namespace

std::string lapidary::imageMessage(const ImageSource &source,
                                   std::string_view format,
                                   std::string_view text) {
  std::string message(format);
  message += message.empty() ? "image '" : " image '";
  message += source.origin;
  message += "': ";
  message += text;
  return message;
}

Status lapidary::checkImageSize(const ImageSource &source, int64_t width,
                                int64_t height) {
  std::string size = std::to_string(width) + "x" + std::to_string(height);
  if (width <= 0 || height <= 0)
    return invalidData(imageMessage(
        source, "", "expected at least one pixel, found a size of " + size));
  if (width > maxImageSide || height > maxImageSide ||
      width > source.maxPixels / height)
    return invalidData(imageMessage(
        source, "",
        "a size of " + size + " is over the limit of " +
            std::to_string(source.maxPixels) + " pixels (" +
            std::to_string(source.maxPixels >> 20) + " Mpixel) or of " +
            std::to_string(maxImageSide) + " a side; scale the image down"));
  return {};
}

Result<Image> lapidary::decodeImage(std::span<const uint8_t> bytes,
                                    std::string_view origin,
                                    int64_t maxPixels) {
  ImageSource source{bytes, origin, maxPixels};
  if (bytes.empty())
    return invalidData(imageMessage(source, "", "there are no bytes"));
  try {
    if (startsWith(bytes, 0, "\x89PNG\r\n\x1a\n"))
      return decodePng(source);
    if (startsWith(bytes, 0, "\xff\xd8\xff"))
      return decodeJpeg(source);
    if (startsWith(bytes, 0, "RIFF") && startsWith(bytes, 8, "WEBP"))
      return decodeWebp(source);
  } catch (const std::bad_alloc &) {
    return outOfMemory(imageMessage(source, "", "no memory for its pixels"));
  }
  return invalidData(imageMessage(
      source, "", "expected PNG, JPEG or WebP, found " + guessContent(bytes)));
}

Result<Image> lapidary::readImage(const std::string &path) {
  std::vector<uint8_t> bytes = LAPIDARY_TRY(readMediaFile(path, "image"));
  return decodeImage(bytes, path);
}
