// `mfl_data info`: one screen about every kind of file, and a sentence about what is none.
#include "data/demo/demo.h"
#include "data/image_file.h"
#include "data/info/describe.h"
#include "data/pack.h"
#include "models/gslrm/ply.h"
#include "runtime/io/torch_file.h"
#include "tests/data/support.h"
#include "tests/support/shared_files.h"
#include "train/event_writer.h"

namespace mfl::data::info {
namespace {
using namespace data::test;

testing::AssertionResult shows(const std::string& path, std::initializer_list<const char*> parts) {
  return mentions(message_of([&] { throw_error<DataError>(describe(path, true)); }), parts);
}

TEST(Info, DataSets) {
  const TempFolder folder;
  const std::string packed = make_file(folder, 2, 3, 16);
  EXPECT_TRUE(shows(packed, {"scenes.h5: packed data set, format version 2", "samples      2", "16 x 16", "sha256", "cam_002"}));
  std::ofstream(folder / "both.txt") << "scenes.h5\n";
  EXPECT_TRUE(shows(folder / "both.txt", {"packed data set", "samples      2"}));
  unpack(packed, folder / "out");
  EXPECT_TRUE(shows(folder / "out", {"folder of 2 samples", "cam_000"}));
  EXPECT_TRUE(shows(folder / "out/data_all.txt", {"list of 2 samples", "3 cameras of scene_000000"}));
  EXPECT_TRUE(shows(folder / "out/scene_000001/opencv_cameras.json", {"3 cameras of scene_000001", "cam_001"}));
  EXPECT_TRUE(shows(folder / "out/scene_000001/images/cam_001.png", {"image, 16 x 16, RGBA", "alpha covers"}));
}

TEST(Info, Recordings) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  demo::Options o;
  o.output = folder / "rec", o.frames = 2, o.width = o.height = 64;
  demo::make_recordings(o, [](std::int64_t, std::int64_t) {});
  EXPECT_TRUE(shows(folder / "rec", {"raw recording, 6 cameras, 2 frames of 64 x 64 at 20 a second", "camera 5"}));
  EXPECT_TRUE(shows(folder / "rec/videos_undist/0.mp4", {"video, 64 x 64, 2 frames"}));
  EXPECT_TRUE(shows(folder / "rec/new_cam.pkl", {"calibration of 6 cameras", "camera 5"}));
}

TEST(Info, WeightsAndCheckpoints) {
  const TempFolder folder;
  EXPECT_TRUE(shows((mfl::test::own_golden("torch") / "everything.pt").string(), {"everything.pt: torch", "tensors", "begins with"}));
  EXPECT_TRUE(shows(mfl::test::own_golden("loss.safetensors").string(), {"safetensors", "tensors", "begins with"}));
  io::Value checkpoint = io::Value::dict(), model = io::Value::dict();
  Tensor weight = Tensor::on_heap({4}, DType::f32);
  std::fill_n(weight.data<float>(), 4, 1.0f);
  model.set("weight", io::stored(weight));
  checkpoint.set("model", model), checkpoint.set("fwdbwd_pass_step", 12);
  io::write_torch_file(folder / "ckpt.pt", checkpoint);
  EXPECT_TRUE(shows(folder / "ckpt.pt", {"torch, 1 tensors", "fwdbwd_pass_step", "12"}));
}

TEST(Info, Gaussians) {
  const TempFolder folder;
  gslrm::Gaussians g;
  const auto filled = [](Shape shape) {
    Tensor t = Tensor::on_heap(shape, DType::f32);
    std::fill_n(t.data<float>(), t.numel(), 0.5f);
    return t;
  };
  g.xyz = filled({3, 3}), g.features = filled({3, 1, 3}), g.scaling = filled({3, 3}), g.rotation = filled({3, 4}), g.opacity = filled({3, 1});
  gslrm::write_ply(folder / "g.ply", g);
  EXPECT_TRUE(shows(folder / "g.ply", {"g.ply", "3 Gaussians"}));
}

TEST(Info, EventFiles) {
  const TempFolder folder;
  EventWriter w(folder / "events");
  w.scalar("train/loss", 3, 0.5), w.scalar("train/loss", 4, 0.25);
  w.flush();
  EXPECT_TRUE(shows(w.path().string(), {"event file", "to step 4", "train/loss", "2 values, 0.25 at step 4"}));
}

TEST(Info, GarbageIsASentence) {
  const TempFolder folder;
  const auto put = [&](const char* name, const std::string& bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return folder / name;
  };
  EXPECT_TRUE(shows(folder / "nothing", {"nothing", "does not exist"}));
  EXPECT_TRUE(shows(put("noise.xyz", std::string(100, 'x')), {"noise.xyz", "none of the files that are known here"}));
  EXPECT_TRUE(shows(put("empty.bin", ""), {"empty.bin", "none of the files"}));
  EXPECT_TRUE(shows(put("a.h5", "\x89HDF\r\n\x1a\nrubbish"), {"a.h5"}));
  EXPECT_TRUE(shows(put("a.ply", "ply\nrubbish"), {"a.ply"}));
  EXPECT_TRUE(shows(put("a.png", "\x89PNG\r\n\x1a\n"), {"a.png", "cut short"}));
  EXPECT_TRUE(shows(put("a.pkl", "rubbish"), {"a.pkl"}));
  EXPECT_TRUE(shows(put("a.pt", "PK\3\4rubbish"), {"a.pt"}));
  EXPECT_TRUE(shows(put("events.tfevents.1", "rubbish"), {"events.tfevents.1", "no whole record"}));
  EXPECT_TRUE(shows(put("c.json", "{}"), {"c.json", "frames"}));
}

}  // namespace
}  // namespace mfl::data::info
