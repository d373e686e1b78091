#include "tests/bench/unet.h"

#include <cmath>
#include <functional>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/normal.h"
#include "models/mvdiffusion/unet.h"
#include "tests/bench/device_time.h"

namespace mfl::bench {
namespace {

using namespace mvdiffusion;

// Standard normal numbers, times `factor`.
void fill_random(const Stream& s, const Tensor& t, double factor) {
  Tensor zero = Tensor::on_heap({1}, DType::i32, s.device());
  fill_zero(s, zero);
  fill_normal(s, {.x = t.reshape({1, t.numel()}), .streams = zero, .purpose = Draw::init});
  scale_(s, {.x = t, .factor = factor});
  s.synchronize();
}

// The sum of a tensor's elements is finite: so is every element.
void require_finite(const Stream& s, const Tensor& t, const char* what) {
  Tensor host = Tensor::on_heap(t.shape(), t.dtype()), wide = Tensor::on_heap(t.shape(), DType::f64);
  copy(s, t, host);
  s.synchronize();
  cpu::cast({.x = host, .y = wide});
  double sum = 0;
  for (std::int64_t i = 0; i < wide.numel(); ++i) sum += std::abs(wide.data<double>()[i]);
  if (!std::isfinite(sum)) throw_error<DeviceError>("The UNet's ", what, " is not finite.");
}

}  // namespace

std::vector<UnetTime> time_unet(Device device, DType compute, std::int64_t objects, bool recompute, int repeats) {
  const Stream s = Stream::create(device, "bench");
  const Precision precision = Precision::of(compute);
  Arena weights(device, std::size_t{24} << 30, "weights"), arena(device, std::size_t{120} << 30, "activations");
  UnetSpec spec;
  spec.recompute = recompute;
  ParamStore store(weights, precision);
  const Unet unet(Scope{store}, spec);
  store.seal(s);
  fill_random(s, store.values(), 0.02);
  if (precision.compute != precision.accum) cast(s, {.x = store.values(), .y = store.computes()});
  Ctx cx{.stream = s, .arena = arena, .precision = precision};
  constexpr std::int64_t kSide = 64, kText = 77;
  auto input = [&](std::int64_t samples) {
    const Unet::Input in{weights.empty({samples, kSide, kSide, spec.in_channels}, precision.compute),
                         weights.empty({samples}, precision.accum), weights.empty({samples, spec.class_width}, precision.compute),
                         weights.empty({samples, kText, spec.text_width}, precision.compute)};
    for (const Tensor* t : {&in.sample, &in.class_labels, &in.text}) fill_random(s, *t, 1);
    fill_(s, {.x = in.timesteps, .value = 500});
    return in;
  };
  const double flops = unet.forward_flops(kSide, kText);
  auto median = [&](std::string what, double work, const std::function<void()>& run) -> UnetTime {
    const DeviceTime t = device_time(s, arena, repeats, run);
    return {std::move(what), t.ms, work / t.ms / 1e9, t.gib};
  };

  std::vector<UnetTime> times;
  {
    const Unet::Input in = input(objects * spec.views);
    Tensor out;
    times.push_back(median(text("UNet forward and backward, ", objects, " x 6 views", recompute ? ", recomputed" : ""),
                           3 * flops * double(objects * spec.views), [&] {
                             out.reset();
                             Unet::Saved saved;
                             out = unet.forward(cx, in, saved);
                             Tensor dy = cx.compute(out.shape());
                             copy(s, out, dy);
                             unet.backward(cx, std::move(saved), std::move(dy));
                           }));
    require_finite(s, out, "output");
    require_finite(s, store.grads(), "gradient");
  }
  cx.saving = false;
  const Unet::Input in = input(2 * spec.views);
  times.push_back(median("UNet forward, one object under guidance", flops * double(2 * spec.views), [&] {
    Unet::Saved nothing;
    unet.forward(cx, in, nothing);
  }));
  return times;
}

}  // namespace mfl::bench
