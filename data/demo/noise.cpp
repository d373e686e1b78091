#include "data/demo/noise.h"

#include <initializer_list>

namespace mfl::data::demo {
namespace {

double lattice(std::int64_t x, std::int64_t y, std::int64_t z, std::uint32_t seed) {
  std::uint32_t h = seed * 0x9E3779B9u + 0x7F4A7C15u;
  for (const std::int64_t c : {x, y, z}) {
    h ^= static_cast<std::uint32_t>(c) * 0x85EBCA6Bu;
    h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
    h = (h ^ (h >> 12)) * 0x297A2D39u;
    h ^= h >> 15;
  }
  return h * (2.0 / 4294967295.0) - 1;
}

}  // namespace

double noise(V p, std::uint32_t seed) {
  const double fx = std::floor(p.x), fy = std::floor(p.y), fz = std::floor(p.z);
  const auto x = static_cast<std::int64_t>(fx), y = static_cast<std::int64_t>(fy), z = static_cast<std::int64_t>(fz);
  const double u = smooth(0, 1, p.x - fx), v = smooth(0, 1, p.y - fy), w = smooth(0, 1, p.z - fz);
  const auto edge = [&](std::int64_t j, std::int64_t k) { return (1 - u) * lattice(x, j, k, seed) + u * lattice(x + 1, j, k, seed); };
  const auto face = [&](std::int64_t k) { return (1 - v) * edge(y, k) + v * edge(y + 1, k); };
  return (1 - w) * face(z) + w * face(z + 1);
}

double fractal(V p, int octaves, std::uint32_t seed) {
  double sum = 0, strength = 0.5;
  for (int i = 0; i < octaves; ++i, strength /= 2) {
    sum += strength * noise(p, seed + static_cast<std::uint32_t>(i));
    p = 2.03 * p;
  }
  return sum;
}

}  // namespace mfl::data::demo
