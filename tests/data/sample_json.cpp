// The JSON of sample folders: what is written is read, and every mistake is named.
#include "data/sample_json.h"

#include "data/sample_folder.h"
#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

std::string one_frame(const std::string& change = "") {
  std::string s = R"({"id": "s", "frames": [{"w": 8, "h": 8, "fx": 9, "fy": 9, "cx": 4, "cy": 4,
    "w2c": [[1,0,0,0],[0,1,0,0],[0,0,1,2],[0,0,0,1]], "file_path": "images/cam_000.png", "view_id": 0, "_note": {"x": 1}}]})";
  if (!change.empty()) {
    const auto arrow = change.find("=>");
    const std::string from = change.substr(0, arrow), to = change.substr(arrow + 2);
    s.replace(s.find(from), from.size(), to);
  }
  return s;
}

SampleFile parse(const std::string& json, Check check = Check::all) {
  std::vector<RecordingInfo> recordings;
  return parse_sample_file(json, "rig.json", recordings, check);
}

TEST(SampleJson, TheFileReadsAndIgnoresUnknownKeys) {
  const SampleFile f = parse(one_frame());
  ASSERT_EQ(f.sample.views.size(), 1u);
  EXPECT_EQ(f.sample.name, "s");
  EXPECT_EQ(f.images[0], "images/cam_000.png");
  EXPECT_EQ(f.sample.views[0].camera.fx, 9);
  EXPECT_EQ(f.sample.views[0].camera.w2c[11], 2);
}

TEST(SampleJson, ADoctorMayLookAtWrongCamerasAndABareRig) {
  const std::string mirrored = one_frame("[1,0,0,0]=>[-1,0,0,0]"), bare = one_frame("\"file_path\"=>\"_path\"");
  EXPECT_NE(message_of([&] { parse(mirrored); }), "no exception");
  EXPECT_NE(message_of([&] { parse(bare); }), "no exception");
  EXPECT_EQ(parse(mirrored, Check::form).sample.views[0].camera.w2c[0], -1);
  EXPECT_EQ(parse(bare, Check::form).images[0], "");
}

TEST(SampleJson, EveryMistakeIsNamed) {
  const auto says = [](const std::string& change, std::initializer_list<const char*> parts) {
    return mentions(message_of([&] { parse(one_frame(change)); }), parts);
  };
  EXPECT_TRUE(says("\"fx\": 9=>\"f\": 9", {"rig.json", "frame 0", "\"fx\"", "missing"}));
  EXPECT_TRUE(says("\"fx\": 9=>\"fx\": -9", {"frame 0", "fx must be positive", "-9"}));
  EXPECT_TRUE(says("\"fx\": 9=>\"fx\": \"9\"", {"\"fx\"", "number"}));
  EXPECT_TRUE(says("\"w\": 8=>\"w\": 0", {"\"w\"", "1 to 65536"}));
  EXPECT_TRUE(says("[1,0,0,0]=>[-1,0,0,0]", {"determinant +1", "-1"}));
  EXPECT_TRUE(says("[1,0,0,0]=>[2,0,0,0]", {"orthonormal"}));
  EXPECT_TRUE(says("[1,0,0,0]=>[1,0,0]", {"4 x 4 numbers"}));
  EXPECT_TRUE(says("[0,0,0,1]=>[0,0,1,1]", {"last row"}));
  EXPECT_TRUE(says("[1,0,0,0]=>[1,0,0,1e999]", {"rig.json"}));
  EXPECT_TRUE(mentions(message_of([] { parse("{\"frames\": []}"); }), {"at least one"}));
  EXPECT_TRUE(mentions(message_of([] { parse("[1"); }), {"JSON"}));
  EXPECT_TRUE(mentions(message_of([] { read_sample_file("/no/such/file.json"); }), {"/no/such/file.json", "opened"}));
}

TEST(SampleJson, WritingAndReadingGivesTheSameBits) {
  Sample s;
  s.name = "a", s.raw_frame = 1234;
  s.views.resize(1);
  s.views[0].camera = ring_camera(33, 20, 2.7, 50, 512);
  const SampleFile g = parse(sample_json(s, {"images/x.png"}, {}));
  EXPECT_EQ(g.sample.views[0].camera.w2c, s.views[0].camera.w2c);
  EXPECT_EQ(g.sample.views[0].camera.fx, s.views[0].camera.fx);
  EXPECT_EQ(g.sample.views[0].name, "x");
  EXPECT_EQ(g.sample.raw_frame, 1234);
}

TEST(SampleJson, EveryMalformedFileOfTheCorpusIsRefusedWithASentence) {
  int files = 0;
  for (const auto& e : fs::directory_iterator(std::string(MFL_SOURCE_DIR) + "/tests/fuzz/corpus/opencv_cameras")) {
    ++files;
    const std::string said = message_of([&] { read_sample_file(e.path().string()); });
    if (e.path().filename().string().starts_with("good"))
      EXPECT_EQ(said, "no exception") << e.path();
    else
      EXPECT_TRUE(mentions(said, {e.path().filename().c_str()})) << e.path();
  }
  EXPECT_GE(files, 8);
}

}  // namespace
}  // namespace mfl::data
