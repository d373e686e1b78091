#include "tests/bench/reconstruction.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <vector>

#include "models/gslrm/filters.h"
#include "models/gslrm/ply.h"
#include "models/gslrm/renderer.h"
#include "runtime/rng.h"
#include "tests/bench/device_time.h"
#include "tests/support/splat_scene.h"
#include "train/config.h"
#include "train/infer/reconstruct.h"
#include "train/infer/rig.h"

namespace mfl::bench {
namespace {

namespace fs = std::filesystem;

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + std::ptrdiff_t(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// Wall time on the host, after one run that is not timed.
double wall_ms(int repeats, const std::function<void()>& run) {
  run();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  return median(times);
}

// One view of the trained-like scene, forward alone: the median over its cameras.
double one_view_ms(Device device, int size, int repeats) {
  const Stream s = Stream::create(device, "bench");
  const test::SplatScene scene = test::ring_scene(test::SceneKind::trained, size);
  Arena arena(device, std::size_t{16} << 30, "bench"), render_arena(device, std::size_t{16} << 30, "render");
  auto upload = [&](Shape shape, const std::vector<float>& v) {
    Tensor t = Tensor::on_heap(shape, DType::f32, device);
    copy(s, make_view(static_cast<const void*>(v.data()), shape, DType::f32), t);
    s.synchronize();
    return t;
  };
  const std::int64_t n = scene.gaussians;
  const gslrm::Gaussians g{upload({n, 3}, scene.xyz), upload({n, 1, 3}, scene.features), upload({n, 3}, scene.scaling),
                           upload({n, 4}, scene.rotation), upload({n, 1}, scene.opacity)};
  const Tensor c2w = upload({scene.views, 4, 4}, scene.c2w), k = upload({scene.views, 4}, scene.fxfycxcy);
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f32), .saving = false};
  std::vector<double> times;
  for (std::int64_t v = 0; v < scene.views; ++v)
    times.push_back(device_time(s, arena, repeats, [&] {
                      gslrm::Renderer::Saved none;
                      gslrm::Renderer{}.forward(cx, render_arena, g, {c2w.rows(v, 1), k.rows(v, 1), size, size}, none);
                    }).ms);
  return median(times);
}

}  // namespace

void time_reconstruction(const ReconstructionBench& b, const std::function<void(const ReconstructionTime&)>& report) {
  const GslrmConfig config = load_gslrm_config(b.config.string()).config;
  infer::Reconstructor r(config, {.device = b.device, .compute = b.compute, .input_views = 6});
  if (!b.checkpoint.empty()) r.load(b.checkpoint);
  const int side = static_cast<int>(r.spec().image_size);
  constexpr std::array<int, 6> kSlots{0, 1, 2, 3, 4, 5};
  const gslrm::Cameras cameras = infer::canonical_cameras(kSlots, side);
  Tensor images = Tensor::on_heap({6, side, side, 3}, DType::f32);
  Rng rng(1, Draw::test);
  for (std::int64_t i = 0; i < images.numel(); ++i) images.data<float>()[i] = static_cast<float>(rng.uniform(0, 1));

  const std::string name = text("6 views of ", side, "x", side);
  gslrm::Gaussians last;
  report({name + " to Gaussians, uploads and wait included", wall_ms(b.repeats, [&] { last = {}; last = r.reconstruct(images, cameras); }), "ms"});
  report({"memory of it: weights, activations", double(r.weight_arena().peak_bytes() + r.step_arena().peak_bytes()) / double(1 << 30), "GiB"});
  gslrm::Gaussians host;
  report({text("its ", last.xyz.shape()[0], " Gaussians to the host"), wall_ms(3, [&] { host = r.to_host(last); }), "ms"});
  const fs::path file = fs::temp_directory_path() / "mfl_bench.ply";
  report({"all of them to a PLY file", wall_ms(3, [&] { gslrm::write_ply(file, host); }), "ms"});
  fs::remove(file);
  report({text("one view of ", side, "x", side, " of a trained-like scene's Gaussians, rendered"), one_view_ms(b.device, side, b.repeats), "ms"});
}

}  // namespace mfl::bench
