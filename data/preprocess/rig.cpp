#include "data/preprocess/rig.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "data/preprocess/linear.h"
#include "runtime/error.h"

namespace mfl::data::preprocess {
namespace {

constexpr double kDegrees = 180 / std::numbers::pi;

double wrapped(double degrees) {  // (-180, 180]
  const double d = std::remainder(degrees, 360);
  return d <= -180 ? d + 360 : d;
}

}  // namespace

Meeting meet(const std::vector<Vec3>& origins, const std::vector<Vec3>& directions, const std::string& what) {
  // sum (I - d d^T) x = sum (I - d d^T) o
  Mat3 a{};
  Vec3 b{};
  for (std::size_t k = 0; k < origins.size(); ++k) {
    const Vec3 d = unit(directions[k]);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        const double p = (i == j) - d[i] * d[j];
        a[3 * i + j] += p;
        b[i] += p * origins[k][j];
      }
  }
  const double n = static_cast<double>(origins.size());
  if (origins.size() < 2 || !(determinant(a) > 1e-9 * n * n * n))
    throw_error<DataError>(what, ": the rays of ", origins.size(),
                           " cameras are parallel or too few to meet in a point");
  Meeting m;
  m.point = product(inverse(a), b);
  for (std::size_t k = 0; k < origins.size(); ++k) {
    const Vec3 miss = cross(minus(m.point, origins[k]), unit(directions[k]));
    m.rms += dot(miss, miss) / n;
  }
  m.rms = std::sqrt(m.rms);
  return m;
}

Vec3 ray(const RawCamera& c, double u, double v) {
  return unit(product(transposed(c.R), product(inverse(c.K), Vec3{u, v, 1})));
}

Meeting optical_axes_meeting(const std::vector<RawCamera>& cameras) {
  std::vector<Vec3> origins, directions;
  for (const RawCamera& c : cameras) origins.push_back(position(c)), directions.push_back(row(c.R, 2));
  return meet(origins, directions, "the point where the optical axes meet");
}

Vec3 transformed(const Similarity& s, const Vec3& x) {
  return scaled_by(s.scale, product(s.rotation, minus(x, s.centre)));
}
Mat4 matrix(const Similarity& s) {
  const Vec3 t = transformed(s, {0, 0, 0});
  Mat4 m{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) m[4 * i + j] = s.scale * s.rotation[3 * i + j];
    m[4 * i + 3] = t[i];
  }
  m[15] = 1;
  return m;
}

Vec3 rig_up(const std::vector<RawCamera>& cameras) {
  Vec3 up{};
  for (const RawCamera& c : cameras)
    for (int i = 0; i < 3; ++i) up[i] -= c.R[3 + i] / static_cast<double>(cameras.size());
  if (!(length(up) > 0.1))
    throw_error<DataError>("the cameras' up directions cancel out (their mean has length ", length(up),
                           "), so the rig's up direction is unknown. The cameras must stand upright, or nearly so");
  return unit(up);
}

Mat3 room_rotation(const std::vector<RawCamera>& cameras, int reference) {
  const Mat3 level = rotation_to_axis(rig_up(cameras), true);
  const Vec3 p = product(
      level, minus(position(cameras[static_cast<std::size_t>(reference)]), optical_axes_meeting(cameras).point));
  const double turn = -std::numbers::pi / 2 - std::atan2(p[1], p[0]), c = std::cos(turn), s = std::sin(turn);
  return product(Mat3{c, -s, 0, s, c, 0, 0, 0, 1}, level);
}

Similarity facelift_similarity(const std::vector<RawCamera>& cameras, const Mat3& rotation, const Vec3& centre) {
  double mean = 0;
  for (const RawCamera& c : cameras) mean += length(minus(position(c), centre)) / static_cast<double>(cameras.size());
  return {kCanonicalRadius / mean, rotation, centre};
}

VirtualView virtual_view(const RawCamera& raw, const Similarity& s, const std::optional<Vec3>& look, int image_size,
                         double zoom, const std::string& where) {
  const Vec3 origin = position(raw);
  const Vec3 up = row(s.rotation, 2);  // of the new world, in the raw one
  Mat3 r = raw.R;
  if (look) {
    const Vec3 forward = unit(*look), right = cross(forward, up);
    if (!(length(right) > 1e-3))
      throw_error<DataError>(where,
                             ": the camera would look straight up or down, so that no direction is up in its image. "
                             "Keep the cameras' own directions (--aim keep)");
    r = rows(unit(right), unit(cross(forward, right)), forward);
  }
  VirtualView out;
  Camera& c = out.camera;
  c.width = c.height = image_size;
  c.fx = c.fy = zoom * canonical_focal(image_size);
  c.cx = c.cy = 0.5 * image_size;
  const Mat3 in_world = product(r, transposed(s.rotation));
  const Vec3 t = product(in_world, transformed(s, origin));
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) c.w2c[4 * i + j] = in_world[3 * i + j];
    c.w2c[4 * i + 3] = -t[i];
  }
  c.w2c[15] = 1;
  const Mat3 k{c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, 1};
  Mat3 h = product(product(k, product(r, transposed(raw.R))), inverse(corner_intrinsics(raw)));
  // A homography has no scale; the last entry is 1 unless the raw frame's corner lies on the horizon.
  if (std::abs(h[8]) > 1e-6)
    for (double& x : h) x /= std::abs(h[8]);
  out.warp = h;
  return out;
}

std::vector<double> relative_azimuths(const std::vector<RawCamera>& cameras, const Vec3& centre, int reference) {
  const Mat3 level = rotation_to_axis(rig_up(cameras), true);
  std::vector<double> azimuths;
  for (const RawCamera& c : cameras) {
    const Vec3 p = product(level, minus(position(c), centre));
    azimuths.push_back(kDegrees * std::atan2(p[1], p[0]));
  }
  const double front = azimuths[static_cast<std::size_t>(reference)];
  for (double& a : azimuths) a = wrapped(a - front);
  return azimuths;
}

std::vector<int> ring_order(const std::vector<double>& azimuths, int reference) {
  std::vector<int> order(azimuths.size());
  std::iota(order.begin(), order.end(), 0);
  const auto clockwise = [&](int k) {
    return k == reference ? 0.0 : std::fmod(360 - azimuths[static_cast<std::size_t>(k)], 360);
  };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return a == reference || b == reference ? a == reference && b != reference : clockwise(a) < clockwise(b);
  });
  return order;
}

SlotTable assign_slots(const std::vector<double>& azimuths, int reference) {
  // Dynamic programme over cameras and the set of slots that are taken: cost[set], how each set was reached.
  constexpr int kSets = 1 << kPromptSlots;
  const int n = static_cast<int>(azimuths.size());
  const auto error = [&](int camera, int slot) {
    return std::abs(wrapped(azimuths[static_cast<std::size_t>(camera)] - kSlotAzimuths[slot]));
  };
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> cost(kSets, kNever);
  cost[0] = 0;
  std::vector<std::array<int, kSets>> choice(static_cast<std::size_t>(n));  // slot of this camera; -1: none
  for (int k = 0; k < n; ++k) {
    std::vector<double> next(kSets, kNever);
    for (int set = 0; set < kSets; ++set) {
      if (cost[set] == kNever) continue;
      const auto offer = [&](int to, double c, int slot) {
        if (c < next[to]) next[to] = c, choice[static_cast<std::size_t>(k)][to] = slot;
      };
      if (k != reference) offer(set, cost[set], -1);
      for (int slot = 0; slot < kPromptSlots; ++slot)
        if (!(set >> slot & 1) && (slot == 0) == (k == reference))
          offer(set | 1 << slot, cost[set] + error(k, slot) * error(k, slot), slot);
    }
    cost = std::move(next);
  }
  int best = -1;  // as many slots as there can be
  for (int set = 0; set < kSets; ++set)
    if (__builtin_popcount(static_cast<unsigned>(set)) == std::min(n, kPromptSlots) && cost[set] != kNever &&
        (best < 0 || cost[set] < cost[best]))
      best = set;
  SlotTable table{std::vector<int>(azimuths.size(), -1), std::vector<double>(azimuths.size(), 0)};
  for (int k = n, set = best; k-- > 0;) {
    const int slot = choice[static_cast<std::size_t>(k)][set];
    if (slot < 0) continue;
    table.slot[static_cast<std::size_t>(k)] = slot, table.error[static_cast<std::size_t>(k)] = error(k, slot);
    set ^= 1 << slot;
  }
  return table;
}

}  // namespace mfl::data::preprocess
