#include "models/perceptual/lpips.h"

#include <algorithm>

#include "kernels/elementwise/cast.h"
#include "kernels/loss/feature_distance.h"
#include "kernels/loss/normalize_image.h"

namespace mfl::perceptual {
namespace {

constexpr double kShift[3] = {-.030, -.088, -.188}, kScale[3] = {.458, .448, .450};

NormalizeImageFwd normalized(ConstView image, View y) {
  NormalizeImageFwd a{.image = image, .y = y};
  for (std::size_t c = 0; c < 3; ++c) a.scale[c] = 2 / kScale[c], a.offset[c] = (-1 - kShift[c]) / kScale[c];
  return a;
}

Tensor constants(const double (&values)[3]) {
  Tensor t = Tensor::on_heap({1, 3, 1, 1}, DType::f64);
  std::copy(values, values + 3, t.data<double>());
  return t;
}

}  // namespace

LpipsLoss::LpipsLoss(Scope scope, int chunk)
    : chunk_(chunk), shift_((scope / "scaling_layer").param("shift", {1, 3, 1, 1})),
      scale_((scope / "scaling_layer").param("scale", {1, 3, 1, 1})), vgg_(scope / "net", Pool::max, vgg16_layers()) {
  MFL_CHECK(chunk >= 1, "lpips: chunks of ", chunk, " images");
  std::vector<std::int64_t> channels;
  for (const VggLayer& layer : vgg_.layers())
    if (layer.tap) channels.push_back(layer.out);
  for (std::size_t k = 0; k < kTaps; ++k)
    heads_[k] = &scope.param(text("lin", k, ".model.1.weight"), {1, channels[k], 1, 1});
  for (std::size_t k = 0; k < kTaps; ++k)
    aliases_[k] = &scope.param(text("lins.", k, ".model.1.weight"), {1, channels[k], 1, 1});
}

void LpipsLoss::prepare(const Stream& s, Arena& arena, DType compute) {
  set_values(s, shift_, constants(kShift));
  set_values(s, scale_, constants(kScale));
  for (std::size_t k = 0; k < kTaps; ++k) copy(s, heads_[k]->value, aliases_[k]->value);
  vgg_.prepare(s, arena, compute);
}

void LpipsLoss::set_heads(const Stream& s, const std::function<Tensor(const std::string&)>& source) {
  for (std::size_t k = 0; k < kTaps; ++k) set_values(s, *heads_[k], source(text("lin", k, ".model.1.weight")));
}

void LpipsLoss::run(Ctx& cx, const Tensor& render, const Tensor& target, double weight, View loss, View drender) const {
  const Stream& s = cx.stream;
  const std::int64_t images = render.shape()[0], height = render.shape()[1], width = render.shape()[2];
  GradMode loss_mode = GradMode::overwrite;
  for (std::int64_t first = 0; first < images; first += chunk_) {
    const std::int64_t n = std::min<std::int64_t>(chunk_, images - first);
    Tensor x = cx.compute({n, height, width, 3}, {"loss network input"});
    Vgg::Saved nothing, saved;
    Taps b, a;
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
    Taps da;
    for (std::size_t k = 0; k < kTaps; ++k) {
      const Tensor head = heads_[k]->value.reshape({heads_[k]->numel()});
      const std::int64_t rows = a[k].shape().rows();
      const double scale = 1 / double(rows / n * images);
      {
        Tensor scratch = cx.arena.empty({feature_distance_scratch(rows)}, DType::f32, {"loss sums"});
        feature_distance_fwd(s, {.a = a[k], .b = b[k], .head = head, .scale = scale, .loss = loss, .loss_mode = loss_mode,
                                 .scratch = scratch});
        loss_mode = GradMode::accumulate;
      }
      if (drender) {
        da[k] = cx.compute(a[k].shape(), {"loss network gradients"});
        feature_distance_bwd(s, {.a = a[k], .b = b[k], .head = head, .scale = scale, .weight = weight, .da = da[k]});
      }
      a[k].reset();
      b[k].reset();
    }
    if (!drender) continue;
    const Tensor dx = vgg_.backward(cx, std::move(saved), std::move(da));
    NormalizeImageBwd bwd{.dy = dx, .dimage = slice(drender, 0, first, n)};
    for (std::size_t c = 0; c < 3; ++c) bwd.scale[c] = 2 / kScale[c];
    normalize_image_bwd(s, bwd);
  }
}

}  // namespace mfl::perceptual
