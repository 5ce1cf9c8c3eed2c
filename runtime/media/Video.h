// A clip as the model sees it: a few frames, each with its time. From a folder
// of pictures, or from an MP4, WebM or GIF file.
#pragma once

#include "runtime/media/Image.h"

#include <span>
#include <string>

namespace lapidary {

struct Video {
  std::vector<Image> frames;
  /// When each frame is shown, in seconds from the start.
  std::vector<double> seconds;
};

struct VideoOptions {
  /// A file: take so many frames a second; 0 takes maxFrames of them. A folder:
  /// how many frames a second it holds; 0 is one a second.
  double framesPerSecond = 0;
  /// The most frames to take. A clip that has more is sampled evenly.
  int32_t maxFrames = 32;
};

/// Reads a clip. A folder's frames are its files that end in .png, .jpg, .jpeg
/// or .webp (hidden ones aside), by name with numbers in numeric order; frame i
/// is at i / framesPerSecond. A file's frame i is at i / (its average rate), as
/// in the reference. Files need liblapidary-video.so, which is loaded when the
/// first one is read: it brings FFmpeg, and that alone takes longer to load
/// than a short answer takes to compute.
Result<Video> readVideo(const std::string &path, const VideoOptions &options);

/// A clip whose frames are the pictures `paths`, in this order; they are taken
/// as those of a folder are.
Result<Video> readFrames(std::span<const std::string> paths,
                         const VideoOptions &options);

} // namespace lapidary
