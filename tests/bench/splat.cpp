// Rendering forward and backward, on the two ring scenes of tests/support/splat_scene.h: one record a scene, as
// mfl_bench keeps them.
//
//   bench_splat [size = 512] [repeats = 10] [scene: trained, initialised or both]
//
// Medians. `render_ms` and `render_backward_ms` are the whole Renderer; the others are its four stages, timed apart.
// Intersections, slots and listed splats are sums over the depth chunks.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "models/gslrm/renderer.h"
#include "runtime/rng.h"
#include "tests/bench/machine.h"
#include "tests/support/splat_scene.h"

namespace mfl {
namespace {

using gslrm::Cameras;
using gslrm::Gaussians;
using gslrm::Renderer;

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void run(const char* name, test::SceneKind kind, int size, int repeats) {
  const Device device = cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : kCpu;
  const Stream s = Stream::create(device, "bench");
  const test::SplatScene scene = test::ring_scene(kind, size);
  const std::int64_t n = scene.gaussians, views = scene.views;
  Arena arena(device, std::size_t{16} << 30, "bench"), render_arena(device, std::size_t{40} << 30, "render");
  auto upload = [&](Shape shape, const std::vector<float>& v) {
    Tensor t = Tensor::on_heap(shape, DType::f32, device);
    copy(s, make_view(static_cast<const void*>(v.data()), shape, DType::f32), t);
    s.synchronize();
    return t;
  };
  const Gaussians g{upload({n, 3}, scene.xyz), upload({n, 1, 3}, scene.features), upload({n, 3}, scene.scaling),
                    upload({n, 4}, scene.rotation), upload({n, 1}, scene.opacity)};
  const Cameras k{upload({views, 4, 4}, scene.c2w), upload({views, 4}, scene.fxfycxcy), size, size};
  std::vector<float> weights(std::size_t(views) * std::size_t(size) * std::size_t(size) * 3);
  Rng rng(3, Draw::test);
  for (float& w : weights) w = float(rng.uniform(-1, 1));
  const Tensor dimage = upload({views, size, size, 3}, weights);
  auto timed = [&](auto&& f) {
    s.synchronize();
    const Event from = s.record();
    f();
    const Event to = s.record();
    to.synchronize();
    return to.milliseconds_since(from);
  };
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f32)};
  std::vector<double> forward, backward, stage[4];
  for (int i = 0; i < repeats + 2; ++i) {
    Renderer::Saved saved;
    Tensor image;
    const double f = timed([&] { image = Renderer{}.forward(cx, render_arena, g, k, saved); });
    const double b = timed([&] { Renderer{}.backward(cx, render_arena, std::move(saved), dimage); });
    if (i >= 2) forward.push_back(f), backward.push_back(b);
  }
  std::int64_t entries = 0, slots = 0, listed = 0;
  std::size_t chunks = 0;
  for (int i = 0; i < repeats + 2; ++i) {
    Tensor image = arena.empty({views, size, size, 3}, DType::f32), rect = render_arena.empty({views, n}, DType::i32),
           splat = render_arena.empty({views, n, kSplatSize}, DType::f32),
           depth = render_arena.empty({views, n}, DType::f32);
    Gaussians d{arena.empty({n, 3}, DType::f32), arena.empty({n, 1, 3}, DType::f32), arena.empty({n, 3}, DType::f32),
                arena.empty({n, 4}, DType::f32), arena.empty({n, 1}, DType::f32)};
    RasterizeState state;
    double ms[4];
    ms[0] = timed([&] { project_fwd(s, gslrm::projection(g, k, 1, splat, depth, rect)); });
    ms[1] = timed([&] {
      rasterize_fwd(s, render_arena, {.splat = splat, .depth = depth, .rect = rect, .image = image}, &state);
    });
    ms[2] = timed([&] { rasterize_bwd(s, render_arena, {.image = image, .dimage = dimage, .dsplat = splat}, state); });
    ms[3] = timed([&] { project_bwd(s, gslrm::projection_gradient(g, k, 1, rect, splat, d)); });
    if (i >= 2)
      for (int e = 0; e < 4; ++e) stage[e].push_back(ms[e]);
    entries = slots = listed = 0, chunks = state.chunks.size();
    for (const auto& c : state.chunks) entries += c.entries, slots += c.slots, listed += c.list.numel();
  }
  nlohmann::ordered_json j = {{"kind", "figure"},
                              {"what", text("rendering ", n, " Gaussians to ", views, " views of ", size, "x", size,
                                            ", ", name, ", forward and backward")},
                              {"value", median(forward) + median(backward)},
                              {"unit", "ms"},
                              {"command", text("bench_splat ", size, ' ', repeats, ' ', name)},
                              {"render_ms", median(forward)},
                              {"render_backward_ms", median(backward)},
                              {"project_fwd_ms", median(stage[0])},
                              {"rasterize_fwd_ms", median(stage[1])},
                              {"rasterize_bwd_ms", median(stage[2])},
                              {"project_bwd_ms", median(stage[3])},
                              {"chunks", chunks},
                              {"splats_listed", entries},
                              {"slots", slots},
                              {"intersections", listed},
                              {"render_arena_bytes", render_arena.peak_bytes()}};
  j.update(bench::describe_machine(device));
  std::printf("%s\n", j.dump().c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace mfl

int main(int argc, char** argv) {
  const int size = argc > 1 ? std::atoi(argv[1]) : 512, repeats = argc > 2 ? std::atoi(argv[2]) : 10;
  const std::string scene = argc > 3 ? argv[3] : "both";
  try {
    if (scene != "initialised") mfl::run("trained", mfl::test::SceneKind::trained, size, repeats);
    if (scene != "trained") mfl::run("initialised", mfl::test::SceneKind::initialised, size, repeats);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_splat: %s\n", e.what());
    return 1;
  }
}
