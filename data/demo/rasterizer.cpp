#include "data/demo/rasterizer.h"

#include <algorithm>

namespace mfl::data::demo {

Visibility rasterize(const RawCamera& camera, const std::vector<V>& points, const std::vector<std::array<std::uint32_t, 3>>& triangles) {
  std::vector<Projection> seen(points.size());
  double left = camera.width, right = -1, top = camera.height, bottom = -1;
  for (std::size_t i = 0; i < points.size(); ++i) {
    seen[i] = project(camera, Vec3{points[i].x, points[i].y, points[i].z});
    if (seen[i].depth <= 1) continue;
    left = std::min(left, seen[i].u), right = std::max(right, seen[i].u), top = std::min(top, seen[i].v), bottom = std::max(bottom, seen[i].v);
  }
  Visibility out;
  out.left = static_cast<int>(std::max(0.0, std::floor(left))), out.top = static_cast<int>(std::max(0.0, std::floor(top)));
  out.width = static_cast<int>(std::min(camera.width - 1.0, std::ceil(right))) - out.left + 1;
  out.height = static_cast<int>(std::min(camera.height - 1.0, std::ceil(bottom))) - out.top + 1;
  if (out.width <= 0 || out.height <= 0) {
    out.width = out.height = 0;
    return out;
  }
  const int columns = out.width * kSamples, rows = out.height * kSamples;
  out.samples.resize(static_cast<std::size_t>(columns) * rows);

  // Sample (i, j) lies at pixel coordinate left - 0.5 + (i + 0.5) / kSamples: the box's first pixel spans left -+ 0.5.
  const auto sx = [&](double u) { return (u - out.left + 0.5) * kSamples - 0.5; };
  const auto sy = [&](double v) { return (v - out.top + 0.5) * kSamples - 0.5; };
  for (std::size_t t = 0; t < triangles.size(); ++t) {
    const Projection &a = seen[triangles[t][0]], &b = seen[triangles[t][1]], &c = seen[triangles[t][2]];
    if (a.depth <= 1 || b.depth <= 1 || c.depth <= 1) continue;
    const double ax = sx(a.u), ay = sy(a.v), bx = sx(b.u), by = sy(b.v), cx = sx(c.u), cy = sy(c.v);
    // Counter-clockwise from outside is clockwise on an image whose y axis points down: a negative cross product.
    const double area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area >= 0) continue;
    const int i0 = std::max(0, static_cast<int>(std::ceil(std::min({ax, bx, cx})))), i1 = std::min(columns - 1, static_cast<int>(std::floor(std::max({ax, bx, cx}))));
    const int j0 = std::max(0, static_cast<int>(std::ceil(std::min({ay, by, cy})))), j1 = std::min(rows - 1, static_cast<int>(std::floor(std::max({ay, by, cy}))));
    const double za = 1 / a.depth, zb = 1 / b.depth, zc = 1 / c.depth;
    for (int j = j0; j <= j1; ++j)
      for (int i = i0; i <= i1; ++i) {
        const double wb = ((i - ax) * (cy - ay) - (j - ay) * (cx - ax)) / area, wc = ((bx - ax) * (j - ay) - (by - ay) * (i - ax)) / area;
        const double wa = 1 - wb - wc;
        if (wa < 0 || wb < 0 || wc < 0) continue;
        const double z = wa * za + wb * zb + wc * zc;
        Visibility::Sample& s = out.samples[static_cast<std::size_t>(j) * columns + i];
        if (z > s.inverse_depth) s = {static_cast<float>(z), static_cast<std::uint32_t>(t), static_cast<float>(wb * zb / z), static_cast<float>(wc * zc / z)};
      }
  }
  return out;
}

}  // namespace mfl::data::demo
