#include "models/perceptual/perceptual.h"

#include <algorithm>

#include "kernels/loss/l1.h"
#include "kernels/loss/normalize_image.h"

namespace mfl::perceptual {
namespace {

constexpr double kRange = 255, kMean[3] = {123.68, 116.779, 103.939};
constexpr double kFactor[kTaps] = {1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5};

NormalizeImageFwd normalized(ConstView image, View y) {
  return {.image = image, .scale = {kRange, kRange, kRange}, .offset = {-kMean[0], -kMean[1], -kMean[2]}, .y = y};
}

}  // namespace

PerceptualLoss::PerceptualLoss(Scope scope, int chunk) : chunk_(chunk), vgg_(scope / "net", Pool::average, vgg19_layers()) {
  MFL_CHECK(chunk >= 1, "perceptual loss: chunks of ", chunk, " images");
}

void PerceptualLoss::run(Ctx& cx, const Tensor& render, const Tensor& target, double weight, View loss, View drender) const {
  const Stream& s = cx.stream;
  const std::int64_t images = render.shape()[0], height = render.shape()[1], width = render.shape()[2];
  GradMode loss_mode = GradMode::overwrite;
  // Adds one term: factor * mean |a - b| over all images; returns its gradient to a.
  auto term = [&](const Tensor& a, const Tensor& b, std::int64_t n, double factor) {
    const double scale = factor / kRange / double(a.numel() / n * images);
    Tensor scratch = cx.arena.empty({l1_scratch(a.numel())}, DType::f32, {"loss sums"});
    l1_fwd(s, {.a = a, .b = b, .scale = scale, .loss = loss, .loss_mode = loss_mode, .scratch = scratch});
    loss_mode = GradMode::accumulate;
    if (!drender) return Tensor{};
    Tensor da = cx.arena.empty(a.shape(), a.dtype(), {"loss network gradients"});
    l1_bwd(s, {.a = a, .b = b, .scale = scale, .weight = weight, .da = da});
    return da;
  };
  for (std::int64_t first = 0; first < images; first += chunk_) {
    const std::int64_t n = std::min<std::int64_t>(chunk_, images - first);
    auto input_gradient = [&](const Tensor& dx) {
      normalize_image_bwd(s, {.dy = dx, .scale = {kRange, kRange, kRange}, .dimage = slice(drender, 0, first, n)});
    };
    {
      // The images themselves are compared in the accumulation type.
      Tensor a = cx.accum({n, height, width, 3}, {"loss network input"}), b = cx.accum(a.shape(), {"loss network input"});
      normalize_image_fwd(s, normalized(render.rows(first, n), a));
      normalize_image_fwd(s, normalized(target.rows(first, n), b));
      if (Tensor da = term(a, b, n, 1)) input_gradient(da);
    }
    Tensor x = cx.compute({n, height, width, 3}, {"loss network input"});
    Vgg::Saved nothing, saved;
    Taps b, a, da;
    {
      Saving off(cx, false);
      normalize_image_fwd(s, normalized(target.rows(first, n), x));
      b = vgg_.forward(cx, x, nothing);
    }
    {
      Saving on(cx, bool(drender));
      normalize_image_fwd(s, normalized(render.rows(first, n), x));
      a = vgg_.forward(cx, x, saved);
    }
    x.reset();
    for (std::size_t k = 0; k < kTaps; ++k) {
      da[k] = term(a[k], b[k], n, kFactor[k]);
      a[k].reset();
      b[k].reset();
    }
    if (drender) input_gradient(vgg_.backward(cx, std::move(saved), std::move(da)));
  }
}

}  // namespace mfl::perceptual
