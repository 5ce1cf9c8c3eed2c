// Media expansion: what it makes of placeholders, and what it refuses.
#include "runtime/model/Prompt.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace lapidary;
using testing::HasSubstr;

TEST(PromptTest, ExpandsMedia) {
  std::vector<MediaTokens> media = {
      {MediaKind::Image, 2, {}},
      {MediaKind::Video, 0, {{0.9, 1}, {61.5, 2}, {6000, 1}}},
      {MediaKind::Audio, 3, {}}};
  auto text = expandMedia("a<|image|>b<|video|><|audio|>", media);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "a<|image><|image|><|image|><image|>b"
                   "00:00 <|image><|video|><image|> 01:01 "
                   "<|image><|video|><|video|><image|> "
                   "100:00 <|image><|video|><image|>"
                   "<|audio><|audio|><|audio|><|audio|><audio|>");
  EXPECT_EQ(*expandMedia("no media, <|image> and <|im|>", {}),
            "no media, <|image> and <|im|>");
}

TEST(PromptTest, FindsPlaceholdersInOrder) {
  EXPECT_THAT(mediaPlaceholders("a<|video|><|image|>b<|image><|audio|>"),
              testing::ElementsAre(MediaKind::Video, MediaKind::Image,
                                   MediaKind::Audio));
  // In protected text there is none.
  EXPECT_THAT(mediaPlaceholders("<\xFF|image|>"), testing::IsEmpty());
}

TEST(PromptTest, RefusesMediaThatDoNotFit) {
  const auto errorFor = [](std::string_view prompt,
                           std::vector<MediaTokens> media) {
    auto text = expandMedia(prompt, media);
    return text.ok() ? "no error" : text.status().message();
  };
  const MediaTokens image = {MediaKind::Image, 70, {}};
  EXPECT_THAT(errorFor("<|image|>", {}), HasSubstr("1 placeholders"));
  EXPECT_THAT(errorFor("x", {image}), HasSubstr("for 1 media"));
  EXPECT_THAT(
      errorFor("x <|audio|>", {image}),
      HasSubstr("media 0 is an image, but the prompt's placeholder there, at "
                "byte 2, is <|audio|>"));
  EXPECT_THAT(errorFor("<|image|>", {{MediaKind::Image, 0, {}}}),
              HasSubstr("media 0: expected 1 or more"));
  EXPECT_THAT(errorFor("<|audio|>", {{MediaKind::Audio, INT32_MAX, {}}}),
              HasSubstr("found 2147483647"));
  EXPECT_THAT(errorFor("<|video|>", {{MediaKind::Video, 5, {}}}),
              HasSubstr("without frames"));
  for (double seconds :
       {-1.0, 1e300, std::nan(""), static_cast<double>(INFINITY)})
    EXPECT_THAT(errorFor("<|video|>", {{MediaKind::Video, 0, {{seconds, 1}}}}),
                HasSubstr("a frame's time"));
}
