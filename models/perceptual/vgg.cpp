#include "models/perceptual/vgg.h"

#include <algorithm>
#include <cmath>

#include "kernels/conv/conv2d.h"
#include "kernels/elementwise/cast.h"

namespace mfl::perceptual {
namespace {

constexpr std::int64_t kStageChannels[kTaps] = {64, 128, 256, 512, 512};

}  // namespace

std::vector<VggLayer> vgg16_layers() {
  constexpr int kConvs[kTaps] = {2, 2, 3, 3, 3};
  std::vector<VggLayer> layers;
  std::int64_t in = 3;
  int index = 0;   // of torchvision's vgg16().features: convolution, ReLU, .., pooling
  for (int stage = 0; stage < kTaps; ++stage) {
    for (int k = 0; k < kConvs[stage]; ++k, index += 2) {
      const bool last = k + 1 == kConvs[stage];
      layers.push_back({text("slice", stage + 1, '.', index), in, kStageChannels[stage], last, last && stage + 1 < kTaps});
      in = kStageChannels[stage];
    }
    ++index;
  }
  return layers;
}

std::vector<VggLayer> vgg19_layers() {
  constexpr int kConvs[kTaps] = {2, 2, 4, 4, 4};
  std::vector<VggLayer> layers;
  std::int64_t in = 3;
  for (int stage = 0; stage < kTaps; ++stage)
    for (int k = 0; k < kConvs[stage]; ++k) {
      layers.push_back({text("conv", layers.size() + 1), in, kStageChannels[stage], k == 1,
                        k + 1 == kConvs[stage] && stage + 1 < kTaps});
      in = kStageChannels[stage];
    }
  return layers;
}

Vgg::Vgg(Scope scope, Pool pool, std::vector<VggLayer> layers) : pool_(pool), layers_(std::move(layers)) {
  MFL_CHECK(layers_.size() <= kMaxLayers, "a VGG of ", layers_.size(), " convolutions; at most ", kMaxLayers);
  int taps = 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const VggLayer& layer = layers_[l];
    weights_.push_back(&(scope / layer.name).param("weight", {layer.out, layer.in, 3, 3}));
    biases_.push_back(&(scope / layer.name).param("bias", {layer.out}));
    if (layer.tap) ++taps, used_ = l + 1;
  }
  MFL_CHECK(taps == kTaps, "a VGG with ", taps, " taps, expected ", kTaps);
}

void Vgg::prepare(const Stream& s, Arena& arena, DType compute) {
  packed_weights_.resize(used_);
  packed_biases_.resize(used_);
  for (std::size_t l = 0; l < used_; ++l) {
    const VggLayer& layer = layers_[l];
    if (!packed_weights_[l] || packed_weights_[l].dtype() != compute) {
      packed_weights_[l] = arena.empty({layer.out, 3, 3, layer.in}, compute, {"loss network weights"});
      packed_biases_[l] = arena.empty({layer.out}, compute, {"loss network weights"});
    }
    conv2d_pack(s, {.weight = weights_[l]->value, .packed = packed_weights_[l]});
    cast(s, {.x = biases_[l]->value, .y = packed_biases_[l]});
  }
}

Taps Vgg::forward(Ctx& cx, const Tensor& x, Saved& saved) const {
  MFL_CHECK(packed_weights_.size() == used_, "a VGG was used before prepare()");
  MFL_CHECK(x.shape().rank() == 4 && x.shape()[1] >= 16 && x.shape()[2] >= 16, "vgg: images ", x.shape(),
            ", expected [N, H, W, 3] with H and W at least 16");
  Taps taps;
  std::size_t tap = 0;
  Tensor input = x;
  for (std::size_t l = 0; l < used_; ++l) {
    const VggLayer& layer = layers_[l];
    const Shape& in = input.shape();
    Tensor y = cx.compute({in[0], in[1], in[2], layer.out}, {"loss network features"});
    conv2d_fwd(cx.stream, {.x = input, .weight = packed_weights_[l], .bias = packed_biases_[l], .relu = true, .y = y});
    saved.y[l] = cx.keep(y);
    if (layer.tap) taps[tap++] = y;
    input = y;
    if (layer.pool_after && l + 1 < used_) {
      input = cx.compute({in[0], in[1] / 2, in[2] / 2, layer.out}, {"loss network features"});
      pool2x2_fwd(cx.stream, {.x = y, .kind = pool_, .y = input});
    }
  }
  return taps;
}

Tensor Vgg::backward(Ctx& cx, Saved saved, Taps dtaps) const {
  const Purpose purpose{"loss network gradients"};
  std::size_t tap = kTaps - 1;
  Tensor dy = std::move(dtaps[tap]);   // of layer l's output, with every later term in it
  for (std::size_t l = used_; l-- > 0;) {
    const Tensor y = std::move(saved.y[l]);
    MFL_CHECK(y, "vgg backward: ", layers_[l].name, " was not saved");
    // Below: the gradient to this layer's input. Where that input is the previous layer's output itself and a tap, the
    // tap's tensor collects both terms.
    const bool pooled = l > 0 && layers_[l - 1].pool_after, tapped = l > 0 && layers_[l - 1].tap;
    const Shape shape{y.shape()[0], y.shape()[1], y.shape()[2], layers_[l].in};
    const bool collect = tapped && !pooled;
    Tensor dx = collect ? std::move(dtaps[--tap]) : cx.compute(shape, purpose);
    conv2d_bwd_input(cx.stream, {.dy = dy, .y = y, .weight = packed_weights_[l], .dx = dx,
                                 .dx_mode = collect ? GradMode::accumulate : GradMode::overwrite, .scratch = dy});
    if (pooled) {
      const Tensor& before = saved.y[l - 1];
      MFL_CHECK(before, "vgg backward: ", layers_[l - 1].name, " was not saved");
      Tensor unpooled = tapped ? std::move(dtaps[--tap]) : cx.compute(before.shape(), purpose);
      pool2x2_bwd(cx.stream, {.x = before, .dy = dx, .kind = pool_, .dx = unpooled,
                              .dx_mode = tapped ? GradMode::accumulate : GradMode::overwrite});
      dx = std::move(unpooled);
    }
    dy = std::move(dx);
  }
  return dy;
}

void set_values(const Stream& s, const Param& p, const Tensor& host) {
  MFL_CHECK(host.device().is_cpu() && host.numel() == p.numel(), p.name, ": ", host.shape(), " on ", host.device(),
            ", expected ", p.shape, " in host memory");
  Tensor same = Tensor::on_heap(p.shape, p.value.dtype());
  cpu::cast({.x = host.reshape(p.shape), .y = same});
  copy(s, same, p.value);
  s.synchronize();
}

void fill_formula_values(const Stream& s, const Param& p, std::uint32_t k, std::uint32_t seed) {
  const double factor = p.shape.rank() == 4 ? std::sqrt(6 / (double(p.shape[1]) * 9)) : 0.05;
  Tensor host = Tensor::on_heap(p.shape, DType::f64);
  double* v = host.data<double>();
  for (std::int64_t i = 0; i < p.numel(); ++i) {
    std::uint32_t x = (static_cast<std::uint32_t>(i) + 1) * 0x9E3779B1u + (k + 1) * 0x85EBCA77u + seed * 0xC2B2AE3Du;
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    v[i] = (2 * (double(x) / 4294967296.0) - 1) * factor;
  }
  set_values(s, p, host);
}
void fill_formula_weights(const Stream& s, const Vgg& vgg, std::uint32_t seed) {
  for (std::size_t l = 0; l < vgg.layers().size(); ++l) {
    fill_formula_values(s, vgg.weight(l), static_cast<std::uint32_t>(2 * l), seed);
    fill_formula_values(s, vgg.bias(l), static_cast<std::uint32_t>(2 * l + 1), seed);
  }
}

}  // namespace mfl::perceptual
