// mfl_infer's first stage: what it is given, what it leaves, and that it goes on where it stopped.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/image_file.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/io/torch_file.h"
#include "runtime/rng.h"
#include "tests/support/temp_folder.h"
#include "train/infer/generate.h"
#include "train/infer/input_image.h"
#include "train/infer/pipeline_argument.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;
using mvdiffusion::ViewPipeline;
using test::TempFolder;
constexpr std::int64_t kSide = 16;

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const DataError& e) {
    return e.what();
  }
  return "";
}
bool has(const std::string& s, const char* part) { return s.find(part) != std::string::npos; }

TEST(InferPipelineArgument, SaysWhatWasGivenInstead) {
  const TempFolder folder;
  const fs::path p = folder.path();
  mvdiffusion::write_tiny_pipeline(p / "run" / "pipeckpts", {.image = 8, .widths = {32}});
  EXPECT_EQ(open_pipeline(p / "run").folder(), p / "run" / "pipeckpts");
  EXPECT_EQ(open_pipeline(p / "run" / "pipeckpts").folder(), p / "run" / "pipeckpts");
  EXPECT_EQ(find_prompts({}, open_pipeline(p / "run")), p / "run" / "pipeckpts" / "prompt_embeds" / "clr_embeds.pt");
  EXPECT_EQ(find_prompts("x.pt", open_pipeline(p / "run")), "x.pt");
  io::Value dict = io::Value::ordered_dict();
  Tensor t = Tensor::on_heap({2}, DType::f32);
  t.data<float>()[0] = t.data<float>()[1] = 0;
  dict.set("transformer_layers.0.norm1.weight", io::stored(t));
  fs::create_directories(p / "gslrm");
  io::write_torch_file(p / "gslrm" / "ckpt_0000000000000004.pt", dict);
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "gslrm" / "ckpt_0000000000000004.pt"); }), "is a GS-LRM checkpoint"));
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "gslrm"); }), "holds GS-LRM checkpoints"));
  std::ofstream(p / "file") << "x";
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "file"); }), "is a file"));
  fs::create_directories(p / "model" / "checkpoint-5" / "unet_ema");
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "model"); }), "but no pipeckpts"));
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "model" / "checkpoint-5"); }), "holds a UNet but not the other components"));
  EXPECT_TRUE(has(refusal([&] { open_pipeline(p / "none"); }), "does not exist"));
}

TEST(InferInputImage, IsPastedPaddedAndResized) {
  if (!data::have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  data::Image im(8, 4, 4);   // opaque red on the left, transparent green on the right
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 8; ++x) {
      std::uint8_t* p = im.row(y) + 4 * x;
      p[0] = x < 4 ? 255 : 0, p[1] = x < 4 ? 0 : 255, p[2] = 0, p[3] = x < 4 ? 255 : 0;
    }
  data::write_png((folder / "a.png").string(), im);
  const InputImage a = read_input_image(folder / "a.png", 8, {1, 1, 1});
  EXPECT_TRUE(a.had_alpha);
  EXPECT_EQ(a.sha256.size(), 64u);
  auto pixel = [&](int y, int x) { return std::vector<int>{a.pixels.data<std::uint8_t>()[(y * 8 + x) * 3], a.pixels.data<std::uint8_t>()[(y * 8 + x) * 3 + 1], a.pixels.data<std::uint8_t>()[(y * 8 + x) * 3 + 2]}; };
  EXPECT_EQ(pixel(4, 1), (std::vector<int>{255, 0, 0}));
  EXPECT_EQ(pixel(4, 6), (std::vector<int>{255, 255, 255}));   // under alpha 0: the background
  EXPECT_EQ(pixel(0, 1), (std::vector<int>{255, 255, 255}));   // padding
  data::write_png((folder / "rgb.png").string(), data::with_channels(im, 3));
  EXPECT_FALSE(read_input_image(folder / "rgb.png", 16, {1, 1, 1}).had_alpha);
  for (std::size_t i = 3; i < im.pixels.size(); i += 4) im.pixels[i] = 0;
  data::write_png((folder / "empty.png").string(), im);
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "empty.png", 8, {1, 1, 1}); }), "transparent everywhere"));
  std::string bytes;
  {
    std::ifstream in(folder / "a.png", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::ofstream(folder / "cut.png", std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "cut.png", 8, {1, 1, 1}); }), "cut.png"));
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "none.png", 8, {1, 1, 1}); }), "none.png"));
}

ViewSet set_of(std::int64_t size, bool truth) {
  auto name = [](std::int64_t i) { return text("mouse_", i); };
  return {size,
          [=](std::int64_t i) {
            ViewSample s{.name = name(i), .noise = std::uint32_t(7 * i), .reference = Tensor::on_heap({kSide, kSide, 3}, DType::u8), .prompts = {0, 1, 2, 3, 4, 5}};
            const Rng rng(4, Draw::test, 0, std::uint32_t(i));
            for (std::int64_t p = 0; p < s.reference.numel(); ++p) s.reference.data<std::uint8_t>()[p] = std::uint8_t(rng.bits_at(std::uint64_t(p)) >> 24);
            if (truth) {
              s.truth = Tensor::on_heap({6, kSide, kSide, 4}, DType::f32);
              for (std::int64_t p = 0; p < s.truth.numel(); ++p) s.truth.data<float>()[p] = rng.uniform_at(std::uint64_t(p));
            }
            return s;
          },
          name};
}

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Tiny {
  TempFolder folder;
  Tiny() { mvdiffusion::write_tiny_pipeline(folder / "p", {.image = kSide, .widths = {32}}); }
  std::unique_ptr<ViewPipeline> pipeline(std::int64_t batch) const {
    return std::make_unique<ViewPipeline>(mvdiffusion::PipelineFiles(folder / "p"),
                                          mvdiffusion::ViewPipelineOptions{.device = kCpu, .compute = DType::f32, .encoders = DType::f32,
                                                                           .prompts = mvdiffusion::tiny_prompts(folder / "p"), .batch = batch,
                                                                           .memory_bytes = std::size_t{1} << 30});
  }
  GenerateOptions options(const std::string& out) const {
    return {.sampler = {.steps = 1}, .folder = folder / out, .settings = R"({"pipeline": "a"})", .source = [](std::int64_t i) { return text("pixels ", i); }};
  }
};

TEST(InferGenerate, LeavesViewsInSlotOrderAndMetrics) {
  const Tiny tiny;
  const auto single = make_single(kCpu);
  const auto pipeline = tiny.pipeline(2);
  const Generated g = generate_views(*pipeline, set_of(3, true), *single, tiny.options("out"));
  EXPECT_EQ(g.made, 3);
  EXPECT_EQ(g.finished_before, 0);
  EXPECT_EQ(g.means.front().first, "psnr");
  for (const char* file : {"views/0_front.png", "views/1_front_right.png", "views/2_right.png", "views/3_back.png", "views/4_left.png", "views/5_front_left.png", "grid.png", "views.json"})
    EXPECT_TRUE(fs::exists(tiny.folder / "out" / "mouse_2" / file)) << file;
  const auto metrics = nlohmann::json::parse(bytes_of(tiny.folder / "out" / "views_metrics.json"));
  EXPECT_EQ(metrics["objects"], 3);
  EXPECT_EQ(metrics["settings"]["steps"], 1);
  EXPECT_NEAR(metrics["mean"]["psnr"], g.means.front().second, 1e-12);
  EXPECT_EQ(metrics["by_object"].size(), 3u);
  if (data::have_image_files()) {   // an independent reader opens them
    const data::Image im = data::read_image((tiny.folder / "out" / "mouse_0" / "views" / "3_back.png").string());
    EXPECT_EQ(im.width, kSide);
    EXPECT_EQ(im.channels, 3);
  }
}

TEST(InferGenerate, GoesOnWhereItStopped) {
  const Tiny tiny;
  const auto single = make_single(kCpu);
  const auto pipeline = tiny.pipeline(1);
  const ViewSet set = set_of(3, false);
  generate_views(*pipeline, set, *single, tiny.options("out"));
  EXPECT_FALSE(fs::exists(tiny.folder / "out" / "views_metrics.json"));
  const fs::path kept = tiny.folder / "out" / "mouse_0" / "views" / "0_front.png", lost = tiny.folder / "out" / "mouse_1" / "views" / "2_right.png";
  const std::string before = bytes_of(lost);
  const auto time = fs::last_write_time(kept);
  fs::remove(lost);                                                       // half written
  std::ofstream(tiny.folder / "out" / "mouse_2" / "views.json") << "{";   // damaged
  Generated g = generate_views(*pipeline, set, *single, tiny.options("out"));
  EXPECT_EQ(g.made, 2);
  EXPECT_EQ(g.finished_before, 1);
  EXPECT_EQ(fs::last_write_time(kept), time);
  EXPECT_EQ(bytes_of(lost), before);
  // Other pixels of one object, then other settings.
  GenerateOptions changed = tiny.options("out");
  changed.source = [](std::int64_t i) { return i == 1 ? "other" : text("pixels ", i); };
  EXPECT_EQ(generate_views(*pipeline, set, *single, changed).made, 1);
  GenerateOptions other = tiny.options("out");
  other.seed = 43;
  EXPECT_EQ(generate_views(*pipeline, set, *single, other).made, 3);
  EXPECT_NE(bytes_of(lost), before);
}

TEST(InferGenerate, IsTheSameForAnyNumberOfRanks) {
  const Tiny tiny;
  const auto single = make_single(kCpu);
  generate_views(*tiny.pipeline(3), set_of(3, true), *single, tiny.options("one"));
  auto ranks = make_thread_ranks(2);
  std::vector<Generated> results(2);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] { results[r] = generate_views(*tiny.pipeline(1), set_of(3, true), *ranks[r], tiny.options("two")); });
  for (auto& t : threads) t.join();
  EXPECT_EQ(results[0].made, 3);
  for (const auto& file : fs::recursive_directory_iterator(tiny.folder / "one"))
    if (file.is_regular_file()) {
      EXPECT_EQ(bytes_of(file.path()), bytes_of(tiny.folder / "two" / fs::relative(file.path(), tiny.folder / "one"))) << file.path();
    }
}

}  // namespace
}  // namespace mfl::infer
