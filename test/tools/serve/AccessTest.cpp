// Who may ask, and where media may come from.
#include "tools/serve/Access.h"
#include "tools/serve/MediaFetch.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::serve;

namespace {

int statusOf(const AccessRules &rules, const AccessHeaders &headers,
             bool open = false) {
  const auto error = checkAccess(rules, headers, open);
  return error ? error->status : 200;
}

TEST(ServeAccess, KeysOpen) {
  AccessRules rules;
  rules.keys = {"one", "another"};
  const std::string host = "server:8080";
  EXPECT_EQ(statusOf(rules, {host, "", "", ""}), 401);
  EXPECT_EQ(statusOf(rules, {host, "", "", ""}, true), 200);
  for (const char *word : {"Bearer ", "bearer ", "BEARER "})
    EXPECT_EQ(statusOf(rules, {host, "", std::string(word) + "one", ""}), 200);
  EXPECT_EQ(statusOf(rules, {host, "", "", "another"}), 200);
  for (const char *wrong : {"on", "onee", "One", "", "oneone", "two"})
    EXPECT_EQ(statusOf(rules, {host, "", std::string("Bearer ") + wrong, ""}),
              401)
        << wrong;
  EXPECT_EQ(statusOf(rules, {host, "", "one", ""}), 401);
}

TEST(ServeAccess, WithoutAKeyOnlyLocalNamesAreAnswered) {
  AccessRules rules;
  for (const char *host : {"localhost", "localhost:8080", "127.0.0.1:8080",
                           "[::1]:8080", "[::1]", "127.1.2.3", ""})
    EXPECT_EQ(statusOf(rules, {host, "", "", ""}), 200) << host;
  for (const char *host : {"evil.org", "localhost.evil.org", "127.evil.org",
                           "evil.org:8080", "192.168.0.1"})
    EXPECT_EQ(statusOf(rules, {host, "", "", ""}), 403) << host;
}

TEST(ServeAccess, PagesOfOtherOriginsStayOut) {
  AccessRules rules;
  const std::string host = "localhost:8080";
  EXPECT_EQ(statusOf(rules, {host, "http://localhost:8080", "", ""}), 200);
  EXPECT_EQ(statusOf(rules, {host, "http://localhost:9", "", ""}), 403);
  EXPECT_EQ(statusOf(rules, {host, "null", "", ""}), 403);
  EXPECT_EQ(allowedOrigin(rules, "http://localhost:9"), "");
  rules.origins = {"https://a.org"};
  EXPECT_EQ(statusOf(rules, {host, "https://a.org", "", ""}), 200);
  EXPECT_EQ(statusOf(rules, {host, "https://b.org", "", ""}), 403);
  EXPECT_EQ(allowedOrigin(rules, "https://a.org"), "https://a.org");
  rules.origins = {"*"};
  EXPECT_EQ(allowedOrigin(rules, "https://b.org"), "*");
}

TEST(ServeAccess, LoopbackIsOnlyThisMachine) {
  EXPECT_TRUE(isLoopback("127.0.0.1"));
  EXPECT_TRUE(isLoopback("127.9.9.9"));
  EXPECT_TRUE(isLoopback("::1"));
  EXPECT_FALSE(isLoopback("0.0.0.0"));
  EXPECT_FALSE(isLoopback("::"));
  EXPECT_FALSE(isLoopback("192.168.1.1"));
}

bool isPublic(const char *text) {
  sockaddr_storage storage{};
  auto *four = reinterpret_cast<sockaddr_in *>(&storage);
  auto *six = reinterpret_cast<sockaddr_in6 *>(&storage);
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
    storage.ss_family = AF_INET;
  else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
    storage.ss_family = AF_INET6;
  else
    ADD_FAILURE() << text;
  return isPublicAddress(reinterpret_cast<sockaddr *>(&storage));
}

TEST(ServeAccess, MediaComeFromPublicAddressesOnly) {
  for (const char *address : {"0.0.0.0",
                              "0.1.2.3",
                              "10.0.0.1",
                              "10.255.255.255",
                              "100.64.0.1",
                              "100.127.255.255",
                              "127.0.0.1",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.0.0.8",
                              "192.0.2.1",
                              "192.168.1.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:127.0.0.1",
                              "::ffff:8.8.8.8",
                              "64:ff9b::7f00:1",
                              "fc00::1",
                              "fd12::1",
                              "fe80::1",
                              "ff02::1",
                              "2001:db8::1",
                              "2001::1",
                              "2002:7f00:1::",
                              "::127.0.0.1"})
    EXPECT_FALSE(isPublic(address)) << address;
  for (const char *address :
       {"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1",
        "172.32.0.1", "192.167.1.1", "198.17.0.1", "198.20.0.1", "223.255.0.1",
        "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1"})
    EXPECT_TRUE(isPublic(address)) << address;
}

TEST(ServeAccess, UrlsAreCheckedBeforeAnyConnection) {
  for (const char *url :
       {"http://127.0.0.1/a.png", "http://127.0.0.1:1/", "http://localhost/",
        "http://0/", "http://[::1]/", "http://user@example.com/",
        "http://example.com:99999999/", "http://example.com:x/", "http:///a",
        "http://", "file:///etc/passwd", "http://a b/", "http://a/\r\nX: y"}) {
    const auto result = fetchMedium(url, 1 << 20);
    EXPECT_EQ(result.status().getCode(), StatusCode::InvalidArgument) << url;
  }
}

} // namespace
