// Media from hosts that the server's owner allows by name.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

struct sockaddr;

namespace lapidary::serve {

/// The seconds that a fetched medium may take.
inline constexpr int fetchSeconds = 20;

/// An http or https URL; a host that is an address of IPv6 is not taken.
struct MediaUrl {
  bool isSecure = false;
  /// In lower case, and the path with its query.
  std::string host, port, path;
};
Result<MediaUrl> parseMediaUrl(const std::string &url);

/// What an http or https URL has, at most so many bytes. No redirect is
/// followed, no private address is connected to, and a certificate must be
/// valid.
Result<std::vector<uint8_t>> fetchMedium(const std::string &url, size_t most);
/// The same from an address of the host, which the caller has checked.
Result<std::vector<uint8_t>> fetchFrom(const MediaUrl &url,
                                       const std::string &address, size_t most);

/// Whether an address is of the public internet: not of this machine, a private
/// network, a link, a group or a range that is reserved, however it is wrapped.
bool isPublicAddress(const sockaddr *address);

} // namespace lapidary::serve
