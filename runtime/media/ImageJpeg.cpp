// JPEG through libjpeg-turbo. libjpeg reports an error by longjmp, so each call
// into it sits in a function that has no object with a destructor; what must be
// freed belongs to the JpegReader outside of them.
#include "runtime/media/ImageFormats.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

// jpeglib.h needs size_t and FILE declared before it.
#include <jpeglib.h>

#include <jerror.h>

using namespace lapidary;

namespace {

/// More scans than any encoder writes; each one costs a pass over the picture,
/// so that a small file of many scans could run for hours.
constexpr int maxScans = 100;

class JpegReader {
public:
  explicit JpegReader(std::span<const uint8_t> bytes);
  JpegReader(const JpegReader &) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }

  bool readHeader();
  bool start();
  /// Reads the next row into `row` (width * components bytes).
  bool readRow(uint8_t *row);
  /// libjpeg makes up grey pixels where data is missing: a warning, but ours
  /// is an error. A file that only lacks its end marker is whole.
  bool isTruncated() const { return ended && (multipleScans || starved); }

  jpeg_decompress_struct jpeg = {};
  char message[JMSG_LENGTH_MAX] = "libjpeg could not be set up";

private:
  static JpegReader &of(j_common_ptr jpeg) {
    return *static_cast<JpegReader *>(jpeg->client_data);
  }
  [[noreturn]] static void onError(j_common_ptr jpeg);
  static void onMessage(j_common_ptr jpeg, int level);
  static void onProgress(j_common_ptr jpeg);
  static boolean onFill(j_decompress_ptr jpeg);
  static void onSkip(j_decompress_ptr jpeg, long count);

  jpeg_error_mgr errors = {};
  jpeg_source_mgr input = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf failed;
  bool ended = false;
  bool starved = false;
  bool multipleScans = false;
};

void JpegReader::onError(j_common_ptr jpeg) {
  JpegReader &reader = of(jpeg);
  jpeg->err->format_message(jpeg, reader.message);
  std::longjmp(reader.failed, 1);
}

void JpegReader::onMessage(j_common_ptr jpeg, int level) {
  if (level < 0 && jpeg->err->msg_code == JWRN_HIT_MARKER)
    of(jpeg).starved = true;
}

void JpegReader::onProgress(j_common_ptr jpeg) {
  JpegReader &reader = of(jpeg);
  if (reader.jpeg.input_scan_number <= maxScans)
    return;
  std::snprintf(reader.message, sizeof reader.message,
                "more than %d scans, which no encoder writes", maxScans);
  std::longjmp(reader.failed, 1);
}

boolean JpegReader::onFill(j_decompress_ptr jpeg) {
  // An end marker in place of what is missing, so that decoding ends.
  static const JOCTET endMarker[2] = {0xff, JPEG_EOI};
  of(reinterpret_cast<j_common_ptr>(jpeg)).ended = true;
  jpeg->src->next_input_byte = endMarker;
  jpeg->src->bytes_in_buffer = sizeof endMarker;
  return TRUE;
}

void JpegReader::onSkip(j_decompress_ptr jpeg, long count) {
  if (count <= 0)
    return;
  if (static_cast<size_t>(count) > jpeg->src->bytes_in_buffer) {
    onFill(jpeg);
    return;
  }
  jpeg->src->next_input_byte += count;
  jpeg->src->bytes_in_buffer -= static_cast<size_t>(count);
}

JpegReader::JpegReader(std::span<const uint8_t> bytes) {
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = onError;
  errors.emit_message = onMessage;
  jpeg.client_data = this;
  input.next_input_byte = bytes.data();
  input.bytes_in_buffer = bytes.size();
  input.init_source = [](j_decompress_ptr) {};
  input.fill_input_buffer = onFill;
  input.skip_input_data = onSkip;
  input.resync_to_restart = jpeg_resync_to_restart;
  input.term_source = [](j_decompress_ptr) {};
  progress.progress_monitor = onProgress;
}

bool JpegReader::readHeader() {
  if (setjmp(failed))
    return false;
  jpeg_create_decompress(&jpeg);
  jpeg.src = &input;
  jpeg.progress = &progress;
  if (jpeg_read_header(&jpeg, TRUE) != JPEG_HEADER_OK)
    return false;
  return true;
}

bool JpegReader::start() {
  if (setjmp(failed))
    return false;
  // libjpeg turns grey, YCbCr and RGB into RGB, and YCCK into CMYK.
  jpeg.out_color_space = jpeg.num_components == 4 ? JCS_CMYK : JCS_RGB;
  multipleScans = jpeg_has_multiple_scans(&jpeg);
  return jpeg_start_decompress(&jpeg);
}

bool JpegReader::readRow(uint8_t *row) {
  if (setjmp(failed))
    return false;
  JSAMPROW rows[1] = {row};
  return jpeg_read_scanlines(&jpeg, rows, 1) == 1;
}

/// Files hold CMYK inverted (Adobe's way): 255 is no ink, so that a colour is
/// its channel times black's.
void convertCmykRow(const uint8_t *cmyk, uint8_t *rgb, int32_t width) {
  for (int32_t x = 0; x < width; ++x, cmyk += 4, rgb += 3)
    for (int channel = 0; channel < 3; ++channel)
      rgb[channel] =
          static_cast<uint8_t>((cmyk[channel] * cmyk[3] + 127) / 255);
}

} // namespace

Result<Image> lapidary::decodeJpeg(const ImageSource &source) {
  JpegReader reader(source.bytes);
  auto fail = [&](std::string_view text) {
    return invalidData(imageMessage(source, "JPEG", text));
  };
  if (!reader.readHeader())
    return fail(reader.message);
  Status size =
      checkImageSize(source, reader.jpeg.image_width, reader.jpeg.image_height);
  if (!size.ok())
    return size;
  auto width = static_cast<int32_t>(reader.jpeg.image_width);
  auto height = static_cast<int32_t>(reader.jpeg.image_height);
  int64_t pixels = int64_t(width) * height;
  // A block of 64 pixels takes a bit or more. Small pictures may claim what
  // they like; the memory of a large one has to be earned.
  if (pixels > (4 << 20) && pixels / 1024 > int64_t(source.bytes.size()))
    return fail(
        "the data is truncated: " + std::to_string(source.bytes.size()) +
        " bytes cannot hold " + std::to_string(width) + "x" +
        std::to_string(height) + " pixels");
  if (!reader.start())
    return fail(reader.message);
  Image image{width, height, std::vector<uint8_t>(size_t(pixels) * 3)};
  bool isCmyk = reader.jpeg.output_components == 4;
  std::vector<uint8_t> cmyk(isCmyk ? size_t(width) * 4 : 0);
  for (int32_t y = 0; y < height; ++y) {
    uint8_t *row = image.rgb.data() + size_t(y) * size_t(width) * 3;
    if (!reader.readRow(isCmyk ? cmyk.data() : row))
      return fail(reader.message);
    if (reader.isTruncated())
      return fail("the data is truncated at row " + std::to_string(y) + " of " +
                  std::to_string(height));
    if (isCmyk)
      convertCmykRow(cmyk.data(), row, width);
  }
  return image;
}
