// A page of any site can send requests to this machine's loopback address, and
// a name that resolves to it makes them look like the page's own. So what says
// that it comes from another page is refused, and without a key only names of
// this machine are answered.
#include "tools/serve/Access.h"

#include <algorithm>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>

namespace lapidary::serve {

namespace {

/// Takes the same time wherever the two differ.
bool equalKeys(const std::string &one, const std::string &other) {
  unsigned difference = one.size() == other.size() ? 0 : 1;
  for (size_t index = 0; index < one.size(); ++index)
    difference |= static_cast<unsigned char>(one[index]) ^
                  static_cast<unsigned char>(
                      other.empty() ? 0 : other[index % other.size()]);
  return difference == 0;
}

std::string withoutPort(const std::string &host) {
  const size_t colon = host.rfind(':');
  const bool port =
      colon != std::string::npos && host.find(']', colon) == std::string::npos;
  return host.substr(0, port ? colon : host.size());
}

bool isLocalName(const std::string &host) {
  const std::string name = withoutPort(host);
  return name == "localhost" || name == "[::1]" || name.empty() ||
         (name.starts_with("127.") &&
          name.find_first_not_of("0123456789.") == std::string::npos);
}

} // namespace

std::string allowedOrigin(const AccessRules &rules, const std::string &origin) {
  for (const std::string &allowed : rules.origins)
    if (!origin.empty() && (allowed == "*" || allowed == origin))
      return allowed == "*" ? "*" : origin;
  return {};
}

std::optional<ApiError> checkAccess(const AccessRules &rules,
                                    const AccessHeaders &headers, bool open) {
  if (!headers.origin.empty() && headers.origin != "http://" + headers.host &&
      headers.origin != "https://" + headers.host &&
      allowedOrigin(rules, headers.origin).empty())
    return ApiError{403, "pages of other origins may not use this server "
                         "(--cors-origin allows one)"};
  if (rules.keys.empty()) {
    if (rules.loopback && !isLocalName(headers.host))
      return ApiError{403,
                      "this server answers as localhost only, since it has no "
                      "--api-key"};
    return std::nullopt;
  }
  if (open)
    return std::nullopt;
  std::string key = headers.apiKey;
  // The word may be written in any case.
  if (headers.authorization.size() >= 7 &&
      std::ranges::equal(
          headers.authorization.substr(0, 7), std::string_view("bearer "), {},
          [](unsigned char c) { return static_cast<char>(std::tolower(c)); }))
    key = headers.authorization.substr(7);
  if (std::ranges::any_of(rules.keys, [&](const std::string &known) {
        return equalKeys(key, known);
      }))
    return std::nullopt;
  return ApiError{401,
                  key.empty() ? "an API key is needed: Authorization: Bearer "
                                "KEY, or x-api-key: KEY"
                              : "the API key is not known here",
                  {},
                  "invalid_api_key"};
}

bool isLoopback(const std::string &host) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0 || !list)
    return false;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 freeaddrinfo);
  for (const addrinfo *entry = list; entry; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET) {
      const auto *address =
          reinterpret_cast<const sockaddr_in *>(entry->ai_addr);
      if (ntohl(address->sin_addr.s_addr) >> 24 != 127)
        return false;
    } else if (entry->ai_family == AF_INET6) {
      const auto *address =
          reinterpret_cast<const sockaddr_in6 *>(entry->ai_addr);
      if (!IN6_IS_ADDR_LOOPBACK(&address->sin6_addr))
        return false;
    } else {
      return false;
    }
  }
  return true;
}

} // namespace lapidary::serve
