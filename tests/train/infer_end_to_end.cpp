// mfl_infer from its command line on, with networks that fit in milliseconds: every file is there, opens with a reader that is not
// our writer's sibling, and says the same as the others.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/hdf5_file.h"
#include "data/image_file.h"
#include "data/sample_folder.h"
#include "data/scenes.h"
#include "data/sha256.h"
#include "data/video_reader.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/error.h"
#include "runtime/io/torch_file.h"
#include "tests/support/temp_folder.h"
#include "train/checkpoint.h"
#include "train/infer/rig.h"
#include "train/infer/run.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string bytes_of(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
json json_of(const fs::path& p) { return json::parse(bytes_of(p)); }
std::string sha256(const fs::path& p) { return data::hex(data::Sha256().add(bytes_of(p)).finish()); }

// A PLY file as its header describes it: number of vertices and all floats of them finite. Knows nothing of our layout.
std::int64_t ply_vertices(const fs::path& p) {
  const std::string all = bytes_of(p);
  const std::size_t body = all.find("end_header\n") + 11;
  std::istringstream header(all.substr(0, body));
  std::string word;
  std::int64_t n = -1;
  std::vector<std::size_t> sizes;
  for (std::string line; std::getline(header, line);) {
    std::istringstream in(line);
    in >> word;
    if (word == "element") in >> word >> n;
    if (word == "property") {
      in >> word;
      sizes.push_back(word == "float" || word == "float32" ? 4 : 1);
    }
  }
  std::size_t stride = 0;
  for (std::size_t s : sizes) stride += s;
  EXPECT_EQ(all.size() - body, static_cast<std::size_t>(n) * stride) << p;
  for (std::size_t at = body; at < all.size();)
    for (std::size_t s : sizes) {
      if (float f; s == 4) {
        std::memcpy(&f, all.data() + at, 4);
        EXPECT_TRUE(std::isfinite(f));
      }
      at += s;
    }
  return n;
}

// One folder for all tests: a pipeline, a checkpoint without a configuration beside it but with one inside, a set, an image.
class InferEndToEnd : public ::testing::Test {
 protected:
  static constexpr int kSide = 16;
  static inline test::TempFolder* folder = nullptr;

  static void SetUpTestSuite() {
    folder = new test::TempFolder;
    mvdiffusion::write_tiny_pipeline(*folder / "p", {.image = 12, .widths = {32}});
    const GslrmConfig c = load_gslrm_config(std::string(MFL_SOURCE_DIR) + "/configs/tiny.yaml",
                                            {{"model.image_tokenizer.image_size", std::to_string(kSide)}, {"model.transformer.n_layer", "1"},
                                             {"mfl.render.turntable_views", "3"}, {"mfl.render.turntable_size", "32"},
                                             {"mfl.render.video_views", "4"}, {"mfl.render.video_size", "32"}}).config;
    GslrmStage stage(c, {.device = kCpu, .precision = Precision::of(DType::f32), .memory_bytes = std::size_t{1} << 30});
    gslrm::initialise(stage.stream, stage.params, 1);
    CheckpointWriter writer(stage, *folder / "run", {});
    RunState state;
    state.passes = 4;
    writer.save(state, 0.001, write_merged(c), 0);
    writer.wait();
    data::PackInfo info;
    info.width = info.height = kSide, info.samples = 2, info.max_views = 6;
    data::ViewWriter set((*folder / "s.h5").string(), info, true);
    for (int i = 0; i < 2; ++i) {
      const data::Sample s = data::make_scene({.views = 6, .image_size = kSide}, i);
      if (i == 0) {
        data::write_sample((*folder / "sample").string(), s);
        if (data::have_image_files()) data::write_png((*folder / "mouse.png").string(), s.views[0].image);
      }
      set.add(s);
    }
    set.finish();
  }
  static void TearDownTestSuite() { delete folder, folder = nullptr; }
  void SetUp() override {
    if (!data::have_image_files()) GTEST_SKIP() << "built without OpenCV";
  }

  static fs::path at(const std::string& leaf) { return *folder / leaf; }
  // Small and the same on every machine.
  static Arguments arguments(const std::string& out) {
    Arguments a;
    a.device = "cpu", a.compute = a.encoders = "f32", a.steps = 1, a.guidance = 1;
    a.out = at(out).string();
    return a;
  }
  static Arguments both(const std::string& out) {
    Arguments a = arguments(out);
    a.pipeline = at("p").string(), a.gslrm = at("run").string();
    return a;
  }
  // The sentence, and the exit code in front of it.
  static std::string refusal(const Arguments& a) {
    testing::internal::CaptureStderr();
    try {
      const int code = run(a);
      return std::to_string(code) + " " + testing::internal::GetCapturedStderr();
    } catch (const std::exception& e) {
      testing::internal::GetCapturedStderr();
      return std::to_string(exit_code(e)) + " " + e.what();
    }
  }
  static void expect_refusal(const Arguments& a, int code, const std::string& part) {
    const std::string said = refusal(a);
    EXPECT_TRUE(said.starts_with(std::to_string(code) + " ")) << said;
    EXPECT_NE(said.find(part), std::string::npos) << said << "\nexpected: " << part;
  }
};

TEST_F(InferEndToEnd, AnImageBecomesAnAnimal) {
  Arguments a = both("one");
  a.images = {at("mouse.png").string()};
  ASSERT_EQ(run(a), kExitOk);
  const json j = json_of(at("one/provenance.json"));
  for (const auto& file : j.at("files")) EXPECT_TRUE(fs::exists(at("one") / file.get<std::string>())) << file;
  for (const char* file : {"views/0_front.png", "views/5_front_left.png", "gaussians.ply", "turntable.png", "viewer.html", "views.json", "provenance.json", "timings.json"})
    EXPECT_TRUE(fs::exists(at("one") / file)) << file;

  // Which stage made which view, of what, and how: as the files themselves say.
  const gslrm::Cameras rig = canonical_cameras(std::vector<int>{0, 1, 2, 3}, kSide);
  ASSERT_EQ(j.at("views").size(), 4u);   // what this model takes
  for (std::size_t v = 0; v < 4; ++v) {
    const json& view = j.at("views")[v];
    EXPECT_EQ(view.at("made_by"), "mvdiffusion");
    EXPECT_EQ(view.at("sha256"), sha256(at("one") / view.at("file").get<std::string>()));
    EXPECT_FLOAT_EQ(view.at("camera").at("fx").get<float>(), 548.9937744140625f * kSide / 512);
    for (std::size_t i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(view.at("camera").at("c2w")[i / 4][i % 4].get<float>(), rig.c2w.data<float>()[16 * v + i]);
  }
  EXPECT_EQ(j.at("origin").at("rig"), "canonical");
  EXPECT_EQ(j.at("origin").at("mvdiffusion").at("settings").at("seed"), 42);
  EXPECT_EQ(j.at("origin").at("mvdiffusion").at("origin").at("sha256"), sha256(at("mouse.png")));
  bool gslrm = false, unet = false;
  for (const auto& c : j.at("checkpoints")) {
    EXPECT_EQ(c.at("sha256"), sha256(c.at("file").get<std::string>()));
    gslrm |= c.at("part") == "gslrm", unet |= c.at("part") == "mvdiffusion unet";
  }
  EXPECT_TRUE(gslrm && unet);
  EXPECT_FALSE(j.at("made_by").at("commit").get<std::string>().empty());

  // Pictures, film and Gaussians, read by others' code or by none of ours.
  EXPECT_EQ(ply_vertices(at("one/gaussians.ply")), j.at("gaussians").at("kept").get<std::int64_t>());
  const data::Image view = data::read_image(at("one/views/3_back.png").string()), strip = data::read_image(at("one/turntable.png").string());
  EXPECT_EQ(view.width, 12);
  EXPECT_EQ(strip.width, 3 * 32);
  EXPECT_EQ(strip.height, 32);
  if (fs::exists(at("one/turntable.mp4"))) {   // where ffmpeg is
    data::VideoReader film(at("one/turntable.mp4").string());
    EXPECT_EQ(film.frames(), 4);
    EXPECT_EQ(film.width(), 32);
  }
  EXPECT_NE(bytes_of(at("one/viewer.html")).find("front_right"), std::string::npos);

  // Again: nothing is touched. What is lost comes back, bit for bit.
  const std::string ply = bytes_of(at("one/gaussians.ply"));
  const auto time = fs::last_write_time(at("one/provenance.json"));
  ASSERT_EQ(run(a), kExitOk);
  EXPECT_EQ(fs::last_write_time(at("one/provenance.json")), time);
  fs::remove(at("one/gaussians.ply"));
  ASSERT_EQ(run(a), kExitOk);
  EXPECT_EQ(bytes_of(at("one/gaussians.ply")), ply);

  // The views as they lie there give the same animal.
  Arguments b = arguments("again");
  b.gslrm = a.gslrm, b.views = at("one").string();
  ASSERT_EQ(run(b), kExitOk);
  EXPECT_EQ(bytes_of(at("again/gaussians.ply")), ply);
  EXPECT_EQ(json_of(at("again/provenance.json")).at("views")[0].at("made_by"), "given");
}

TEST_F(InferEndToEnd, ASetIsMeasuredAgainstItsTruth) {
  Arguments a = arguments("set");
  a.gslrm = at("run").string(), a.dataset = at("s.h5").string(), a.video = false;
  a.splat = a.spz = a.crop_animal = a.prune_visibility = true, a.turntable = "dataset";
  ASSERT_EQ(run(a), kExitOk);
  const json all = json_of(at("set/metrics.json"));
  EXPECT_EQ(all.at("objects"), 2);
  double psnr = 0, held_out = 0;
  for (const char* name : {"scene_000000", "scene_000001"}) {
    const json m = json_of(at("set") / name / "metrics.json"), p = json_of(at("set") / name / "provenance.json");
    EXPECT_EQ(p.at("metrics").at("held_out"), m.at("held_out"));
    EXPECT_EQ(all.at("by_object").at(name).at("all"), m.at("all"));
    ASSERT_EQ(m.at("views").size(), 6u);
    double of_views = 0;
    for (std::size_t v = 0; v < 6; ++v) {
      EXPECT_EQ(m.at("views")[v].at("input"), v < 4);
      of_views += m.at("views")[v].at("psnr").get<double>() / 6;
    }
    EXPECT_NEAR(of_views, m.at("all").at("psnr").get<double>(), 1e-9);
    psnr += m.at("all").at("psnr").get<double>() / 2, held_out += m.at("held_out").at("psnr").get<double>() / 2;
    EXPECT_EQ(p.at("views")[0].at("made_by"), "given");
    EXPECT_FALSE(fs::exists(at("set") / name / "turntable.mp4"));
    EXPECT_EQ(data::read_image((at("set") / name / "turntable.png").string()).width, 6 * 32);   // the set's six cameras
    const json steps = json_of(at("set") / name / "gaussians.json").at("steps");   // model, filters, silhouettes, visibility
    ASSERT_EQ(steps.size(), 4u);
    EXPECT_EQ(steps.front().at("gaussians"), p.at("gaussians").at("made"));
    EXPECT_EQ(steps.back().at("gaussians"), p.at("gaussians").at("kept"));
    EXPECT_EQ(ply_vertices(at("set") / name / "gaussians.ply"), p.at("gaussians").at("kept").get<std::int64_t>());
    EXPECT_EQ(fs::file_size(at("set") / name / "gaussians.splat"), 32 * p.at("gaussians").at("kept").get<std::uintmax_t>());
    EXPECT_TRUE(fs::exists(at("set") / name / "gaussians.spz"));
  }
  EXPECT_NEAR(all.at("mean").at("psnr").get<double>(), psnr, 1e-9);
  EXPECT_NEAR(all.at("mean").at("psnr_held_out").get<double>(), held_out, 1e-9);

  // One sample as a folder with cameras of its own is the same scene: the same Gaussians.
  Arguments b = arguments("folder");
  b.gslrm = a.gslrm, b.views = at("sample").string(), b.video = false, b.crop_animal = b.prune_visibility = true;
  ASSERT_EQ(run(b), kExitOk);
  EXPECT_EQ(bytes_of(at("folder/gaussians.ply")), bytes_of(at("set/scene_000000/gaussians.ply")));
  EXPECT_EQ(json_of(at("folder/metrics.json")).at("all"), json_of(at("set/scene_000000/metrics.json")).at("all"));
}

TEST_F(InferEndToEnd, BothStagesOfASetAndWhichViewIsBest) {
  Arguments a = both("both");
  a.dataset = at("s.h5").string(), a.limit = 1, a.video = false;
  ASSERT_EQ(run(a), kExitOk);
  const json m = json_of(at("both/scene_000000/metrics.json")), p = json_of(at("both/scene_000000/provenance.json"));
  int inputs = 0;
  for (const auto& v : m.at("views")) inputs += v.at("input").get<bool>() ? 1 : 0;
  EXPECT_EQ(inputs, 1);   // the one true view that it was made of
  EXPECT_EQ(p.at("origin").at("rig"), "cameras of the data set");
  EXPECT_EQ(p.at("views")[1].at("made_by"), "mvdiffusion");

  Arguments r = arguments("rank");
  r.pipeline = a.pipeline, r.dataset = a.dataset, r.limit = 1, r.rank_references = true;
  ASSERT_EQ(run(r), kExitOk);
  const json j = json_of(at("rank/reference_ranking.json"));
  ASSERT_EQ(j.at("views").size(), 6u);
  EXPECT_EQ(j.at("best"), j.at("views")[0].at("view"));
  for (std::size_t k = 1; k < 6; ++k) EXPECT_LE(j.at("views")[k].at("psnr").at("mean"), j.at("views")[k - 1].at("psnr").at("mean"));
}

TEST_F(InferEndToEnd, AVideoBecomesOnePlyAFrame) {
  {
    data::VideoWriter video(at("walk.mp4").string(), 32, 32, 10), mask(at("mask.mp4").string(), 32, 32, 10);
    for (int f = 0; f < 6; ++f) {
      data::Image im(32, 32, 3), m(32, 32, 3);
      for (int y = 0; y < 32; ++y)
        for (int x = 0; x < 32; ++x) {
          const bool animal = std::abs(x - 10 - 2 * f) < 6 && std::abs(y - 16) < 6;
          for (int c = 0; c < 3; ++c) im.row(y)[3 * x + c] = animal ? 90 : 200, m.row(y)[3 * x + c] = animal ? 255 : 0;
        }
      video.add(im), mask.add(m);
    }
    video.close(), mask.close();
  }
  Arguments a = both("walk");
  a.sequence = at("walk.mp4").string(), a.mask_video = at("mask.mp4").string(), a.start = 1, a.end = 4, a.interval = 2, a.video = false;
  ASSERT_EQ(run(a), kExitOk);
  for (int f : {1, 3}) {
    const fs::path to = at("walk") / ("frame_00000" + std::to_string(f));
    EXPECT_GE(ply_vertices(to / "gaussians.ply"), 0);
    EXPECT_EQ(json_of(to / "provenance.json").at("origin").at("mvdiffusion").at("origin").at("raw_frame"), f);
  }
  EXPECT_FALSE(fs::exists(at("walk/frame_000002")));
  a.start = 9;
  expect_refusal(a, kExitConfig, "no frame is left");
  a = both("walk");
  a.sequence = at("walk.mp4").string(), a.mask_video = at("mouse.png").string();
  EXPECT_NE(refusal(a).substr(0, 2), "0 ");
}

// Frames of a camera that stands still, no mask: what moves is the animal. Called after their numbers in the video.
TEST_F(InferEndToEnd, AVideoNeedsNoMaskWhereTheCameraStandsStill) {
  constexpr int kWidth = 160, kHeight = 128, kFrames = 12;
  {
    data::VideoWriter video(at("still.mp4").string(), kWidth, kHeight, 10);
    for (int f = 0; f < kFrames; ++f) {
      data::Image im(kWidth, kHeight, 3);
      const double cx = 24 + 10.0 * f, cy = 64 + 14 * std::sin(f);
      for (int y = 0; y < kHeight; ++y)
        for (int x = 0; x < kWidth; ++x) {
          const bool animal = std::pow((x - cx) / 15, 2) + std::pow((y - cy) / 10, 2) < 1, tile = (x / 20 + y / 20) % 2 == 0;   // a floor with edges of its own
          for (int c = 0; c < 3; ++c) im.row(y)[3 * x + c] = static_cast<std::uint8_t>(animal ? 40 : tile ? 205 : 185);
        }
      video.add(im);
    }
    video.close();
  }
  Arguments a = both("still");
  a.sequence = at("still.mp4").string(), a.start = 3, a.end = 10, a.interval = 3, a.video = false;
  ASSERT_EQ(run(a), kExitOk);
  for (int f : {3, 6, 9}) {
    const fs::path to = at("still") / ("frame_00000" + std::to_string(f));
    EXPECT_GE(ply_vertices(to / "gaussians.ply"), 0);
    const json origin = json_of(to / "provenance.json").at("origin").at("mvdiffusion").at("origin");
    EXPECT_EQ(origin.at("raw_frame"), f);
    const json& outline = origin.at("input").at("outline");
    EXPECT_EQ(outline.at("from"), "segmentation against the video's background");
    EXPECT_GT(outline.at("confidence").get<double>(), 0.6) << outline;
  }
  // The same frame from another range is the same frame: nothing is made again, and what is made again has the same bits.
  const std::string view = bytes_of(at("still/frame_000006/views/0_front.png"));
  a.start = 6, a.end = 7;
  ASSERT_EQ(run(a), kExitOk);
  EXPECT_EQ(json_of(at("still/frame_000006/provenance.json")).at("origin").at("mvdiffusion").at("origin").at("raw_frame"), 6);
  Arguments b = a;
  b.out = at("still_alone").string();
  ASSERT_EQ(run(b), kExitOk);
  const fs::path alone = fs::exists(at("still_alone/frame_000006")) ? at("still_alone/frame_000006") : at("still_alone");
  EXPECT_EQ(bytes_of(alone / "views/0_front.png"), view);
}

// One frame whose mask shows no animal, one object whose views are damaged between the stages: both are named, all others are made.
TEST_F(InferEndToEnd, AnObjectThatCannotBeMadeDoesNotCostTheOthers) {
  {
    data::VideoWriter video(at("gone.mp4").string(), 32, 32, 10), mask(at("gone_mask.mp4").string(), 32, 32, 10);
    for (int f = 0; f < 4; ++f) {
      data::Image im(32, 32, 3), m(32, 32, 3);
      for (int y = 0; y < 32; ++y)
        for (int x = 0; x < 32; ++x) {
          const bool animal = f != 2 && std::abs(x - 10 - 2 * f) < 6 && std::abs(y - 16) < 6;
          for (int c = 0; c < 3; ++c) im.row(y)[3 * x + c] = animal ? 90 : 200, m.row(y)[3 * x + c] = animal ? 255 : 0;
        }
      video.add(im), mask.add(m);
    }
    video.close(), mask.close();
  }
  Arguments a = both("gone");
  a.sequence = at("gone.mp4").string(), a.mask_video = at("gone_mask.mp4").string(), a.video = false, a.batch = 2;
  const std::string said = refusal(a);
  EXPECT_TRUE(said.starts_with("3 ")) << said;
  EXPECT_NE(said.find("frame_000002 is left out: "), std::string::npos) << said;
  EXPECT_NE(said.find("no Gaussians of 1 object"), std::string::npos) << said;
  for (int f : {0, 1, 3}) EXPECT_TRUE(fs::exists(at("gone") / ("frame_00000" + std::to_string(f)) / "provenance.json")) << f;
  EXPECT_FALSE(fs::exists(at("gone/frame_000002/views.json")));
  EXPECT_FALSE(fs::exists(at("gone/frame_000002/gaussians.ply")));
  // Again: the others are left as they are. A view that is damaged is the second stage's to name.
  const auto time = fs::last_write_time(at("gone/frame_000001/provenance.json"));
  std::ofstream(at("gone/frame_000003/views/1_front_right.png"), std::ios::binary) << "no picture";
  fs::remove(at("gone/frame_000003/provenance.json"));
  const std::string again = refusal(a);
  EXPECT_TRUE(again.starts_with("3 ")) << again;
  EXPECT_NE(again.find("no Gaussians of 2 objects, for the reason said above: frame_000002, frame_000003"), std::string::npos) << again;
  EXPECT_EQ(fs::last_write_time(at("gone/frame_000001/provenance.json")), time);
  // A set of one says it as its error.
  a.start = 2, a.end = 3, a.out = at("gone_alone").string();
  expect_refusal(a, kExitData, "frame 2 is transparent everywhere");
}

TEST_F(InferEndToEnd, RefusesBeforeAnythingIsMade) {
  const auto with = [](Arguments a, auto&& change) {
    change(a);
    return a;
  };
  const auto refused = [&](const Arguments& a, const char* part, int code = kExitConfig) {
    expect_refusal(a, code, part);
    EXPECT_FALSE(fs::exists(fs::path(a.out) / "views")) << part;
  };
  const Arguments image = with(both("early"), [](Arguments& b) { b.images = {at("mouse.png").string()}; });
  const Arguments set = with(both("early"), [](Arguments& b) { b.dataset = at("s.h5").string(); });
  const Arguments views = with(arguments("early"), [](Arguments& b) { b.gslrm = at("run").string(), b.views = at("p").string(); });
  refused(with(image, [](Arguments& b) { b.turntable = "dataset"; }), "there are none here");
  refused(with(views, [](Arguments& b) { b.turntable = "dataset"; }), "there are none here");
  refused(with(image, [](Arguments& b) { b.gslrm.clear(), b.spz = true; }), "--spz belongs to --gslrm, which is not given");
  refused(with(image, [](Arguments& b) { b.limit = 3; }), "--limit belongs to --dataset");
  refused(with(image, [](Arguments& b) { b.interval = 2; }), "--interval belongs to --sequence");
  refused(with(image, [](Arguments& b) { b.reference = "1"; }), "--reference belongs to --dataset with --mvdiffusion");
  refused(with(image, [](Arguments& b) { b.memory = "12G"; }), "--gpu-memory belongs to --plan");
  refused(with(image, [](Arguments& b) { b.input_views = 7; }), "but the first one makes 6");
  refused(with(image, [](Arguments& b) { b.images.push_back("elsewhere/mouse.jpg"); }), "Two images are called mouse");
  refused(with(image, [](Arguments& b) { b.images.push_back("other.png"), b.input.mask = "m.png"; }), "--mask is of one image");
  refused(with(image, [](Arguments& b) { b.input.camera = 1; }), "--calibration FILE and --camera N belong together");
  refused(with(image, [](Arguments& b) { b.input.mask = at("no_mask.png").string(); }), "no_mask.png does not exist", kExitData);
  refused(with(image, [](Arguments& b) { b.vgg16 = at("no_vgg.pth").string(); }), "no_vgg.pth does not exist", kExitData);
  refused(with(set, [](Arguments& b) { b.input.no_framing = true; }), "the views of --dataset are taken as they are");
  refused(with(set, [](Arguments& b) { b.reference = "2x"; }), "expected the index of a view, or random");
  refused(with(set, [](Arguments& b) { b.reference = "6"; }), "has 6 views, counted from 0");
  refused(with(set, [](Arguments& b) { b.rank_references = true; }), "--gslrm has nothing to do");
  const Arguments sequence = with(both("early"), [](Arguments& b) { b.sequence = at("mouse.png").string(); });
  refused(with(sequence, [](Arguments& b) { b.start = 4, b.end = 4; }), "no frame is left");
  refused(with(sequence, [](Arguments& b) { b.input.mask = "m.png"; }), "takes --mask_video");
  refused(with(sequence, [](Arguments& b) { b.mask_video = "m.mp4", b.input.keep_background = true; }), "--mask_video says what of it stays");
}

TEST_F(InferEndToEnd, SaysWhatIsWrong) {
  const auto with = [](Arguments a, auto&& change) {
    change(a);
    return a;
  };
  const Arguments a = with(both("x"), [](Arguments& b) { b.images = {at("mouse.png").string()}; });
  expect_refusal(with(a, [](Arguments& b) { b.images.clear(); }), kExitConfig, "one of the four, not none");
  expect_refusal(with(a, [](Arguments& b) { b.dataset = at("s.h5").string(); }), kExitConfig, "one of the four, not several");
  expect_refusal(with(a, [](Arguments& b) { b.pipeline.clear(); }), kExitConfig, "--image needs --mvdiffusion");
  expect_refusal(with(a, [](Arguments& b) { b.out.clear(); }), kExitConfig, "--out is missing");
  expect_refusal(with(a, [](Arguments& b) { b.images.clear(), b.views = at("p").string(); }), kExitConfig, "leave it out");
  expect_refusal(with(a, [](Arguments& b) { b.rank_references = true; }), kExitConfig, "--rank-references needs --dataset");
  // One model in the other's place.
  expect_refusal(with(a, [](Arguments& b) { b.pipeline = b.gslrm; }), kExitData, "holds GS-LRM checkpoints");
  expect_refusal(with(a, [](Arguments& b) { b.pipeline = at("run/ckpt_0000000000000004.pt").string(); }), kExitData, "is a GS-LRM checkpoint, but --mvdiffusion names the first stage");
  expect_refusal(with(a, [](Arguments& b) { b.gslrm = b.pipeline; }), kExitData, "belongs to MVDiffusion");
  expect_refusal(with(a, [](Arguments& b) { b.gslrm = at("p/unet/diffusion_pytorch_model.safetensors").string(); }), kExitData, "holds a network of MVDiffusion");
  expect_refusal(with(a, [](Arguments& b) { b.gslrm = at("none.pt").string(); }), kExitData, "none.pt does not exist");
  // A checkpoint without its configuration, and with one of another width.
  fs::create_directories(at("bare"));
  const io::Value run_file = io::read_torch_file(at("run/ckpt_0000000000000004.pt"));
  io::write_torch_file(at("bare/ckpt_0000000000000001.pt"), run_file.at("model"));
  const Arguments bare = with(a, [](Arguments& b) { b.gslrm = at("bare").string(); });
  expect_refusal(bare, kExitData, "not the model's configuration, and there is no config.yaml beside it");
  expect_refusal(with(bare, [](Arguments& b) { b.config = std::string(MFL_SOURCE_DIR) + "/configs/gslrm.yaml", b.pipeline.clear(), b.images.clear(), b.views = at("sample").string(); }),
                 kExitData, "wrong shape");
  // Pictures.
  std::ofstream(at("broken.png")) << bytes_of(at("mouse.png")).substr(0, 150);
  expect_refusal(with(a, [](Arguments& b) { b.images = {at("broken.png").string()}; }), kExitData, "broken.png");
  expect_refusal(with(a, [](Arguments& b) { b.images = {at("p").string()}; }), kExitData, "p is a folder, but --image names a picture");
  expect_refusal(with(a, [](Arguments& b) { b.input.mask = at("p").string(); }), kExitData, "p: is a folder, expected an image");
  expect_refusal(with(a, [](Arguments& b) { b.out = at("mouse.png").string(); }), kExitData, "A file stands where a folder is needed");
  const Arguments views = with(a, [](Arguments& b) { b.images.clear(), b.pipeline.clear(), b.views = at("five").string(); });
  expect_refusal(views, kExitData, "five does not exist");
  fs::create_directories(at("five"));
  for (int i = 0; i < 5; ++i) fs::copy_file(at("mouse.png"), at("five") / (std::to_string(i) + ".png"));
  expect_refusal(views, kExitData, "holds 5 PNG files, expected 6");
  data::write_png((at("five") / "0.png").string(), data::Image(16, 8, 3));
  fs::copy_file(at("mouse.png"), at("five") / "5.png");
  expect_refusal(views, kExitData, "0.png is 16 x 8, but the views of the canonical rig are square");
}

}  // namespace
}  // namespace mfl::infer
