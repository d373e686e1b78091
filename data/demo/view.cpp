#include "data/demo/view.h"

#include <algorithm>

#include "data/demo/rasterizer.h"
#include "data/demo/rig.h"

namespace mfl::data::demo {
namespace {

// Linear light to 8-bit sRGB, with a shoulder that keeps highlights from clipping.
std::uint8_t encode(double linear) {
  static const std::vector<std::uint8_t> table = [] {
    std::vector<std::uint8_t> t(4096);
    for (std::size_t i = 0; i < t.size(); ++i) {
      const double x = static_cast<double>(i) / 1024, c = std::min(1.0, x * (1 + x / 6) / (1 + 0.72 * x));
      const double s = c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1 / 2.4) - 0.055;
      t[i] = static_cast<std::uint8_t>(std::lround(255 * clamp01(s)));
    }
    return t;
  }();
  return table[static_cast<std::size_t>(std::clamp(linear * 1024, 0.0, 4095.0))];
}

}  // namespace

std::vector<V> light_on(const Animal& animal, const Animal::State& state, const Lighting& light) {
  std::vector<V> out(animal.body().vertices.size());
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < out.size(); ++i) {
    const V n = state.surface.normals[i];
    out[i] = light.arriving(state.surface.points[i] + 0.9 * n, state.shading_normals[i], 1.3);
  }
  return out;
}

View render_view(const RawCamera& camera, const Picture& arena, const FloorShadow& shadow, const Lighting& light, const Animal& animal,
                 const Animal::State& state, const std::vector<V>& on_vertex) {
  View out{Image(camera.width, camera.height, 3), Image(camera.width, camera.height, 3)};
  const Vec3 centre = position(camera);
  const V eye{centre[0], centre[1], centre[2]};
  const auto& points = state.surface.points;
  const Visibility seen = rasterize(camera, points, animal.body().triangles);

  const auto shade = [&](const Visibility::Sample& s) {
    const auto& t = animal.body().triangles[s.triangle];
    const double a = 1 - s.b - s.c;
    const auto mix = [&](const std::vector<V>& of) { return a * of[t[0]] + double{s.b} * of[t[1]] + double{s.c} * of[t[2]]; };
    V colour = mix(on_vertex) * mix(animal.coat().colours);
    const V n = unit(mix(state.shading_normals)), to_eye = unit(eye - mix(points));
    const auto& g = animal.coat().gloss;
    const double gloss = a * g[t[0]] + s.b * g[t[1]] + s.c * g[t[2]];
    // Hair at a grazing angle scatters light forward; eyes mirror the sun and a little of the sky.
    const double grazing = std::pow(1 - std::max(0.0, dot(n, to_eye)), 3), sky = clamp01(0.5 + n.z);
    colour = colour + ((1 - gloss) * 0.055 * grazing * sky) * V{1, 0.97, 0.92};
    if (gloss > 0.02) {
      const double mirror = std::max(0.0, dot(n, unit(to_eye + light.sun())));
      colour = colour + gloss * (1.6 * std::pow(mirror, 90) + 0.035 * sky + 0.15 * grazing * sky) * V{1, 1, 1};
    }
    return colour;
  };

  for (int y = 0; y < camera.height; ++y) {
    std::uint8_t* rgb = out.colour.row(y);
    std::uint8_t* mask = out.mask.row(y);
    const float* ground = arena.rgb.data() + static_cast<std::size_t>(y) * camera.width * 3;
    for (int x = 0; x < camera.width; ++x, rgb += 3, mask += 3, ground += 3) {
      V c{ground[0], ground[1], ground[2]};
      const V d = ray_direction(camera, x, y);
      if (d.z < -1e-6) c = c * shadow.left_over(eye + (-eye.z / d.z) * d);
      const int i = x - seen.left, j = y - seen.top;
      if (i >= 0 && j >= 0 && i < seen.width && j < seen.height) {
        V sum;
        int hits = 0;
        for (int k = 0; k < kSamples * kSamples; ++k)
          if (const Visibility::Sample& s = seen.at(i, j, k); s.inverse_depth > 0) sum = sum + shade(s), ++hits;
        if (hits) {
          const double share = hits / double{kSamples * kSamples};
          c = (1 - share) * c + (1.0 / (kSamples * kSamples)) * sum;
          mask[0] = mask[1] = mask[2] = static_cast<std::uint8_t>(std::lround(255 * share));
        }
      }
      rgb[0] = encode(c.x), rgb[1] = encode(c.y), rgb[2] = encode(c.z);
    }
  }
  return out;
}

}  // namespace mfl::data::demo
