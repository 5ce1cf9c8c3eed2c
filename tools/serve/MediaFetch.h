// Media from hosts that the server's owner allows by name.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

struct sockaddr;

namespace lapidary::serve {

/// Bytes that a fetched medium may have, and the seconds that it may take.
inline constexpr size_t mostFetched = size_t(64) << 20;
inline constexpr int fetchSeconds = 20;

/// What an http or https URL has. No redirect is followed, no private address
/// is connected to, and a certificate must be valid.
Result<std::vector<uint8_t>> fetchMedium(const std::string &url);

/// Whether an address is of the public internet: not of this machine, a private
/// network, a link, a group or a range that is reserved, however it is wrapped.
bool isPublicAddress(const sockaddr *address);

} // namespace lapidary::serve
