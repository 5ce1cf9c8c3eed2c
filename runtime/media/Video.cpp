// A clip from a folder of pictures, here, or from a file, through the module
// that holds FFmpeg: its hundred shared objects cost 25 ms of process start,
// which only those who pass a video file should pay.
#include "runtime/media/Video.h"
#include "runtime/media/FrameSampling.h"
#include "runtime/media/video/VideoModule.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

using namespace lapidary;

namespace {

/// All frames of a clip together; 32 frames of 4K are 0.8 GB.
constexpr int64_t maxClipBytes = int64_t(1) << 30;

std::string message(const std::string &path, std::string_view text) {
  return "video '" + path + "': " + std::string(text);
}

bool isFrameName(std::string_view name) {
  if (name.starts_with('.'))
    return false;
  size_t dot = name.rfind('.');
  if (dot == std::string_view::npos)
    return false;
  std::string ending(name.substr(dot + 1));
  for (char &letter : ending)
    letter =
        static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return ending == "png" || ending == "jpg" || ending == "jpeg" ||
         ending == "webp";
}

bool isDigit(char letter) { return letter >= '0' && letter <= '9'; }

/// Where the run of digits that starts at `from` ends.
size_t endOfNumber(const std::string &name, size_t from) {
  while (from < name.size() && isDigit(name[from]))
    ++from;
  return from;
}

/// By letters, and numbers in them by value: frame2 comes before frame10.
bool comesBefore(const std::string &left, const std::string &right) {
  size_t i = 0, j = 0;
  while (i < left.size() && j < right.size()) {
    if (!isDigit(left[i]) || !isDigit(right[j])) {
      if (left[i] != right[j])
        return static_cast<unsigned char>(left[i]) <
               static_cast<unsigned char>(right[j]);
      ++i, ++j;
      continue;
    }
    size_t endLeft = endOfNumber(left, i), endRight = endOfNumber(right, j);
    while (i + 1 < endLeft && left[i] == '0')
      ++i;
    while (j + 1 < endRight && right[j] == '0')
      ++j;
    if (endLeft - i != endRight - j)
      return endLeft - i < endRight - j;
    if (int order = left.compare(i, endLeft - i, right, j, endRight - j))
      return order < 0;
    i = endLeft, j = endRight;
  }
  if (left.size() - i != right.size() - j)
    return left.size() - i < right.size() - j;
  return left < right; // "01" and "1": any order, but always the same.
}

Status addFrame(Video &video, Image image, double seconds, int64_t &bytes,
                const std::string &path) {
  bytes += static_cast<int64_t>(image.rgb.size());
  if (bytes > maxClipBytes)
    return invalidData(
        message(path, "the frames take more than " +
                          std::to_string(maxClipBytes >> 20) +
                          " MiB; take fewer of them, or scale the video down"));
  video.frames.push_back(std::move(image));
  video.seconds.push_back(seconds);
  return {};
}

/// `name` is what messages call the clip.
Result<Video> readPictures(std::span<const std::string> paths,
                           const VideoOptions &options,
                           const std::string &name) {
  double rate = options.framesPerSecond > 0 ? options.framesPerSecond : 1;
  Video video;
  int64_t bytes = 0;
  for (int64_t index :
       sampleFrames(static_cast<int64_t>(paths.size()), options.maxFrames)) {
    Image image = LAPIDARY_TRY(readImage(paths[static_cast<size_t>(index)]));
    LAPIDARY_TRY(
        addFrame(video, std::move(image), double(index) / rate, bytes, name));
  }
  return video;
}

Result<Video> readFolder(const std::string &path, const VideoOptions &options) {
  std::unique_ptr<DIR, int (*)(DIR *)> folder(opendir(path.c_str()), closedir);
  if (!folder)
    return ioError(message(path, std::strerror(errno)));
  std::vector<std::string> names;
  errno = 0;
  while (const dirent *entry = readdir(folder.get()))
    if (isFrameName(entry->d_name))
      names.emplace_back(entry->d_name);
  if (errno != 0)
    return ioError(message(path, std::strerror(errno)));
  if (names.empty())
    return invalidData(message(path, "expected frames (.png, .jpg, .jpeg or "
                                     ".webp) in the folder, found none"));
  std::sort(names.begin(), names.end(), comesBefore);
  for (std::string &name : names)
    name = path + "/" + name;
  return readPictures(names, options, path);
}

struct VideoModule {
  LapidaryVideoRead read = nullptr;
  /// Why there is none.
  std::string problem;
};

/// Beside an installed or a built executable lies ../lib; a copied one may have
/// the module next to it; the loader's own path comes last.
std::vector<std::string> modulePlaces() {
  const std::string name = "liblapidary-video.so";
  std::vector<std::string> places;
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  if (length > 0 && static_cast<size_t>(length) < sizeof self) {
    std::string folder(self, static_cast<size_t>(length));
    folder.resize(folder.rfind('/') + 1);
    places.push_back(folder + "../lib/" + name);
    places.push_back(folder + name);
  }
  places.push_back(name);
  return places;
}

VideoModule loadModule() {
  VideoModule module;
  std::string reason;
  void *handle = nullptr;
  for (const std::string &place : modulePlaces()) {
    // A file that is there and does not load is the problem to report; the
    // plain name, tried last, always has something to say.
    bool exists = access(place.c_str(), F_OK) == 0;
    handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle)
      break;
    const char *text = dlerror();
    if (exists || reason.empty())
      reason = text ? text : "unknown reason";
    if (exists)
      break;
  }
  const std::string next =
      "; build or install liblapidary-video.so (it needs FFmpeg's libraries) "
      "into the executable's ../lib folder, or pass a folder of frames instead";
  if (!handle) {
    module.problem =
        "reading video files needs a module that does not load: " + reason +
        next;
    return module;
  }
  auto version = reinterpret_cast<LapidaryVideoVersion>(
      dlsym(handle, LAPIDARY_VIDEO_VERSION_SYMBOL));
  auto read = reinterpret_cast<LapidaryVideoRead>(
      dlsym(handle, LAPIDARY_VIDEO_READ_SYMBOL));
  if (!version || !read || version() != LAPIDARY_VIDEO_MODULE_VERSION)
    module.problem = "the video module found is of another version: expected " +
                     std::to_string(LAPIDARY_VIDEO_MODULE_VERSION) +
                     ", found " +
                     (version ? std::to_string(version()) : "none") + next;
  else
    module.read = read;
  return module;
}

Result<Video> readFile(const std::string &path, const VideoOptions &options) {
  // Loaded once and kept: FFmpeg does not like to be unloaded.
  static const VideoModule module = loadModule();
  if (!module.read)
    return unsupported(message(path, module.problem));
  char text[512] = "";
  Video video;
  LapidaryVideoRequest request = {};
  request.path = path.c_str();
  request.framesPerSecond = options.framesPerSecond;
  request.maxFrames = options.maxFrames;
  request.maxPixels = maxImagePixels;
  request.maxBytes = maxClipBytes;
  request.user = &video;
  request.onFrame = [](void *user, int32_t width, int32_t height,
                       const uint8_t *rgb, int64_t stride, double seconds) {
    auto &video = *static_cast<Video *>(user);
    size_t row = static_cast<size_t>(width) * 3;
    Image image{width, height, {}};
    image.rgb.resize(row * static_cast<size_t>(height));
    for (int32_t y = 0; y < height; ++y)
      std::memcpy(image.rgb.data() + static_cast<size_t>(y) * row,
                  rgb + y * stride, row);
    video.frames.push_back(std::move(image));
    video.seconds.push_back(seconds);
  };
  request.onRestart = [](void *user) { *static_cast<Video *>(user) = {}; };
  request.message = text;
  request.messageSize = sizeof text;
  int32_t code = module.read(&request);
  if (code != static_cast<int32_t>(StatusCode::Ok))
    return Status(static_cast<StatusCode>(code), message(path, text));
  return video;
}

Status checkOptions(const std::string &path, const VideoOptions &options) {
  if (!std::isfinite(options.framesPerSecond) || options.framesPerSecond < 0)
    return invalidArgument(message(
        path, "expected a number of frames a second of 0 or more, found " +
                  std::to_string(options.framesPerSecond)));
  if (options.maxFrames < 1)
    return invalidArgument(
        message(path, "expected a limit of 1 frame or more, found " +
                          std::to_string(options.maxFrames)));
  return {};
}

} // namespace

Result<Video> lapidary::readFrames(std::span<const std::string> paths,
                                   const VideoOptions &options) {
  if (paths.empty())
    return invalidArgument("a video without frames was asked for");
  LAPIDARY_TRY(checkOptions(paths[0], options));
  return readPictures(paths, options, paths[0]);
}

Result<Video> lapidary::readVideo(const std::string &path,
                                  const VideoOptions &options) {
  LAPIDARY_TRY(checkOptions(path, options));
  if (path.empty() || path.find('\0') != std::string::npos)
    return invalidArgument(message(path, "not a file name"));
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    std::string text = message(path, std::strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? notFound(std::move(text))
                                               : ioError(std::move(text));
  }
  if (S_ISDIR(info.st_mode))
    return readFolder(path, options);
  if (!S_ISREG(info.st_mode))
    return invalidArgument(
        message(path, "expected a file or a folder, found a pipe or device"));
  if (info.st_size == 0)
    return invalidData(message(path, "the file is empty"));
  return readFile(path, options);
}
