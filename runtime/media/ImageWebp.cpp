// WebP through libwebp; of an animation the first picture, through its demuxer.
#include "runtime/media/ImageFormats.h"

#include <cstring>
#include <memory>
#include <webp/decode.h>
#include <webp/demux.h>

using namespace lapidary;

namespace {

const char *describe(VP8StatusCode code) {
  switch (code) {
  case VP8_STATUS_OK:
    return "no error";
  case VP8_STATUS_OUT_OF_MEMORY:
    return "out of memory";
  case VP8_STATUS_NOT_ENOUGH_DATA:
    return "the data is truncated";
  case VP8_STATUS_UNSUPPORTED_FEATURE:
    return "a feature that libwebp does not know";
  default:
    return "the data is damaged or truncated";
  }
}

Status decodeFirstFrame(const ImageSource &source, Image &image) {
  WebPData data = {source.bytes.data(), source.bytes.size()};
  WebPAnimDecoderOptions options;
  if (!WebPAnimDecoderOptionsInit(&options))
    return internalError(imageMessage(source, "WebP", "libwebp's version"));
  options.color_mode = MODE_RGBA;
  options.use_threads = 0;
  std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder *)> decoder(
      WebPAnimDecoderNew(&data, &options), WebPAnimDecoderDelete);
  uint8_t *rgba = nullptr;
  int timestamp = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp))
    return invalidData(
        imageMessage(source, "WebP", "the animation is damaged or truncated"));
  WebPAnimInfo info;
  if (!WebPAnimDecoderGetInfo(decoder.get(), &info) ||
      info.canvas_width != uint32_t(image.width) ||
      info.canvas_height != uint32_t(image.height))
    return invalidData(imageMessage(
        source, "WebP", "the animation's size is not its header's"));
  size_t pixels = size_t(image.width) * size_t(image.height);
  image.rgb.resize(pixels * 3);
  for (size_t i = 0; i < pixels; ++i)
    std::memcpy(&image.rgb[i * 3], rgba + i * 4, 3);
  return {};
}

} // namespace

Result<Image> lapidary::decodeWebp(const ImageSource &source) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    return internalError(imageMessage(source, "WebP", "libwebp's version"));
  VP8StatusCode code =
      WebPGetFeatures(source.bytes.data(), source.bytes.size(), &config.input);
  if (code != VP8_STATUS_OK)
    return invalidData(imageMessage(source, "WebP", describe(code)));
  Status size = checkImageSize(source, config.input.width, config.input.height);
  if (!size.ok())
    return size;
  Image image;
  image.width = config.input.width;
  image.height = config.input.height;
  if (config.input.has_animation) {
    Status status = decodeFirstFrame(source, image);
    if (!status.ok())
      return status;
    return image;
  }
  image.rgb.resize(size_t(image.width) * size_t(image.height) * 3);
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.rgb.data();
  config.output.u.RGBA.stride = image.width * 3;
  config.output.u.RGBA.size = image.rgb.size();
  code = WebPDecode(source.bytes.data(), source.bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (code != VP8_STATUS_OK)
    return invalidData(imageMessage(source, "WebP", describe(code)));
  return image;
}
