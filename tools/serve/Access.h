// Who may ask: keys, hosts and origins, and what a header says of them.
#pragma once

#include "tools/serve/Fields.h"

#include <string>
#include <vector>

namespace lapidary::serve {

struct AccessRules {
  /// Any of them opens the server; none: it is open.
  std::vector<std::string> keys;
  /// Origins of pages that may read answers; "*": any.
  std::vector<std::string> origins;
  /// The address that the server listens on is this machine's own.
  bool loopback = true;
};

/// The headers that matter; empty where there is none.
struct AccessHeaders {
  std::string host, origin, authorization, apiKey;
};

/// The error that keeps a request out. `open`: of a path that needs no key.
std::optional<ApiError> checkAccess(const AccessRules &rules,
                                    const AccessHeaders &headers, bool open);
/// What Access-Control-Allow-Origin says; empty: nothing.
std::string allowedOrigin(const AccessRules &rules, const std::string &origin);

/// Whether all addresses of a name that a server listens on are loopback ones.
bool isLoopback(const std::string &host);

} // namespace lapidary::serve
