// Where files go that only save time: what is lost is made again.
#pragma once

#include "runtime/core/Status.h"

#include <string>

namespace lapidary {

/// $XDG_CACHE_HOME/lapidary or ~/.cache/lapidary, made if it is not there.
Result<std::string> cacheFolder();

} // namespace lapidary
