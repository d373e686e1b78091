#include "data/doctor/epipolar.h"

#include <algorithm>
#include <limits>
#include <numbers>

namespace mfl::data::doctor {
namespace {

// Interval of angles about the baseline, and what a pixel is worth there.
struct Interval {
  double middle = 0;         // of the centroid's half-plane, in the pair's common frame
  double low = 0, high = 0;  // relative to the middle
  double pixels_per_radian = 0;
};

// e1, e2: orthonormal, across the baseline. A pixel across the epipolar line turns the plane by 1 / (f * distance of
// the ray, whose depth is 1, from the baseline's direction).
std::optional<Interval> interval(const Pinhole& c, const Silhouette& s, const Vec3& e1, const Vec3& e2,
                                 double least_sine) {
  const RayMap rays(c);
  const Vec3 d = rays.ray(s.centroid);
  const double x = dot(d, e1), y = dot(d, e2), across = std::hypot(x, y);
  if (across < least_sine * length(d)) return {};
  Interval t;
  t.middle = std::atan2(y, x);
  const double cos = x / across, sin = y / across;
  for (const Pixel& p : s.hull) {
    const Vec3 r = rays.ray(p);
    const double u = dot(r, e1), v = dot(r, e2);
    const double front = cos * u + sin * v;
    if (!(front > 0.5 * least_sine * length(r))) return {};  // the outline reaches the baseline
    const double angle = std::atan2(cos * v - sin * u, front);
    t.low = std::min(t.low, angle), t.high = std::max(t.high, angle);
  }
  t.pixels_per_radian = std::sqrt(c.fx * c.fy) * across;
  return t;
}

double wrapped(double a) { return a - 2 * std::numbers::pi * std::round(a / (2 * std::numbers::pi)); }

}  // namespace

double median(std::vector<double> v) {
  if (v.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  if (v.size() % 2) return *middle;
  return 0.5 * (*middle + *std::max_element(v.begin(), middle));
}

std::optional<std::array<double, 2>> tangency(const Pinhole& x, const Silhouette& a, const Pinhole& y,
                                              const Silhouette& b, double least_sine) {
  if (a.hull.size() < 3 || b.hull.size() < 3 || a.clipped() || b.clipped()) return {};
  const Vec3 cx = x.centre(), cy = y.centre(), baseline = cy - cx;
  if (!(length(baseline) > 1e-6 * (length(cx) + length(cy)))) return {};
  const Vec3 along = unit(baseline);
  const Vec3 helper = std::abs(along[0]) < 0.6 ? Vec3{1, 0, 0} : Vec3{0, 1, 0};
  const Vec3 e1 = unit(cross(along, helper)), e2 = cross(along, e1);
  const auto first = interval(x, a, e1, e2, least_sine), second = interval(y, b, e1, e2, least_sine);
  if (!first || !second) return {};
  const double apart = wrapped(second->middle - first->middle),
               scale = 0.5 * (first->pixels_per_radian + second->pixels_per_radian);
  return std::array<double, 2>{scale * (apart + second->low - first->low),
                               scale * (apart + second->high - first->high)};
}

Evidence evidence_of(const Subject& subject) {
  Evidence e;
  for (const SamplePixels& s : subject.examined) {
    Frame frame;
    for (std::size_t v = 0; v < s.views.size(); ++v)
      frame.cameras.push_back(subject.camera(s, v)), frame.outlines.push_back(&s.views[v].outline);
    if (e.frames.empty() || frame.cameras.size() == e.views()) e.frames.push_back(std::move(frame));
  }
  return e;
}

Disagreement disagreement(const Evidence& e, const std::vector<int>& order) {
  const std::size_t n = e.views();
  std::vector<std::vector<double>> of_view(n);
  std::vector<double> all;
  Disagreement d;
  for (const Frame& frame : e.frames)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i + 1; j < n; ++j) {
        const Silhouette &a = *frame.outlines[order.empty() ? i : static_cast<std::size_t>(order[i])],
                         &b = *frame.outlines[order.empty() ? j : static_cast<std::size_t>(order[j])];
        if (const auto t = tangency(frame.cameras[i], a, frame.cameras[j], b))
          for (double r : *t) {
            const double size = std::min(std::abs(r), Disagreement::kLimit);
            d.rms += size * size;
            all.push_back(size), of_view[i].push_back(size), of_view[j].push_back(size);
          }
      }
  d.equations = all.size();
  d.rms = all.empty() ? 0 : std::sqrt(d.rms / static_cast<double>(all.size()));
  d.median = median(all);
  for (const auto& v : of_view) d.per_view.push_back(median(v));
  return d;
}

std::optional<Meeting> centroid_meeting(const Frame& f) {
  std::vector<Vec3> origins, rays;
  for (std::size_t i = 0; i < f.cameras.size(); ++i) {
    if (f.outlines[i]->empty() || !f.cameras[i].finite()) continue;
    origins.push_back(f.cameras[i].centre()), rays.push_back(f.cameras[i].ray(f.outlines[i]->centroid));
  }
  return meet(origins, rays);
}

}  // namespace mfl::data::doctor
