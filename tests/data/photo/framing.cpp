#include "data/photo/framing.h"

#include <cmath>

#include "data/image_file.h"
#include "data/photo/lens.h"
#include "data/photo/photo.h"
#include "data/preprocess/linear.h"
#include "tests/data/support.h"

namespace mfl::data::photo {
namespace {

using namespace test;
using preprocess::product;

// An ellipse of one colour on black, transparent outside.
Image ellipse(int width, int height, double u, double v, double a, double b) {
  Image im(width, height, 4);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double dx = (x + 0.5 - u) / a, dy = (y + 0.5 - v) / b;
      if (dx * dx + dy * dy > 1) continue;
      std::uint8_t* p = im.row(y) + 4 * x;
      p[0] = 200, p[1] = 100, p[2] = 50, p[3] = 255;
    }
  return im;
}

struct Moments {
  double mass = 0, u = 0, v = 0;
};
Moments moments(const Image& im) {
  Moments m;
  for (int y = 0; y < im.height; ++y)
    for (int x = 0; x < im.width; ++x) {
      const double w = im.row(y)[4 * x + 3] / 255.0;
      m.mass += w, m.u += w * (x + 0.5), m.v += w * (y + 0.5);
    }
  m.u /= m.mass, m.v /= m.mass;
  return m;
}

TEST(PhotoFraming, PutsTheAnimalInTheMiddleAtItsShare) {
  const Image im = ellipse(300, 200, 220.25, 60.5, 40, 25);
  FramingOptions o;
  o.share = 0.05;
  const Framed f = frame_animal(im, o, 128, "photo");
  EXPECT_STREQ(f.kind, "similarity");
  EXPECT_FALSE(f.shrunk);
  EXPECT_NEAR(f.share, 0.05, 5e-4);
  const Moments m = moments(f.image);
  EXPECT_NEAR(m.u, 64, 0.05);
  EXPECT_NEAR(m.v, 64, 0.05);
  // The recorded matrix takes the photo's centroid there.
  const Moments before = moments(im);
  const Vec3 p = product(f.warp, Vec3{before.u, before.v, 1});
  EXPECT_NEAR(p[0], 64, 1e-9);
  EXPECT_NEAR(p[1], 64, 1e-9);
  EXPECT_EQ(f.warp[0], f.warp[4]);
  EXPECT_EQ(f.warp[1], 0);
  EXPECT_NEAR(f.enlargement, f.warp[0], 1e-12);
  // Premultiplied: the outline has the animal's colour, not the black around it.
  for (std::size_t i = 0; i < f.image.pixels.size(); i += 4) {
    if (f.image.pixels[i + 3]) { ASSERT_NEAR(f.image.pixels[i], 200, 1); }
  }
}

TEST(PhotoFraming, ShrinksWhatWouldNotFit) {
  FramingOptions o;
  o.share = 0.3;
  const Framed f = frame_animal(ellipse(400, 100, 200, 50, 190, 10), o, 64, "photo");
  EXPECT_TRUE(f.shrunk);
  EXPECT_LT(f.share, 0.05);
  for (int y = 0; y < 64; ++y) EXPECT_EQ(f.image.row(y)[3], 0);
}

TEST(PhotoFraming, WithoutFramingThePictureMustFit) {
  FramingOptions o;
  o.enabled = false;
  const Image im = ellipse(64, 64, 20, 20, 10, 10);
  EXPECT_EQ(frame_animal(im, o, 64, "photo").image.pixels, im.pixels);
  try {
    frame_animal(ellipse(64, 48, 20, 20, 10, 10), o, 64, "a.png");
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_TRUE(mentions(e.what(), {"a.png is 64 x 48", "64 x 64 is expected"}));
  }
}

TEST(PhotoFraming, ATurnedCameraSeesTheSameRays) {
  // A point of the photo and its image: directions from the same centre, up to the turn. Angles between rays stay.
  FramingOptions o;
  o.lens = parse_intrinsics("400,410,150,100");
  const Framed f = frame_animal(ellipse(300, 200, 250, 40, 30, 20), o, 128, "photo");
  EXPECT_STREQ(f.kind, "homography");
  EXPECT_GT(f.focal, 0);
  EXPECT_NEAR(f.share, kMouseShare, 5e-4);
  const Moments m = moments(f.image);
  EXPECT_NEAR(m.u, 64, 0.2);
  EXPECT_NEAR(m.v, 64, 0.2);
  const Mat3 back = preprocess::inverse(Mat3{f.focal, 0, 64, 0, f.focal, 64, 0, 0, 1}),
             photo = preprocess::inverse(corner_intrinsics(o.lens->camera));
  auto rays = [&](double u, double v) {
    const Vec3 a = preprocess::unit(product(photo, Vec3{u, v, 1}));
    Vec3 q = product(f.warp, Vec3{u, v, 1});
    q = {q[0] / q[2], q[1] / q[2], 1};
    return std::pair{a, preprocess::unit(product(back, q))};
  };
  const auto [a0, b0] = rays(250, 40);
  for (const auto& [u, v] : {std::pair{220.0, 60.0}, {280.0, 30.0}, {10.0, 190.0}}) {
    const auto [a, b] = rays(u, v);
    EXPECT_NEAR(preprocess::dot(a, a0), preprocess::dot(b, b0), 1e-9);
  }
}

TEST(PhotoFraming, UndistortsFirst) {
  Lens lens = parse_intrinsics("100,100,49.5,49.5,0.1");
  EXPECT_TRUE(is_distorted(lens));
  const auto p = distorted(lens, 0.4, 0);
  EXPECT_NEAR(p[0], 0.4 * (1 + 0.1 * 0.16), 1e-12);
  // A disc at the distorted place of (0.4, 0) comes back to 49.5 + 40, pixel centres: 90 from the corner.
  const Image flat = undistorted(ellipse(100, 100, 50 + 100 * p[0], 50, 6, 6), lens);
  EXPECT_NEAR(moments(flat).u, 90, 0.1);
  EXPECT_NEAR(moments(flat).v, 50, 0.1);
}

TEST(PhotoFraming, SaysWhatIsWrongWithIntrinsics) {
  for (const char* bad : {"", "1,2,3", "a,b,c,d", "100,100,50,50,", "-1,100,50,50", "1,1,1,1,1,1,1,1,1,1", "nan,1,1,1"}) {
    try {
      parse_intrinsics(bad);
      FAIL() << bad;
    } catch (const ConfigError& e) {
      EXPECT_TRUE(mentions(e.what(), {"fx,fy,cx,cy"}));
    }
  }
}

TEST(PhotoFraming, TakesTheShareFromAPackedFile) {
  const TempFolder folder;
  const std::string file = make_file(folder, 2);
  EXPECT_GT(trained_share(file), 0);
  EXPECT_LT(trained_share(file), 1);
}

// JPEG with an EXIF orientation tag of 6 (turn by 90 degrees clockwise), put between the first marker and the rest.
std::string with_orientation(const std::string& jpeg, char orientation) {
  const std::string tiff = std::string("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19) + orientation + std::string("\0\0\0\0\0\0", 6);
  const std::string body = std::string("Exif\0\0", 6) + tiff;
  const std::size_t length = body.size() + 2;
  return jpeg.substr(0, 2) + "\xff\xe1" + char(length >> 8) + char(length & 255) + body + jpeg.substr(2);
}

TEST(Photo, IsUprightAndInColour) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  Image im(32, 16, 3);   // bright on the left
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 32; ++x)
      for (int c = 0; c < 3; ++c) im.row(y)[3 * x + c] = x < 16 ? 220 : 30;
  write_jpeg(folder / "flat.jpg", im, 95);
  const Photo flat = read_photo(folder / "flat.jpg");
  EXPECT_FALSE(flat.turned);
  EXPECT_EQ(flat.image.width, 32);
  std::ifstream in(folder / "flat.jpg", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::ofstream(folder / "turned.jpg", std::ios::binary) << with_orientation(bytes, 6);
  const Photo turned = read_photo(folder / "turned.jpg");
  EXPECT_TRUE(turned.turned);
  ASSERT_EQ(turned.image.width, 16);
  ASSERT_EQ(turned.image.height, 32);
  EXPECT_GT(turned.image.row(4)[0], 180);   // left has become up
  EXPECT_LT(turned.image.row(28)[0], 80);

  Image grey(8, 8, 1);
  std::fill(grey.pixels.begin(), grey.pixels.end(), std::uint8_t{77});
  write_png(folder / "grey.png", grey);
  const Photo g = read_photo(folder / "grey.png");
  EXPECT_EQ(g.channels, 1);
  EXPECT_EQ(g.image.channels, 3);
  EXPECT_EQ(g.image.pixels[5], 77);
  write_png16(folder / "wide.png", im);
  const Photo wide = read_photo(folder / "wide.png");
  EXPECT_EQ(wide.bits, 16);
  EXPECT_EQ(wide.image.pixels, im.pixels);
  std::ofstream(folder / "broken.png", std::ios::binary) << "no picture";
  EXPECT_TRUE(mentions(message_of([&] { read_photo(folder / "broken.png"); }), {"broken.png"}));
  EXPECT_TRUE(mentions(message_of([&] { read_photo(folder / "none.png"); }), {"none.png", "cannot be opened"}));
}

}  // namespace
}  // namespace mfl::data::photo
