#include "data/doctor/silhouette.h"

#include <algorithm>

namespace mfl::data::doctor {
namespace {

// Leaves only the largest 8-connected component.
void keep_largest(std::vector<std::uint8_t>& mask, int width, int height) {
  std::vector<std::int32_t> label(mask.size(), 0), stack;
  std::int32_t labels = 0, best = 0;
  std::size_t best_area = 0;
  for (std::size_t start = 0; start < mask.size(); ++start) {
    if (!mask[start] || label[start]) continue;
    ++labels;
    std::size_t area = 0;
    stack.push_back(static_cast<std::int32_t>(start));
    label[start] = labels;
    while (!stack.empty()) {
      const int at = stack.back(), x = at % width, y = at / width;
      stack.pop_back();
      ++area;
      for (int ny = std::max(y - 1, 0); ny <= std::min(y + 1, height - 1); ++ny)
        for (int nx = std::max(x - 1, 0); nx <= std::min(x + 1, width - 1); ++nx) {
          const int n = ny * width + nx;
          if (mask[n] && !label[n]) label[n] = labels, stack.push_back(n);
        }
    }
    if (area > best_area) best_area = area, best = labels;
  }
  if (labels > 1)
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = label[i] == best;
}

double turn(const Pixel& a, const Pixel& b, const Pixel& c) {
  return (b.u - a.u) * (c.v - a.v) - (b.v - a.v) * (c.u - a.u);
}

// Andrew's monotone chain on the first and last mask pixel of every row: no other pixel can be a corner of the hull.
std::vector<Pixel> convex_hull(const Silhouette& s) {
  std::vector<Pixel> points;
  for (int y = s.top; y < s.bottom; ++y) {
    int first = s.left, last = s.right - 1;
    while (first < s.right && !s.at(first, y)) ++first;
    if (first == s.right) continue;
    while (!s.at(last, y)) --last;
    points.push_back({first + 0.5, y + 0.5});
    if (last != first) points.push_back({last + 0.5, y + 0.5});
  }
  std::sort(points.begin(), points.end(),
            [](const Pixel& a, const Pixel& b) { return a.u != b.u ? a.u < b.u : a.v < b.v; });
  if (points.size() < 3) return points;
  std::vector<Pixel> hull(2 * points.size());
  std::size_t n = 0;
  for (const Pixel& p : points) {
    while (n >= 2 && turn(hull[n - 2], hull[n - 1], p) <= 0) --n;
    hull[n++] = p;
  }
  const std::size_t lower = n + 1;
  for (std::size_t i = points.size() - 1; i-- > 0;) {
    while (n >= lower && turn(hull[n - 2], hull[n - 1], points[i]) <= 0) --n;
    hull[n++] = points[i];
  }
  hull.resize(n - 1);
  return hull;
}

}  // namespace

Silhouette silhouette(const Image& im) {
  Silhouette s;
  s.width = im.width, s.height = im.height;
  s.mask.resize(static_cast<std::size_t>(im.width) * im.height);
  for (std::size_t i = 0; i < s.mask.size(); ++i) {
    const std::uint8_t* p = &im.pixels[i * im.channels];
    s.mask[i] = im.channels == 4 ? p[3] > 127 : im.channels == 3 ? std::min({p[0], p[1], p[2]}) < 250 : p[0] > 127;
  }
  keep_largest(s.mask, s.width, s.height);
  s.left = s.width, s.top = s.height;
  double sum_u = 0, sum_v = 0;
  for (int y = 0; y < s.height; ++y)
    for (int x = 0; x < s.width; ++x) {
      if (!s.at(x, y)) continue;
      ++s.area;
      sum_u += x + 0.5, sum_v += y + 0.5;
      s.left = std::min(s.left, x), s.right = std::max(s.right, x + 1);
      s.top = std::min(s.top, y), s.bottom = std::max(s.bottom, y + 1);
      s.on_border += x == 0 || y == 0 || x == s.width - 1 || y == s.height - 1;
    }
  if (s.area == 0) return s;
  s.centroid = {sum_u / static_cast<double>(s.area), sum_v / static_cast<double>(s.area)};
  s.hull = convex_hull(s);
  return s;
}

}  // namespace mfl::data::doctor
