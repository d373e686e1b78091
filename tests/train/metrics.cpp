// Validation metrics: against scikit-image and PyTorch (tests/golden/make_loss.py), and their laws.
#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "runtime/error.h"
#include "runtime/io/safetensors.h"
#include "tests/support/shared_files.h"
#include "train/metric_sums.h"

namespace mfl {
namespace {

constexpr std::array<double, 3> kWhite{1, 1, 1};

struct Golden {
  io::SafetensorsFile file{test::own_golden("loss.safetensors")};
  Tensor render = file.load("render", DType::f32), target = file.load("target");
  double value(const char* name) const { return file.load(name).data<double>()[0]; }
};

TEST(Metrics, MatchScikitImageAndPyTorch) {
  const Golden g;
  EXPECT_NEAR(psnr(g.render, g.target, 0), g.value("psnr"), 1e-6);
  EXPECT_NEAR(foreground_psnr(g.render, g.target, 0).value(), g.value("foreground_psnr"), 1e-6);
  EXPECT_NEAR(metric_ssim(g.render, g.target, 0), g.value("metric_ssim"), 1e-7);
  const MaskScore mask = mask_score(g.render, g.target, kWhite);
  EXPECT_NEAR(mask.iou, g.value("mask_iou"), 1e-12);
  EXPECT_NEAR(mask.coverage, g.value("coverage"), 1e-12);
  EXPECT_FALSE(mask.empty_render());
}

Tensor filled(Shape shape, float value) {
  Tensor t = Tensor::on_heap(shape, DType::f32);
  std::fill_n(t.data<float>(), t.numel(), value);
  return t;
}

TEST(Metrics, AnEmptyRenderIsNamed) {
  const Golden g;
  const MaskScore mask = mask_score(filled(g.render.shape(), 1), g.target, kWhite);
  EXPECT_TRUE(mask.empty_render());
  EXPECT_EQ(mask.iou, 0);
  EXPECT_GT(mask.expected, 0);
}
TEST(Metrics, ViewsAreScoredOneByOne) {
  Tensor render = filled({2, 12, 12, 3}, 0.5f), target = filled({2, 12, 12, 4}, 0.5f);
  std::fill_n(render.data<float>() + 12 * 12 * 3, 12 * 12 * 3, 0.6f);
  const ViewScores s = score_views(render, target, kWhite);   // alpha 0.5 is no foreground
  ASSERT_EQ(s.psnr.size(), 2u);
  EXPECT_EQ(s.psnr[0], std::numeric_limits<double>::infinity());
  EXPECT_NEAR(s.psnr[1], 20, 1e-4);
  EXPECT_NEAR(s.ssim[0], 1, 1e-12);
  EXPECT_LT(s.ssim[1], 1);
  EXPECT_TRUE(s.foreground_psnr.empty());
  EXPECT_TRUE(std::isnan(mean(s.foreground_psnr)));
  EXPECT_NEAR(mean(s.ssim), (s.ssim[0] + s.ssim[1]) / 2, 1e-15);
}
TEST(Metrics, PsnrClipsBothImages) {
  const Tensor render = filled({1, 2, 2, 3}, 7), target = filled({1, 2, 2, 3}, 1);
  EXPECT_EQ(psnr(render, target, 0), std::numeric_limits<double>::infinity());
}
TEST(Metrics, AViewThatIsEqualIsAHundredDecibelsInAMean) {
  const Tensor same = filled({1, 2, 2, 3}, 1);
  EXPECT_EQ(mean_decibels({psnr(same, same, 0), 20}), 60);
  EXPECT_EQ(mean_decibels({10, 20}), 15);
}
TEST(Metrics, WithoutAlphaThereIsNoForeground) {
  const Tensor render = filled({1, 11, 11, 3}, 0.25f), target = filled({1, 11, 11, 3}, 0.5f);
  EXPECT_FALSE(foreground_psnr(render, target, 0));
  const MaskScore mask = mask_score(render, target, kWhite);
  EXPECT_EQ(mask.iou, 0);
  EXPECT_EQ(mask.coverage, 1);
}

TEST(Metrics, LpipsOfEachViewAveragesToTheLoss) {
  const Stream s = Stream::create(kCpu, "test");
  Arena weights(kCpu, std::size_t{1} << 30, "weights"), arena(kCpu, std::size_t{1} << 31, "activations");
  ParamStore store(weights, Precision{}, false);
  perceptual::LpipsLoss lpips(Scope{store, std::string(perceptual::LpipsLoss::kScope)});
  store.seal(s);
  perceptual::fill_formula_weights(s, lpips.trunk(), 16);
  lpips.set_heads(s, [&](const std::string& name) { return filled(lpips.head(name[3] - '0').shape, 0.01f); });
  lpips.prepare(s, weights, DType::f32);
  Ctx cx{.stream = s, .arena = arena};
  Tensor render = filled({2, 16, 16, 3}, 0.5f), target = filled({2, 16, 16, 4}, 0.25f), loss = filled({1}, 0);
  for (int i = 0; i < 100; ++i) render.data<float>()[i * 7] = 0.9f;
  const std::vector<double> of = lpips_per_view(cx, lpips, render, target);
  lpips.run(cx, render, target, 1, loss);
  ASSERT_EQ(of.size(), 2u);
  EXPECT_NE(of[0], of[1]);
  EXPECT_NEAR(mean(of), double(loss.data<float>()[0]), 1e-6);
}

// What one rank's share of a validation throws ends it on all ranks, with the cause.
TEST(MetricSums, ARankThatFailsTakesAllWithIt) {
  auto ranks = make_thread_ranks(3);
  std::vector<std::string> said(3);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 3; ++r)
    threads.emplace_back([&, r] {
      MetricSums sums;
      sums.add("psnr", 20);
      try {
        try {
          if (r == 1) throw_error<OutOfMemory>("no room");
        } catch (...) {
          sums.fail();
        }
        sums.means(*ranks[r]);
      } catch (const OutOfMemory& e) {
        said[r] = text("own: ", e.what());
      } catch (const DataError& e) {
        said[r] = e.what();
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(said, (std::vector<std::string>{"rank 1 failed: no room", "own: no room", "rank 1 failed: no room"}));
}

}  // namespace
}  // namespace mfl
