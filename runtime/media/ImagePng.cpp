// PNG through libpng. libpng reports an error by longjmp, so each call into it
// sits in a function that has no object with a destructor; what must be freed
// belongs to the PngReader outside of them.
#include "runtime/media/ImageFormats.h"

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <png.h>

using namespace lapidary;

namespace {

class PngReader {
public:
  explicit PngReader(std::span<const uint8_t> bytes) : bytes(bytes) {}
  PngReader(const PngReader &) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }

  /// Reads up to the first row and asks for 8-bit RGB.
  bool readHeader();
  /// The bytes that the file's rows have before they become RGB.
  uint64_t storedBytes() const {
    return uint64_t(storedRowBytes + 1) * uint64_t(height);
  }
  bool isRgbRow() const { return rowBytes == size_t(width) * 3; }
  bool readRows(uint8_t *rgb);

  uint32_t width = 0;
  uint32_t height = 0;
  char message[200] = "libpng could not be set up";

private:
  static void onRead(png_structp png, png_bytep out, size_t count);
  [[noreturn]] static void onError(png_structp png, png_const_charp text);
  static void onWarning(png_structp, png_const_charp) {}

  std::span<const uint8_t> bytes;
  size_t position = 0;
  size_t storedRowBytes = 0;
  size_t rowBytes = 0;
  int passes = 1;
  png_structp png = nullptr;
  png_infop info = nullptr;
};

void PngReader::onRead(png_structp png, png_bytep out, size_t count) {
  auto *reader = static_cast<PngReader *>(png_get_io_ptr(png));
  if (count > reader->bytes.size() - reader->position)
    png_error(png, "the data is truncated");
  std::memcpy(out, reader->bytes.data() + reader->position, count);
  reader->position += count;
}

void PngReader::onError(png_structp png, png_const_charp text) {
  auto *reader = static_cast<PngReader *>(png_get_error_ptr(png));
  std::snprintf(reader->message, sizeof reader->message, "%s", text);
  png_longjmp(png, 1);
}

bool PngReader::readHeader() {
  png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, onError, onWarning);
  if (!png)
    return false;
  info = png_create_info_struct(png);
  if (!info)
    return false;
  if (setjmp(png_jmpbuf(png)))
    return false;
  // Our own limit speaks instead of libpng's, with the size in its message.
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_read_fn(png, this, onRead);
  png_read_info(png, info);
  width = png_get_image_width(png, info);
  height = png_get_image_height(png, info);
  storedRowBytes = png_get_rowbytes(png, info);
  png_set_strip_16(png);
  int type = png_get_color_type(png, info);
  if (type == PNG_COLOR_TYPE_PALETTE)
    png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY)
    png_set_expand_gray_1_2_4_to_8(png);
  if (type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA)
    png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  rowBytes = png_get_rowbytes(png, info);
  return true;
}

bool PngReader::readRows(uint8_t *rgb) {
  if (setjmp(png_jmpbuf(png)))
    return false;
  for (int pass = 0; pass < passes; ++pass)
    for (uint32_t y = 0; y < height; ++y)
      png_read_row(png, rgb + size_t(y) * rowBytes, nullptr);
  return true;
}

/// True for a signature followed by an IHDR; its sizes are then in `sizes`.
/// libpng refuses a size of 0 before it tells us which one.
bool peekSize(std::span<const uint8_t> bytes, uint32_t sizes[2]) {
  if (bytes.size() < 24 || std::memcmp(bytes.data() + 12, "IHDR", 4) != 0)
    return false;
  sizes[0] = png_get_uint_32(bytes.data() + 16);
  sizes[1] = png_get_uint_32(bytes.data() + 20);
  return true;
}

} // namespace

Result<Image> lapidary::decodePng(const ImageSource &source) {
  if (uint32_t sizes[2]; peekSize(source.bytes, sizes)) {
    Status size = checkImageSize(source, sizes[0], sizes[1]);
    if (!size.ok())
      return size;
  }
  PngReader reader(source.bytes);
  if (!reader.readHeader())
    return invalidData(imageMessage(source, "PNG", reader.message));
  Status size = checkImageSize(source, reader.width, reader.height);
  if (!size.ok())
    return size;
  // Deflate makes at most 1032 bytes of one: fewer bytes than that cannot hold
  // the picture, and need no memory to find out.
  if (reader.storedBytes() / 1032 > source.bytes.size())
    return invalidData(imageMessage(
        source, "PNG",
        "the data is truncated: " + std::to_string(source.bytes.size()) +
            " bytes cannot hold " + std::to_string(reader.width) + "x" +
            std::to_string(reader.height) + " pixels"));
  if (!reader.isRgbRow())
    return internalError(
        imageMessage(source, "PNG", "the pixels could not be made 8-bit RGB"));
  Image image;
  image.width = static_cast<int32_t>(reader.width);
  image.height = static_cast<int32_t>(reader.height);
  image.rgb.resize(size_t(reader.width) * reader.height * 3);
  if (!reader.readRows(image.rgb.data()))
    return invalidData(imageMessage(source, "PNG", reader.message));
  return image;
}
