// mfl_infer's first stage: what it is given, what it leaves, and that it goes on where it stopped.
#include <gtest/gtest.h>

#include <cmath>
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
#include "train/infer/rank_references.h"

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

TEST(InferInputImage, IsCutOutFramedAndPasted) {
  if (!data::have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  data::Image im(16, 8, 4);   // opaque red on the left, transparent green on the right
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 16; ++x) {
      std::uint8_t* p = im.row(y) + 4 * x;
      const bool in = x >= 2 && x < 6 && y >= 2 && y < 6;
      p[0] = in ? 255 : 0, p[1] = in ? 0 : 255, p[2] = 0, p[3] = in ? 255 : 0;
    }
  data::write_png((folder / "a.png").string(), im);
  InputOptions o;
  o.side = 16, o.framing.share = 0.25;
  auto pixel = [](const InputImage& a, int y, int x) {
    const std::uint8_t* p = a.pixels.data<std::uint8_t>() + (y * 16 + x) * 3;
    return std::vector<int>{p[0], p[1], p[2]};
  };
  const std::vector<int> red{255, 0, 0}, white{255, 255, 255};
  const InputImage a = read_input_image(folder / "a.png", o);
  EXPECT_TRUE(a.had_alpha);
  EXPECT_EQ(a.confidence, 1);
  EXPECT_EQ(a.sha256.size(), 64u);
  EXPECT_EQ(pixel(a, 8, 8), red);   // 8 x 8 in the middle of 16 x 16
  EXPECT_EQ(pixel(a, 5, 5), red);
  EXPECT_EQ(pixel(a, 2, 8), white);
  const auto decisions = nlohmann::json::parse(a.decisions);
  EXPECT_EQ(decisions["outline"]["from"], "alpha");
  EXPECT_EQ(decisions["framing"]["kind"], "similarity");
  EXPECT_NEAR(decisions["framing"]["matrix"][0][0].get<double>(), 2, 1e-12);
  EXPECT_NEAR(decisions["framing"]["matrix"][0][2].get<double>(), 0, 1e-12);   // (4, 4) to (8, 8)
  EXPECT_EQ(decisions["file"]["bits"], 8);

  // The same by a mask; and masks that are wrong.
  data::Image mask(16, 8, 1);
  for (std::size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = im.pixels[4 * i + 3];
  data::write_png((folder / "mask.png").string(), mask);
  data::write_png((folder / "rgb.png").string(), data::with_channels(im, 3));
  o.mask = (folder / "mask.png").string();
  const InputImage m = read_input_image(folder / "rgb.png", o);
  EXPECT_FALSE(m.had_alpha);
  EXPECT_TRUE(std::equal(m.pixels.data<std::uint8_t>(), m.pixels.data<std::uint8_t>() + m.pixels.numel(), a.pixels.data<std::uint8_t>()));
  data::write_png((folder / "small.png").string(), data::Image(8, 8, 1));
  o.mask = (folder / "small.png").string();
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "rgb.png", o); }), "small.png is 8 x 8, but"));
  data::write_png((folder / "black.png").string(), data::Image(16, 8, 1));
  o.mask = (folder / "black.png").string();
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "rgb.png", o); }), "shows no animal"));
  o.mask.clear();

  // An opaque alpha is none: a picture in which nothing stands out is refused with the remedy.
  data::Image plain(64, 64, 4);
  std::fill(plain.pixels.begin(), plain.pixels.end(), std::uint8_t{255});
  data::write_png((folder / "plain.png").string(), plain);
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "plain.png", o); }), "--mask FILE"));
  // Kept as it is, it must have the network's size.
  o.keep_background = true;
  EXPECT_THROW(read_input_image(folder / "plain.png", o), ConfigError);
  o.side = 64;
  EXPECT_EQ(read_input_image(folder / "plain.png", o).pixels.data<std::uint8_t>()[77], 255);
  o.keep_background = false, o.side = 16;

  for (std::size_t i = 3; i < im.pixels.size(); i += 4) im.pixels[i] = 0;
  data::write_png((folder / "empty.png").string(), im);
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "empty.png", o); }), "transparent everywhere"));
  std::string bytes;
  {
    std::ifstream in(folder / "a.png", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::ofstream(folder / "cut.png", std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "cut.png", o); }), "cut.png"));
  EXPECT_TRUE(has(refusal([&] { read_input_image(folder / "none.png", o); }), "none.png"));
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

// Quantiles from a printed table of Student's t (two-sided, 95 %).
TEST(InferRankReferences, IntervalsAreStudents) {
  const std::pair<int, double> table[] = {{1, 12.706}, {2, 4.303}, {3, 3.182}, {4, 2.776}, {5, 2.571}, {6, 2.447}, {7, 2.365}, {8, 2.306}, {9, 2.262}, {10, 2.228}, {12, 2.179},
                                          {15, 2.131}, {19, 2.093}, {20, 2.086}, {24, 2.064}, {30, 2.042}, {40, 2.021}, {60, 2.000}, {120, 1.980}, {1000, 1.962}};
  for (const auto& [freedom, t] : table) {
    const int n = freedom + 1;
    std::vector<double> x;
    for (int i = 0; i < n; ++i) x.push_back(20 + i);
    const double deviation = std::sqrt(n * (n + 1) / 12.0);   // of n consecutive integers, with n - 1 below
    const Estimate e = estimate(x);
    EXPECT_NEAR(e.mean, 20 + 0.5 * (n - 1), 1e-9);
    EXPECT_NEAR(e.half / deviation * std::sqrt(double(n)), t, 0.001) << freedom << " degrees of freedom";
  }
  EXPECT_TRUE(std::isinf(estimate({3}).half));
  EXPECT_EQ(estimate({3, 3, 3}).half, 0);
}

// The interval covers the truth in 95 % of experiments, and the paired one sees what the two means' own intervals hide.
TEST(InferRankReferences, IntervalsCoverTheTruthAndPairsSeeMore) {
  Rng rng(9, Draw::test);
  const auto normal = [&] { return double(rng.normal()); };
  int covered = 0;
  for (int k = 0; k < 4000; ++k) {
    std::vector<double> x(8);
    for (double& v : x) v = 25 + 2 * normal();
    const Estimate e = estimate(x);
    covered += std::abs(e.mean - 25) <= e.half ? 1 : 0;
  }
  EXPECT_NEAR(covered / 4000.0, 0.95, 0.0104);   // three standard errors

  std::vector<std::vector<double>> psnr(3);
  for (int i = 0; i < 20; ++i) {   // objects differ by decibels, views by tenths
    const double object = 20 + 6 * normal();
    psnr[0].push_back(object + 0.1 * normal()), psnr[1].push_back(object + 0.5 + 0.1 * normal()), psnr[2].push_back(object + 0.5 + 0.1 * normal());
  }
  const std::vector<ReferenceScore> scores = rank(psnr, {"front", "left", "right"});
  EXPECT_EQ(scores[2].view, 0);
  EXPECT_GT(scores[0].psnr.half, 1);                             // the means alone tell nothing
  EXPECT_GT(scores[2].behind.mean - scores[2].behind.half, 0);   // the pairs do
  EXPECT_LT(scores[2].behind.half, 0.2);
  EXPECT_NE(describe(scores, 20).find("over 20 objects"), std::string::npos);
}

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
