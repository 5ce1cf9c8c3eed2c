// The C interface between readVideo and liblapidary-video.so, the module that
// holds everything that needs FFmpeg.
#pragma once

#include <cstddef>
#include <cstdint>

/// Goes up when anything below changes; the module answers with its own.
#define LAPIDARY_VIDEO_MODULE_VERSION 1

extern "C" {

struct LapidaryVideoRequest {
  const char *path;
  /// Frames a second; 0: maxFrames of the whole clip.
  double framesPerSecond;
  int32_t maxFrames;
  /// The most pixels a frame may have, and the most bytes all may have.
  int64_t maxPixels;
  int64_t maxBytes;
  void *user;
  /// Receives the frames in order: RGB rows, `stride` bytes apart, the callee's
  /// only until it returns.
  void (*onFrame)(void *user, int32_t width, int32_t height, const uint8_t *rgb,
                  int64_t stride, double seconds);
  /// The clip has another number of frames than it claims: those received are
  /// to be forgotten, others follow.
  void (*onRestart)(void *user);
  /// Where an error is described; the text ends in 0.
  char *message;
  size_t messageSize;
};

typedef int32_t (*LapidaryVideoVersion)();
/// Returns a lapidary::StatusCode.
typedef int32_t (*LapidaryVideoRead)(const LapidaryVideoRequest *request);
}

#define LAPIDARY_VIDEO_VERSION_SYMBOL "lapidary_video_version"
#define LAPIDARY_VIDEO_READ_SYMBOL "lapidary_video_read"
