#include "data/doctor/hull.h"

#include <algorithm>
#include <numeric>

namespace mfl::data::doctor {
namespace {

// An outline grown by one pixel: the tolerance for rounding it to pixels. Beyond the image: 1.
class Grown {
 public:
  explicit Grown(const Silhouette& s) : width_(s.width), height_(s.height), mask_(s.mask.size(), 0) {
    for (int y = s.top; y < s.bottom; ++y)
      for (int x = s.left; x < s.right; ++x) {
        if (!s.at(x, y)) continue;
        for (int ny = std::max(y - 1, 0); ny <= std::min(y + 1, height_ - 1); ++ny)
          for (int nx = std::max(x - 1, 0); nx <= std::min(x + 1, width_ - 1); ++nx)
            mask_[static_cast<std::size_t>(ny) * width_ + nx] = 1;
      }
  }
  bool holds(double u, double v) const {
    if (!(u >= 0 && v >= 0 && u < width_ && v < height_)) return true;
    return mask_[static_cast<std::size_t>(v) * width_ + static_cast<std::size_t>(u)] != 0;
  }

 private:
  int width_, height_;
  std::vector<std::uint8_t> mask_;
};

// K [R | t] as three rows.
struct Projector {
  Vec3 row[3];
  Vec3 offset{};
  explicit Projector(const Pinhole& c) {
    row[0] = c.fx * c.row(0) + c.skew * c.row(1) + c.cx * c.row(2);
    row[1] = c.fy * c.row(1) + c.cy * c.row(2);
    row[2] = c.row(2);
    offset = {c.fx * c.w2c[3] + c.skew * c.w2c[7] + c.cx * c.w2c[11], c.fy * c.w2c[7] + c.cy * c.w2c[11], c.w2c[11]};
  }
  Vec3 turn(const Vec3& d) const { return {dot(row[0], d), dot(row[1], d), dot(row[2], d)}; }
  Vec3 operator()(const Vec3& p) const { return turn(p) + offset; }
};

}  // namespace

std::optional<HullResult> visual_hull(const Frame& frame, const HullOptions& o) {
  const std::vector<Pinhole>& cameras = frame.cameras;
  const std::vector<const Silhouette*>& outlines = frame.outlines;
  const std::size_t n = cameras.size();
  std::vector<std::size_t> seen;
  for (std::size_t i = 0; i < n; ++i)
    if (!outlines[i]->empty() && cameras[i].finite()) seen.push_back(i);
  const auto meeting = centroid_meeting(frame);
  if (seen.size() < 2 || !meeting) return {};

  HullResult result;
  result.centre = meeting->point, result.miss = meeting->rms;
  result.views.resize(n), result.mean_without.assign(n, 0);
  double largest_focal = 0, least_depth = 1e300;
  for (std::size_t i : seen) {
    const RayMap rays(cameras[i]);
    const Vec3 d = rays.ray(outlines[i]->centroid);
    const double distance = length(result.centre - rays.origin);
    for (const Pixel& p : outlines[i]->hull) {
      const Vec3 r = rays.ray(p);
      result.radius = std::max(result.radius, distance * length(cross(unit(r), unit(d))));
    }
    largest_focal = std::max(largest_focal, cameras[i].fx);
    least_depth = std::min(least_depth, std::max(std::abs(cameras[i].depth(result.centre)), 1e-9));
  }
  const double reach = 1.5 * result.radius + result.miss;
  const int steps = std::clamp(static_cast<int>(2 * reach * largest_focal / least_depth), 32, o.max_steps);

  std::vector<Grown> grown;
  std::vector<Projector> project;
  for (std::size_t i = 0; i < n; ++i) grown.emplace_back(*outlines[i]), project.emplace_back(cameras[i]);

  // Rays through the outline's pixels: filled where one step lies in all other outlines; filled without view k where
  // one step misses no other outline but k's.
  std::vector<std::vector<double>> without(n, std::vector<double>(n, 0));  // [view][left out]: filled pixels
  std::vector<double> tested(n, 0);
  std::vector<Pixel> filled_centroid(n);
  for (std::size_t i : seen) {
    const Silhouette& s = *outlines[i];
    HullView& view = result.views[i];
    view.stride = std::max(1, static_cast<int>(std::floor(std::sqrt(static_cast<double>(s.area) / o.pixels_a_view))));
    std::vector<Pixel> lattice;
    for (int y = s.top + view.stride / 2; y < s.bottom; y += view.stride)
      for (int x = s.left + view.stride / 2; x < s.right; x += view.stride)
        if (s.at(x, y)) lattice.push_back({x + 0.5, y + 0.5});
    const RayMap rays(cameras[i]);
    std::vector<std::vector<std::uint8_t>> hits(lattice.size(),
                                                std::vector<std::uint8_t>(n + 1, 0));  // [n]: all outlines
#pragma omp parallel for schedule(dynamic, 16)
    for (std::size_t k = 0; k < lattice.size(); ++k) {
      const Vec3 d = rays.ray(lattice[k]);
      const double size = length(d), middle = dot(result.centre - rays.origin, d) / (size * size);
      std::vector<Vec3> start(n), along(n);
      for (std::size_t j : seen) start[j] = project[j](rays.origin), along[j] = project[j].turn(d);
      for (int step = 0; step < steps; ++step) {
        const double t = middle + reach / size * (2.0 * (step + 0.5) / steps - 1);
        if (!(t > 0)) continue;
        int misses = 0;
        std::size_t missed = n;
        for (std::size_t j : seen) {
          if (j == i) continue;
          const Vec3 h = start[j] + t * along[j];
          if (h[2] > 0 && grown[j].holds(h[0] / h[2], h[1] / h[2])) continue;
          missed = j;
          if (++misses > 1) break;
        }
        if (misses <= 1) hits[k][missed] = 1;
        if (misses == 0) break;  // filled whoever is left out
      }
    }
    int filled = 0;
    for (std::size_t k = 0; k < lattice.size(); ++k) {
      const bool all = hits[k][n];
      filled += all;
      if (all)
        filled_centroid[i].u += lattice[k].u, filled_centroid[i].v += lattice[k].v;
      else
        view.missed.push_back(lattice[k]);
      for (std::size_t j : seen) without[i][j] += all || hits[k][j];
    }
    tested[i] = std::max<double>(1, static_cast<double>(lattice.size()));
    view.iou = filled / tested[i];
    view.iou_next = view.iou;
    for (std::size_t j : seen)
      if (j != i) view.iou_next = std::max(view.iou_next, without[i][j] / tested[i]);
    if (filled)
      filled_centroid[i] = {filled_centroid[i].u / filled, filled_centroid[i].v / filled};
    else
      filled_centroid[i] = s.centroid;
  }
  for (std::size_t k : seen) {
    for (std::size_t i : seen)
      if (i != k) result.mean_without[k] += without[i][k] / tested[i] / static_cast<double>(seen.size() - 1);
  }

  // The hull's own centroid, from a grid; the outline of the hull has its centroid elsewhere than the image of that
  // point.
  constexpr int kGrid = 40;
  Vec3 hull{};
  std::int64_t inside = 0;
  for (int z = 0; z < kGrid; ++z)
    for (int y = 0; y < kGrid; ++y)
      for (int x = 0; x < kGrid; ++x) {
        const auto at = [&](int v) { return result.radius * 1.1 * (2 * (v + 0.5) / kGrid - 1); };
        const Vec3 p = result.centre + Vec3{at(x), at(y), at(z)};
        const bool in = std::all_of(seen.begin(), seen.end(), [&](std::size_t j) {
          const Vec3 h = project[j](p);
          return h[2] > 0 && grown[j].holds(h[0] / h[2], h[1] / h[2]);
        });
        if (in) hull = hull + p, ++inside;
      }
  std::vector<Vec3> origins, rays;
  std::vector<Pixel> corrected(n);
  for (std::size_t i : seen) {
    const Silhouette& s = *outlines[i];
    corrected[i] = s.centroid;
    if (inside > 0) {
      const Pixel p = cameras[i].project_signed((1.0 / static_cast<double>(inside)) * hull);
      corrected[i].u -= filled_centroid[i].u - p.u, corrected[i].v -= filled_centroid[i].v - p.v;
    }
    origins.push_back(cameras[i].centre()), rays.push_back(cameras[i].ray(corrected[i]));
  }
  const auto better = meet(origins, rays);
  for (std::size_t i : seen) {
    const Pixel raw = cameras[i].project_signed(meeting->point);
    result.views[i].centroid_raw = std::hypot(raw.u - outlines[i]->centroid.u, raw.v - outlines[i]->centroid.v);
    const Pixel at = cameras[i].project_signed(better ? better->point : meeting->point);
    result.views[i].centroid = std::hypot(at.u - corrected[i].u, at.v - corrected[i].v);
    result.views[i].centroid_at = at;
  }
  if (better) result.centre = better->point;
  return result;
}

}  // namespace mfl::data::doctor
