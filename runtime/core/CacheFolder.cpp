// As the XDG base directory specification has it; relative paths do not count.
#include "runtime/core/CacheFolder.h"

#include "runtime/core/Text.h"

#include <cstdlib>
#include <filesystem>

namespace lapidary {

Result<std::string> cacheFolder() {
  std::filesystem::path base;
  if (const char *cache = std::getenv("XDG_CACHE_HOME");
      cache && cache[0] == '/')
    base = cache;
  else if (const char *home = std::getenv("HOME"); home && home[0] == '/')
    base = std::filesystem::path(home) / ".cache";
  else
    return notFound("there is no cache folder: neither XDG_CACHE_HOME nor HOME "
                    "is the path of one");
  base /= "lapidary";
  std::error_code error;
  std::filesystem::create_directories(base, error);
  if (error)
    return ioError(concat("cannot make the folder ", base.string(), ": ",
                          error.message()));
  return base.string();
}

} // namespace lapidary
