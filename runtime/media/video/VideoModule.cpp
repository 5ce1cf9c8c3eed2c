// Reads an MP4, WebM or GIF file with FFmpeg's libraries. Built as a module of
// its own (liblapidary-video.so) that readVideo loads when it needs it; it
// knows nothing of the runtime but status codes and how frames are sampled.
#include "runtime/media/video/VideoModule.h"
#include "runtime/core/Status.h"
#include "runtime/media/FrameSampling.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

using namespace lapidary;

namespace {

/// The containers that we name; other demuxers, and playlists that would make
/// us open further files or the network, are out of reach.
constexpr const char *containers = "mov,matroska,webm,gif";

/// A decoder that is sent a broken picture may go on for ever; nobody's clip
/// has a day of frames at 60 a second.
constexpr int64_t maxTotalFrames = int64_t(60) * 86400;

std::string describe(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(error, text, sizeof text);
  return text;
}

struct Free {
  void operator()(AVFormatContext *context) const {
    avformat_close_input(&context);
  }
  void operator()(AVCodecContext *context) const {
    avcodec_free_context(&context);
  }
  void operator()(AVPacket *packet) const { av_packet_free(&packet); }
  void operator()(AVFrame *frame) const { av_frame_free(&frame); }
  void operator()(SwsContext *context) const { sws_freeContext(context); }
};
template <typename T> using Owned = std::unique_ptr<T, Free>;

/// One pass over a file.
class Clip {
public:
  explicit Clip(const LapidaryVideoRequest &request) : request(request) {}

  Status open();
  double rate() const;
  /// What the container says, or else its packets counted; an estimate, because
  /// not every packet is a picture. Uses the pass up.
  Result<int64_t> estimateFrames();
  /// Decodes everything and hands out the frames at `indices`; returns how many
  /// frames there were.
  Result<int64_t> decode(const std::vector<int64_t> &indices);

private:
  /// False at the end of the file.
  Result<bool> nextPacket();
  Status receiveFrames(const std::vector<int64_t> &indices);
  Status deliver(double seconds);

  const LapidaryVideoRequest &request;
  Owned<AVFormatContext> format;
  Owned<AVCodecContext> codec;
  Owned<AVPacket> packet{av_packet_alloc()};
  Owned<AVFrame> frame{av_frame_alloc()};
  Owned<SwsContext> scaler;
  std::vector<uint8_t> pixels;
  AVStream *stream = nullptr;
  int64_t decoded = 0;
  size_t delivered = 0;
  int64_t deliveredBytes = 0;
};

Status Clip::open() {
  if (!packet || !frame)
    return outOfMemory("no memory for a frame");
  AVDictionary *options = nullptr;
  av_dict_set(&options, "format_whitelist", containers, 0);
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  AVFormatContext *context = nullptr;
  std::string url = std::string("file:") + request.path;
  int code = avformat_open_input(&context, url.c_str(), nullptr, &options);
  av_dict_free(&options);
  if (code < 0)
    return invalidData("expected an MP4, WebM or GIF file: " + describe(code));
  format.reset(context);
  code = avformat_find_stream_info(context, nullptr);
  if (code < 0)
    return invalidData("damaged or truncated: " + describe(code));
  const AVCodec *decoder = nullptr;
  int index =
      av_find_best_stream(context, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  if (index == AVERROR_DECODER_NOT_FOUND)
    return unsupported("FFmpeg has no decoder for its video stream");
  if (index < 0 ||
      context->streams[index]->disposition & AV_DISPOSITION_ATTACHED_PIC)
    return invalidData("there is no video stream in it");
  for (unsigned i = 0; i < context->nb_streams; ++i)
    if (i != static_cast<unsigned>(index))
      context->streams[i]->discard = AVDISCARD_ALL;
  stream = context->streams[index];
  codec.reset(avcodec_alloc_context3(decoder));
  if (!codec)
    return outOfMemory("no memory for a decoder");
  code = avcodec_parameters_to_context(codec.get(), stream->codecpar);
  if (code < 0)
    return invalidData("damaged stream parameters: " + describe(code));
  codec->max_pixels = request.maxPixels;
  codec->thread_count = 0;
  code = avcodec_open2(codec.get(), decoder, nullptr);
  if (code < 0)
    return invalidData("the decoder does not start: " + describe(code));
  return {};
}

double Clip::rate() const {
  for (AVRational rate : {stream->avg_frame_rate, stream->r_frame_rate})
    if (rate.num > 0 && rate.den > 0)
      return av_q2d(rate);
  return 1; // A single picture has no rate.
}

Result<bool> Clip::nextPacket() {
  while (true) {
    av_packet_unref(packet.get());
    int code = av_read_frame(format.get(), packet.get());
    if (code == AVERROR_EOF)
      return false;
    if (code == AVERROR(EAGAIN))
      continue;
    if (code < 0)
      return invalidData("damaged or truncated after frame " +
                         std::to_string(decoded) + ": " + describe(code));
    if (packet->stream_index != stream->index)
      continue;
    if (packet->flags & AV_PKT_FLAG_CORRUPT)
      return invalidData("damaged or truncated after frame " +
                         std::to_string(decoded));
    return true;
  }
}

Result<int64_t> Clip::estimateFrames() {
  if (stream->nb_frames > 0)
    return int64_t(stream->nb_frames);
  int64_t count = 0;
  while (LAPIDARY_TRY(nextPacket()))
    count += !(packet->flags & AV_PKT_FLAG_DISCARD);
  return count;
}

Status Clip::deliver(double seconds) {
  int width = frame->width, height = frame->height;
  if (width < 1 || height < 1 || width > request.maxPixels / height)
    return invalidData("a frame of " + std::to_string(width) + "x" +
                       std::to_string(height) + " pixels; the limit is " +
                       std::to_string(request.maxPixels) + " pixels");
  deliveredBytes += int64_t(width) * height * 3;
  if (deliveredBytes > request.maxBytes)
    return invalidData("the frames take more than " +
                       std::to_string(request.maxBytes >> 20) +
                       " MiB; take fewer of them, or scale the video down");
  auto pixelFormat = static_cast<AVPixelFormat>(frame->format);
  scaler.reset(sws_getCachedContext(
      scaler.release(), width, height, pixelFormat, width, height,
      AV_PIX_FMT_RGB24, SWS_BILINEAR | SWS_ACCURATE_RND, nullptr, nullptr,
      nullptr));
  if (!scaler)
    return unsupported("frames of a pixel format that FFmpeg cannot convert");
  // Without these the colours of most HD clips are slightly off. Formats that
  // are not YUV refuse them, and need none.
  sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(frame->colorspace),
                           frame->color_range == AVCOL_RANGE_JPEG,
                           sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16,
                           1 << 16);
  // Rows of whole vectors, because swscale may write a little beyond the last
  // pixel of each.
  int stride = (width * 3 + 63) / 64 * 64;
  pixels.resize(size_t(stride) * size_t(height) + 64);
  uint8_t *planes[4] = {pixels.data()};
  int strides[4] = {stride};
  int rows = sws_scale(scaler.get(), frame->data, frame->linesize, 0, height,
                       planes, strides);
  if (rows != height)
    return internalError("FFmpeg could not convert a frame to RGB");
  request.onFrame(request.user, width, height, pixels.data(), stride, seconds);
  return {};
}

Status Clip::receiveFrames(const std::vector<int64_t> &indices) {
  while (true) {
    int code = avcodec_receive_frame(codec.get(), frame.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
      return {};
    if (code < 0)
      return invalidData("damaged or truncated after frame " +
                         std::to_string(decoded) + ": " + describe(code));
    if (delivered < indices.size() && indices[delivered] == decoded) {
      LAPIDARY_TRY(deliver(double(decoded) / rate()));
      ++delivered;
    }
    if (++decoded > maxTotalFrames)
      return invalidData("more than " + std::to_string(maxTotalFrames) +
                         " frames; cut it into shorter pieces");
  }
}

Result<int64_t> Clip::decode(const std::vector<int64_t> &indices) {
  while (LAPIDARY_TRY(nextPacket())) {
    int code = avcodec_send_packet(codec.get(), packet.get());
    if (code < 0)
      return invalidData("damaged or truncated after frame " +
                         std::to_string(decoded) + ": " + describe(code));
    LAPIDARY_TRY(receiveFrames(indices));
  }
  if (int code = avcodec_send_packet(codec.get(), nullptr); code < 0)
    return invalidData("the decoder does not finish: " + describe(code));
  LAPIDARY_TRY(receiveFrames(indices));
  return decoded;
}

Status readClip(const LapidaryVideoRequest &request) {
  int64_t total = 0;
  double rate = 0;
  {
    Clip clip(request);
    LAPIDARY_TRY(clip.open());
    total = LAPIDARY_TRY(clip.estimateFrames());
    rate = clip.rate();
  }
  // The second round has the true count, which a third one would only repeat.
  for (int round = 0; round < 2; ++round) {
    Clip clip(request);
    LAPIDARY_TRY(clip.open());
    std::vector<int64_t> indices =
        sampleFrames(total, countFrames(total, rate, request.framesPerSecond,
                                        request.maxFrames));
    int64_t found = LAPIDARY_TRY(clip.decode(indices));
    if (found < 1)
      return invalidData("there are no frames in it: empty or truncated");
    if (found == total)
      return {};
    total = found;
    request.onRestart(request.user);
  }
  return invalidData("its number of frames changes from reading to reading");
}

} // namespace

extern "C" {

[[gnu::visibility("default")]] int32_t lapidary_video_version() {
  return LAPIDARY_VIDEO_MODULE_VERSION;
}

[[gnu::visibility("default")]] int32_t
lapidary_video_read(const LapidaryVideoRequest *request) {
  // FFmpeg writes to stderr by default; what matters is in our message.
  av_log_set_level(AV_LOG_QUIET);
  Status status = [&]() -> Status {
    try {
      return readClip(*request);
    } catch (const std::bad_alloc &) {
      return outOfMemory("no memory for its frames");
    }
  }();
  std::snprintf(request->message, request->messageSize, "%s",
                status.message().c_str());
  return static_cast<int32_t>(status.getCode());
}
}
