// The host's name is resolved once, here, and the connection goes to the very
// address that was checked: a name that resolves to something else the next
// time gains nothing.
#include "tools/serve/MediaFetch.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <cstring>
#include <httplib.h>
#include <memory>
#include <netdb.h>

namespace lapidary::serve {

namespace {

bool isPublic4(uint32_t address) {
  struct Range {
    uint32_t begin;
    int bits;
  };
  // IANA's registry of special addresses.
  constexpr Range reserved[] = {
      {0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8},
      {0xA9FE0000, 16}, {0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24},
      {0xC0586300, 24}, {0xC0A80000, 16}, {0xC6120000, 15}, {0xC6336400, 24},
      {0xCB007100, 24}, {0xE0000000, 3}};
  for (const Range &range : reserved)
    if ((address ^ range.begin) >> (32 - range.bits) == 0)
      return false;
  return true;
}

uint32_t word(const uint8_t *bytes) {
  return uint32_t(bytes[0]) << 24 | uint32_t(bytes[1]) << 16 |
         uint32_t(bytes[2]) << 8 | bytes[3];
}

bool isPublic6(const uint8_t *bytes) {
  const uint32_t first = word(bytes);
  // Global addresses are 2000::/3; of these, 2001::/23 is for protocols,
  // 2001:db8::/32 for examples, and 2002::/16 wraps IPv4.
  if (first >> 29 == 1)
    return first >> 9 != 0x20010000u >> 9 && first != 0x20010DB8u &&
           first >> 16 != 0x2002;
  return false;
}

/// The first address of the host as text; all of them must be public.
Result<std::string> resolve(const MediaUrl &url) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &list) != 0 ||
      !list)
    return ioError(concat("the host '", url.host, "' is not known"));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 freeaddrinfo);
  for (const addrinfo *entry = list; entry; entry = entry->ai_next)
    if (!isPublicAddress(entry->ai_addr))
      return invalidArgument(concat("the host '", url.host,
                                    "' has a private address; media are "
                                    "fetched from the public internet only"));
  char text[NI_MAXHOST];
  if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, nullptr,
                  0, NI_NUMERICHOST) != 0)
    return ioError(concat("the host '", url.host, "' has no address"));
  return std::string(text);
}

} // namespace

bool isPublicAddress(const sockaddr *address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in inet{};
    std::memcpy(&inet, address, sizeof inet);
    return isPublic4(ntohl(inet.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 inet{};
    std::memcpy(&inet, address, sizeof inet);
    return isPublic6(inet.sin6_addr.s6_addr);
  }
  return false;
}

Result<MediaUrl> parseMediaUrl(const std::string &text) {
  MediaUrl url;
  url.isSecure = text.starts_with("https://");
  const size_t begin = url.isSecure ? 8 : 7;
  if (!url.isSecure && !text.starts_with("http://"))
    return invalidArgument("expected an http or https URL");
  for (unsigned char c : text)
    if (c <= ' ' || c == 127)
      return invalidArgument("the URL has a space or a control character");
  const size_t slash = std::min(text.find_first_of("/?#", begin), text.size());
  url.host = text.substr(begin, slash - begin);
  url.path = text.substr(slash, text.find('#', slash) - slash);
  if (url.path.empty() || url.path[0] != '/')
    url.path = "/" + url.path;
  url.port = url.isSecure ? "443" : "80";
  if (const size_t colon = url.host.rfind(':'); colon != std::string::npos) {
    url.port = url.host.substr(colon + 1);
    url.host.resize(colon);
  }
  if (url.host.empty() || url.port.empty() || url.port.size() > 5 ||
      url.port.find_first_not_of("0123456789") != std::string::npos ||
      url.host.find_first_of("@[]:") != std::string::npos)
    return invalidArgument("the URL's host is not understood");
  std::ranges::transform(url.host, url.host.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return url;
}

Result<std::vector<uint8_t>> fetchMedium(const std::string &url, size_t most) {
  const MediaUrl parsed = LAPIDARY_TRY(parseMediaUrl(url));
  return fetchFrom(parsed, LAPIDARY_TRY(resolve(parsed)), most);
}

Result<std::vector<uint8_t>>
fetchFrom(const MediaUrl &url, const std::string &address, size_t most) {
  try {
    httplib::Client client(
        concat(url.isSecure ? "https://" : "http://", url.host, ":", url.port));
    client.set_hostname_addr_map({{url.host, address}});
    client.set_connection_timeout(fetchSeconds);
    client.set_read_timeout(fetchSeconds);
    client.set_follow_location(false);
    const auto limit =
        std::chrono::steady_clock::now() + std::chrono::seconds(fetchSeconds);
    std::vector<uint8_t> bytes;
    bool large = false;
    const httplib::Result result = client.Get(
        url.path,
        [](const httplib::Response &response) {
          return response.status == 200;
        },
        [&](const char *data, size_t size) {
          large = bytes.size() + size > most;
          if (large || std::chrono::steady_clock::now() > limit)
            return false;
          bytes.insert(bytes.end(), data, data + size);
          return true;
        });
    if (large)
      return invalidArgument(
          concat("the medium has more than ", most, " bytes"));
    if (!result)
      return ioError(concat("'", url.host, "' did not give the medium (",
                            httplib::to_string(result.error()), ")"));
    if (bytes.empty())
      return ioError(concat("'", url.host, "' gave an empty medium"));
    return bytes;
  } catch (const std::exception &exception) {
    return ioError(
        concat("'", url.host, "': ", std::string_view(exception.what())));
  }
}

} // namespace lapidary::serve
