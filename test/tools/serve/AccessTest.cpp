// Who may ask, and where media may come from.
#include "tools/serve/Access.h"
#include "tools/serve/MediaFetch.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <httplib.h>

#include <thread>

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

std::string partsOf(const std::string &text) {
  const Result<MediaUrl> url = parseMediaUrl(text);
  return url.ok() ? (url->isSecure ? "s " : "") + url->host + " " + url->port +
                        " " + url->path
                  : url.status().message();
}

TEST(ServeMedia, UrlsHaveAHostAPortAndAPath) {
  EXPECT_EQ(partsOf("http://a.org"), "a.org 80 /");
  EXPECT_EQ(partsOf("https://A.org/x/y.png?z=/1#part"),
            "s a.org 443 /x/y.png?z=/1");
  EXPECT_EQ(partsOf("http://a.org:8080?q"), "a.org 8080 /?q");
  EXPECT_EQ(partsOf("http://a.org#x"), "a.org 80 /");
  for (const char *wrong : {"http://", "http:///x", "http://u@a.org/",
                            "http://[::1]/", "http://::1/", "http://a.org:/",
                            "http://a.org:80a/", "http://a.org:123456/"})
    EXPECT_EQ(partsOf(wrong), "the URL's host is not understood") << wrong;
  EXPECT_EQ(partsOf("ftp://a.org/"), "expected an http or https URL");
  EXPECT_EQ(partsOf("http://a.org/x\r\nHost: b.org"),
            "the URL has a space or a control character");
}

TEST(ServeMedia, AreFetchedFromTheAddressThatWasChecked) {
  httplib::Server server;
  std::string host;
  server.Get("/a.png",
             [&](const httplib::Request &request, httplib::Response &response) {
               host = request.get_header_value("Host");
               response.set_content(std::string("PNG\0\1", 5), "image/png");
             });
  server.Get("/empty", [](const auto &, httplib::Response &) {});
  server.Get("/away", [](const auto &, httplib::Response &response) {
    response.set_redirect("/a.png");
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  ASSERT_GT(port, 0);
  std::thread serving([&] { server.listen_after_bind(); });
  const std::string place = "http://media.example:" + std::to_string(port);
  const auto fetch = [&](const char *path, size_t most) {
    return fetchFrom(*parseMediaUrl(place + path), "127.0.0.1", most);
  };

  const auto bytes = fetch("/a.png", 5);
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  if (bytes.ok())
    EXPECT_EQ(*bytes, (std::vector<uint8_t>{'P', 'N', 'G', 0, 1}));
  EXPECT_EQ(host, "media.example:" + std::to_string(port));
  EXPECT_THAT(fetch("/a.png", 4).status().message(),
              testing::HasSubstr("more than 4 bytes"));
  EXPECT_THAT(fetch("/empty", 5).status().message(),
              testing::HasSubstr("empty"));
  for (const char *path : {"/none", "/away"})
    EXPECT_THAT(fetch(path, 5).status().message(),
                testing::HasSubstr("did not give the medium"))
        << path;
  // By its name it is not asked, for the name has no public address.
  EXPECT_FALSE(
      fetchMedium("http://localhost:" + std::to_string(port) + "/a.png", 5)
          .ok());
  server.stop();
  serving.join();
}

} // namespace
