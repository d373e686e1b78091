#include "models/mvdiffusion/initialise.h"

#include <cmath>
#include <functional>

#include "models/weights/coverage.h"
#include "runtime/rng.h"

namespace mfl::mvdiffusion {
namespace {

// `value(parameter)` gives what element i of it is.
using Element = std::function<double(std::uint64_t)>;
void fill(const Stream& s, ParamStore& store, const std::function<Element(const Param&, const Rng&)>& of, std::uint64_t seed,
          std::uint64_t network) {
  if (s.device().is_meta()) return;
  std::uint32_t index = 0;
  for (const Param& p : store.all()) {
    const Element element = of(p, Rng(seed, Draw::init, network, index++));
    const std::int64_t n = p.numel();
    const Tensor host = Tensor::on_heap(p.shape, DType::f32);
    float* out = host.data<float>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(element(static_cast<std::uint64_t>(i)));
    weights::load_parameter(s, p, io::stored(host), p.name);
  }
  weights::refresh_compute(s, store);
  s.synchronize();
}

Element constant(double value) {
  return [value](std::uint64_t) { return value; };
}

// Layers with a weight and a bias, and norms.
void fill_uniform(const Stream& s, ParamStore& store, std::uint64_t seed, std::uint64_t network) {
  fill(s, store, [&](const Param& p, const Rng& rng) -> Element {
    const bool bias = p.name.ends_with(".bias");
    const Param* weight = bias ? store.find(p.name.substr(0, p.name.size() - 4) + "weight") : &p;
    MFL_CHECK(weight, "fresh weights: ", p.name, " has no weight beside it");
    if (weight->shape.rank() < 2) return constant(bias ? 0 : 1);   // a norm
    const double bound = 1 / std::sqrt(double(weight->numel() / weight->shape[0]));
    return [=](std::uint64_t i) { return bound * (2 * double(rng.uniform_at(i)) - 1); };
  }, seed, network);
}

}  // namespace

void initialise_unet(const Stream& s, ParamStore& store, std::uint64_t seed) { fill_uniform(s, store, seed, 0); }
void initialise_vae(const Stream& s, ParamStore& store, std::uint64_t seed) { fill_uniform(s, store, seed, 3); }


void initialise_clip(const Stream& s, ParamStore& store, const ClipConfig& c, std::uint64_t seed) {
  const double width = 1 / std::sqrt(double(c.hidden)), deep = width / std::sqrt(2 * double(c.layers));
  fill(s, store, [&](const Param& p, const Rng& rng) -> Element {
    auto has = [&](std::string_view part) { return p.name.find(part) != std::string::npos; };
    double deviation = 0;
    if (has("class_embedding") || has("out_proj") || has("visual_projection")) deviation = width;
    else if (has("patch_embedding") || has("position_embedding")) deviation = 0.02;
    else if (has("fc1")) deviation = width / std::sqrt(2.0);
    else if (has("fc2") || has("_proj")) deviation = deep;
    else return constant(p.name.ends_with("weight") ? 1 : 0);   // a norm
    if (p.name.ends_with("bias")) return constant(0);
    return [=](std::uint64_t i) { return deviation * rng.normal_at(i); };
  }, seed, 1);
}

}  // namespace mfl::mvdiffusion
