// The host's name is resolved once, here, and the connection goes to the very
// address that was checked: a name that resolves to something else the next
// time gains nothing.
#include "tools/serve/MediaFetch.h"

#include "runtime/core/Text.h"

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

struct Parts {
  std::string origin, host, path;
  std::string port;
};

Result<Parts> split(const std::string &url) {
  Parts parts;
  const bool secure = url.starts_with("https://");
  const size_t begin = secure ? 8 : 7;
  if (!secure && !url.starts_with("http://"))
    return invalidArgument("expected an http or https URL");
  const size_t slash = url.find_first_of("/?#", begin);
  std::string place = url.substr(begin, slash - begin);
  parts.path = slash == std::string::npos ? "/" : url.substr(slash);
  if (const size_t mark = parts.path.find('#'); mark != std::string::npos)
    parts.path.resize(mark);
  if (parts.path.empty() || parts.path[0] != '/')
    parts.path = "/" + parts.path;
  for (unsigned char c : url)
    if (c <= ' ' || c == 127)
      return invalidArgument("the URL has a space or a control character");
  parts.port = secure ? "443" : "80";
  const size_t colon = place.rfind(':');
  if (colon != std::string::npos &&
      place.find(']', colon) == std::string::npos) {
    parts.port = place.substr(colon + 1);
    place.resize(colon);
  }
  if (place.empty() || parts.port.empty() || parts.port.size() > 5 ||
      parts.port.find_first_not_of("0123456789") != std::string::npos ||
      place.find_first_of("@[]") != std::string::npos)
    return invalidArgument("the URL's host is not understood");
  parts.host = place;
  parts.origin =
      concat(secure ? "https://" : "http://", place, ":", parts.port);
  return parts;
}

/// The first address of the host as text; all of them must be public.
Result<std::string> resolve(const Parts &parts) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(parts.host.c_str(), parts.port.c_str(), &hints, &list) != 0 ||
      !list)
    return ioError(concat("the host '", parts.host, "' is not known"));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 freeaddrinfo);
  for (const addrinfo *entry = list; entry; entry = entry->ai_next)
    if (!isPublicAddress(entry->ai_addr))
      return invalidArgument(concat("the host '", parts.host,
                                    "' has a private address; media are "
                                    "fetched from the public internet only"));
  char text[NI_MAXHOST];
  if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, nullptr,
                  0, NI_NUMERICHOST) != 0)
    return ioError(concat("the host '", parts.host, "' has no address"));
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

Result<std::vector<uint8_t>> fetchMedium(const std::string &url, size_t most) {
  const Parts parts = LAPIDARY_TRY(split(url));
  const std::string address = LAPIDARY_TRY(resolve(parts));
  try {
    httplib::Client client(parts.origin);
    client.set_hostname_addr_map({{parts.host, address}});
    client.set_connection_timeout(fetchSeconds);
    client.set_read_timeout(fetchSeconds);
    client.set_follow_location(false);
    const auto limit =
        std::chrono::steady_clock::now() + std::chrono::seconds(fetchSeconds);
    std::vector<uint8_t> bytes;
    bool large = false;
    const httplib::Result result = client.Get(
        parts.path,
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
      return ioError(concat("'", parts.host, "' did not give the medium (",
                            httplib::to_string(result.error()), ")"));
    if (bytes.empty())
      return ioError(concat("'", parts.host, "' gave an empty medium"));
    return bytes;
  } catch (const std::exception &exception) {
    return ioError(
        concat("'", parts.host, "': ", std::string_view(exception.what())));
  }
}

} // namespace lapidary::serve
