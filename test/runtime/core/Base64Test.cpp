// Base64, by the examples of RFC 4648 and by what it is not.
#include "runtime/core/Base64.h"

#include <gtest/gtest.h>

namespace lapidary {
namespace {

std::string decode(std::string_view text) {
  auto bytes = decodeBase64(text);
  return bytes.ok() ? std::string(bytes->begin(), bytes->end()) : "error";
}

TEST(Base64, DecodesTheStandardsExamples) {
  EXPECT_EQ(decode(""), "");
  EXPECT_EQ(decode("Zg=="), "f");
  EXPECT_EQ(decode("Zm8="), "fo");
  EXPECT_EQ(decode("Zm9v"), "foo");
  EXPECT_EQ(decode("Zm9vYg=="), "foob");
  EXPECT_EQ(decode("Zm9vYmE="), "fooba");
  EXPECT_EQ(decode("Zm9vYmFy"), "foobar");
  EXPECT_EQ(decode("Zm9vYg"), "foob");
  EXPECT_EQ(decode("+/+/"), "\xfb\xff\xbf");
}

TEST(Base64, RefusesWhatItIsNot) {
  for (const char *text : {"Z", "Zm9vY", "Zg=", "Zg===", "=",
                           "====", "Z=g=", "Zm 9", "Zm9\n", "Zm-_", "Zm9v="})
    EXPECT_EQ(decode(text), "error") << text;
}

} // namespace
} // namespace lapidary
