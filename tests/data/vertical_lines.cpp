// The rig's measured up direction, from numpy's archive into the packed file.
#include "data/vertical_lines.h"

#include "data/image_file.h"
#include "data/pack.h"
#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

std::string golden_file(const char* name) { return std::string(MFL_SOURCE_DIR) + "/tests/golden/data/" + name; }

TEST(VerticalLines, ReadsNumpysArchives) {
  EXPECT_EQ(read_up_direction(golden_file("vertical_lines_f64.npz")), (Vec3{0.25, -0.5, 0.75}));
  EXPECT_EQ(read_up_direction(golden_file("vertical_lines_f32_deflated.npz")), (Vec3{0.25, -0.5, 0.75}));
  EXPECT_EQ(read_up_direction("/no/such/file.npz"), std::nullopt);
}

TEST(VerticalLines, DamageIsNamed) {
  const TempFolder folder;
  EXPECT_TRUE(mentions(message_of([] { read_up_direction(golden_file("vertical_lines_other.npz")); }), {"vertical_lines_other.npz", "up_direction"}));
  EXPECT_TRUE(mentions(message_of([] { read_up_direction(golden_file("vertical_lines_wrong.npz")); }), {"vertical_lines_wrong.npz", "number of values"}));
  std::ofstream(folder / "text.npz") << "nothing";
  EXPECT_TRUE(mentions(message_of([&] { read_up_direction(folder / "text.npz"); }), {"text.npz"}));
}

TEST(VerticalLines, ThePackedFileKeepsIt) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  SceneOptions o;
  o.views = 1, o.image_size = 8;
  write_sample(folder / "scene", make_scene(o, 0));
  pack(find_samples(folder / "scene"), folder / "without.h5", {});
  EXPECT_EQ(ViewReader(folder / "without.h5").up(0), std::nullopt);
  fs::copy_file(golden_file("vertical_lines_f64.npz"), folder / "vertical_lines.npz");
  pack(find_samples(folder / "scene"), folder / "with.h5", {});
  EXPECT_EQ(ViewReader(folder / "with.h5").up(0), (Vec3{0.25, -0.5, 0.75}));
}

}  // namespace
}  // namespace mfl::data
