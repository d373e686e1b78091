// Pixel operations against Pillow's own results, and image files.
#include "data/image.h"

#include "data/image_file.h"
#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

TEST(Sha256, InstructionsAndPortableRoundsAgree) {
  const std::string a(1'000'000, 'a');
  for (const bool portable : {false, true})
    EXPECT_EQ(hex(Sha256(portable).add(a).finish()), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") << portable;
}
TEST(Sha256, MatchesThePublishedVectors) {
  EXPECT_EQ(hex(Sha256().finish()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(Sha256().add("abc").finish()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(Sha256().add("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").finish()),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 pieces;
  for (int i = 0; i < 1000; ++i) pieces.add(std::string(static_cast<std::size_t>(i % 97), 'x'));
  std::size_t total = 0;
  for (int i = 0; i < 1000; ++i) total += static_cast<std::size_t>(i % 97);
  EXPECT_EQ(pieces.finish(), Sha256().add(std::string(total, 'x')).finish());
}

TEST(Image, LanczosIsPillowsToTheBit) {
  const auto g = golden()["image"];
  const Image square = formula_image(53, 53, 4), rgb = formula_image(40, 40, 3);
  ASSERT_EQ(sha(square), g["source"].get<std::string>());
  ASSERT_EQ(sha(rgb), g["rgb"].get<std::string>());
  EXPECT_EQ(sha(resize_lanczos(square, 16, 16)), g["resize_16"].get<std::string>());
  EXPECT_EQ(sha(resize_lanczos(square, 100, 100)), g["resize_100"].get<std::string>());
  EXPECT_EQ(sha(resize_lanczos(rgb, 24, 24)), g["resize_rgb_24"].get<std::string>());
  EXPECT_EQ(sha(resize_lanczos(formula_image(64, 48, 4), 20, 41)), g["resize_wide_20x41"].get<std::string>());
}

TEST(Image, CompositingIsPillowsToTheBit) {
  const auto g = golden()["image"];
  const auto over = [](std::uint8_t r, std::uint8_t gr, std::uint8_t b) {
    Image im = formula_image(53, 53, 4);
    const std::uint8_t colour[3] = {r, gr, b};
    composite_over(im, colour);
    return sha(with_channels(im, 3));
  };
  EXPECT_EQ(over(255, 255, 255), g["white"].get<std::string>());
  EXPECT_EQ(over(127, 127, 127), g["gray"].get<std::string>());
  EXPECT_EQ(over(13, 200, 91), g["colour"].get<std::string>());
}

TEST(Image, BrightnessAndContrastArePillowsToTheBit) {
  for (const auto& [brightness, contrast, expected] : golden()["image"]["enhance"].get<std::vector<std::tuple<float, float, std::string>>>()) {
    Image im = with_channels(formula_image(53, 53, 4), 3);
    adjust_brightness(im, brightness);
    adjust_contrast(im, contrast);
    EXPECT_EQ(sha(im), expected) << brightness << ' ' << contrast;
  }
}

TEST(Image, RotationIsPillows) {
  EXPECT_EQ(sha(rotate(formula_image(40, 40, 3), 3.25)), golden()["image"]["rotate_3.25"].get<std::string>());
}

TEST(Image, FlippingTwiceChangesNothing) {
  Image im = formula_image(7, 5, 4);
  flip_horizontal(im);
  EXPECT_NE(sha(im), sha(formula_image(7, 5, 4)));
  flip_horizontal(im);
  EXPECT_EQ(sha(im), sha(formula_image(7, 5, 4)));
}

TEST(ImageFile, PngOfEightAndSixteenBitsReadsBack) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  for (int channels : {1, 3, 4}) {
    const Image im = formula_image(13, 9, channels);
    write_png(folder / "a.png", im);
    write_png16(folder / "b.png", im);
    for (const char* name : {"a.png", "b.png"}) {
      const Image back = read_image(folder / name);
      EXPECT_EQ(back.channels, channels);
      EXPECT_EQ(back.width, 13);
      EXPECT_EQ(back.pixels, im.pixels) << name << ' ' << channels;
    }
  }
  write_jpeg(folder / "c.jpg", Image(16, 16, 3));
  EXPECT_EQ(read_image(folder / "c.jpg").pixels, Image(16, 16, 3).pixels);
}

TEST(ImageFile, ADamagedOrMissingFileIsNamed) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  std::ofstream(folder / "text.png") << "no image";
  EXPECT_TRUE(mentions(message_of([&] { read_image(folder / "text.png"); }), {"text.png", "damaged"}));
  EXPECT_TRUE(mentions(message_of([&] { read_image(folder / "none.png"); }), {"none.png", "does not exist"}));
  EXPECT_TRUE(mentions(message_of([&] { write_png(folder / "no/a.png", Image(2, 2, 3)); }), {"a.png", "cannot be written"}));
}

TEST(ImageFile, AVideoIsWritten) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  VideoWriter video(folder / "v.mp4", 32, 16, 30);
  for (int i = 0; i < 5; ++i) video.add(formula_image(32, 16, 3));
  video.close();
  EXPECT_GT(fs::file_size(folder / "v.mp4"), 100u);
  EXPECT_TRUE(video.codec() == "H.264" || video.codec() == "MPEG-4") << video.codec();
}

}  // namespace
}  // namespace mfl::data
