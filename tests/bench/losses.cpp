// The image losses of one scene, forward and backward: one JSON line a loss.
//
//   bench_losses [views = 8] [size = 512] [dtype = bf16] [chunk = 4] [repeats = 10]
//
// `ms` is the median with the gradient, `value_ms` without it (validation), `arena_mib` the peak of the activations.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/loss/mse.h"
#include "kernels/loss/ssim.h"
#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "runtime/rng.h"

namespace mfl {
namespace {

using perceptual::LpipsLoss;
using perceptual::PerceptualLoss;

double milliseconds(const Stream& s, int repeats, const std::function<void()>& work) {
  std::vector<double> ms;
  for (int i = 0; i < repeats + 2; ++i) {
    const Event from = s.record();
    work();
    const Event to = s.record();
    to.synchronize();
    if (i >= 2) ms.push_back(to.milliseconds_since(from));
  }
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2];
}

void run(std::int64_t views, std::int64_t size, DType compute, int chunk, int repeats) {
  const Device device = cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : kCpu;
  const Stream s = Stream::create(device, "bench");
  Arena weights(device, std::size_t{2} << 30, "weights"), arena(device, std::size_t{40} << 30, "activations");
  auto uniform = [&](Shape shape, std::uint32_t stream) {
    Tensor host = Tensor::on_heap(shape, DType::f32), t = Tensor::on_heap(shape, DType::f32, device);
    Rng rng(1, Draw::test, 0, stream);
    for (std::int64_t i = 0; i < host.numel(); ++i) host.data<float>()[i] = rng.uniform();
    copy(s, host, t);
    s.synchronize();
    return t;
  };
  const Tensor render = uniform({views, size, size, 3}, 0), target = uniform({views, size, size, 4}, 1);
  Tensor drender = Tensor::on_heap(render.shape(), DType::f32, device), loss = Tensor::on_heap({1}, DType::f32, device),
         other = Tensor::on_heap({1}, DType::f32, device);
  fill_zero(s, drender);
  auto report = [&](const char* name, const std::function<void(bool)>& work) {
    arena.begin_step();
    const double value = milliseconds(s, repeats, [&] { work(false); }), both = milliseconds(s, repeats, [&] { work(true); });
    Tensor host = Tensor::on_heap({1}, DType::f32);
    copy(s, loss, host);
    s.synchronize();
    std::printf("{\"loss\": \"%s\", \"views\": %lld, \"size\": %lld, \"dtype\": \"%s\", \"chunk\": %d, \"ms\": %.3f, "
                "\"value_ms\": %.3f, \"arena_mib\": %.0f, \"value\": %.6g}\n",
                name, static_cast<long long>(views), static_cast<long long>(size), name_of(compute), chunk, both, value,
                double(arena.step_peak_bytes()) / (1 << 20), double(host.data<float>()[0]));
    std::fflush(stdout);
  };
  report("mse", [&](bool gradient) {
    Tensor scratch = arena.empty({mse_scratch(render.shape().rows())}, DType::f32);
    mse_fwd(s, {.render = render, .target = target, .pixels = PixelSet::foreground, .loss = loss, .count = other,
                .scratch = scratch});
    if (gradient)
      mse_bwd(s, {.render = render, .target = target, .pixels = PixelSet::foreground, .count = other, .drender = drender});
  });
  report("ssim", [&](bool gradient) {
    Tensor scratch = arena.empty({ssim_scratch(views, size, size)}, DType::f32), maps;
    if (gradient) maps = arena.empty({3, views, size - 10, size - 10, 3}, DType::f32);
    ssim_fwd(s, {.render = render, .target = target, .masked = true, .loss = loss, .ssim = other,
                 .maps = gradient ? View(maps) : View{}, .scratch = scratch});
    if (gradient)
      ssim_bwd(s, {.render = render, .target = target, .masked = true, .ssim = other, .maps = maps, .drender = drender});
  });
  ParamStore store(weights, Precision{}, false);
  LpipsLoss lpips(Scope{store, std::string(LpipsLoss::kScope)}, chunk);
  PerceptualLoss perceptual(Scope{store, std::string(PerceptualLoss::kScope)}, chunk);
  store.seal(s);
  fill_formula_weights(s, lpips.trunk(), 16);
  fill_formula_weights(s, perceptual.trunk(), 19);
  lpips.set_heads(s, [&](const std::string& name) {
    Tensor head = Tensor::on_heap(lpips.head(name[3] - '0').shape, DType::f32);
    std::fill_n(head.data<float>(), head.numel(), 1 / float(head.numel()));
    return head;
  });
  lpips.prepare(s, weights, compute);
  perceptual.prepare(s, weights, compute);
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(compute)};
  report("lpips", [&](bool gradient) { lpips.run(cx, render, target, 0.5, loss, gradient ? drender.view() : View{}); });
  report("perceptual",
         [&](bool gradient) { perceptual.run(cx, render, target, 0.5, loss, gradient ? drender.view() : View{}); });
}

}  // namespace
}  // namespace mfl

int main(int argc, char** argv) {
  auto number = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  const bool f32 = argc > 3 && std::string(argv[3]) == "f32";
  mfl::run(number(1, 8), number(2, 512), f32 ? mfl::DType::f32 : mfl::DType::bf16, number(4, 4), number(5, 10));
}
