#include "data/photo/framing.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "data/hdf5_file.h"
#include "data/photo/lens.h"
#include "data/preprocess/linear.h"
#include "data/preprocess/rig.h"
#include "data/preprocess/warp.h"

namespace mfl::data::photo {
namespace {

using namespace preprocess;

struct Point {
  double x, y;
};
Point through(const Mat3& h, double x, double y, const std::string& where) {
  const Vec3 p = product(h, Vec3{x, y, 1});
  if (!(p[2] > 1e-9))
    throw_error<DataError>(where, ": the animal lies beyond the horizon of the camera that is turned towards it. Check the intrinsics (pixels of the "
                                  "upright photo), or leave them out");
  return {p[0] / p[2], p[1] / p[2]};
}

// Where the alpha is, weighted by it; corner convention.
struct Extent {
  double mass = 0, u = 0, v = 0;   // sum of alpha / 255, centroid
  int left = 0, top = 0, right = 0, bottom = 0;
};
Extent extent(const Image& rgba) {
  Extent e;
  e.left = rgba.width, e.top = rgba.height;
  for (int y = 0; y < rgba.height; ++y)
    for (int x = 0; x < rgba.width; ++x) {
      const int alpha = rgba.row(y)[4 * x + 3];
      if (!alpha) continue;
      e.mass += alpha, e.u += alpha * (x + 0.5), e.v += alpha * (y + 0.5);
      if (alpha < 128) continue;
      e.left = std::min(e.left, x), e.right = std::max(e.right, x + 1), e.top = std::min(e.top, y), e.bottom = std::max(e.bottom, y + 1);
    }
  e.u /= e.mass, e.v /= e.mass, e.mass /= 255;
  return e;
}

// The pinhole of the lens turned so that it looks at a pixel of the photo: K_1 R K^-1, K_1 of focal length 1 with its principal point at
// 0. In a rig the world's up stays up; else by the smallest rotation.
Mat3 turned(const Lens& lens, double u, double v, const std::string& where) {
  const Mat3 k_inverse = inverse(corner_intrinsics(lens.camera));
  const Vec3 forward = unit(product(k_inverse, Vec3{u, v, 1}));
  Vec3 up{0, -1, 0};   // of the photo, in its camera
  if (lens.in_rig) up = product(lens.camera.R, lens.up);
  if (lens.in_rig) {
    const Vec3 right = cross(forward, up);
    if (!(length(right) > 1e-3)) throw_error<DataError>(where, ": the camera would look straight up or down, so that no direction is up in its picture");
    return product(rows(unit(right), unit(cross(forward, right)), forward), k_inverse);
  }
  // Rodrigues: axis x in the plane of the picture, angle between the axis and the ray.
  const double s = std::hypot(forward[0], forward[1]), c = forward[2];
  if (s < 1e-12) return k_inverse;
  const double ax = forward[1] / s, ay = -forward[0] / s;   // takes `forward` to (0, 0, 1)
  const Mat3 r{c + ax * ax * (1 - c), ax * ay * (1 - c), ay * s, ax * ay * (1 - c), c + ay * ay * (1 - c), -ax * s, -ay * s, ax * s, c};
  return product(r, k_inverse);
}

}  // namespace

double trained_share(const std::string& path) {
  const ViewReader reader(path);
  double sum = 0;
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < reader.size(); ++i)
    for (int v = 0; v < reader.views(i); ++v) sum += reader.foreground(i, v), ++n;
  const double share = n > 0 ? sum / static_cast<double>(n) : 0;
  if (!(share > 0 && share < 0.99))
    throw_error<DataError>(path, ": its views' alpha covers ", 100 * share, " % of the pictures, from which no framing follows; say --framing-share");
  return share;
}

Framed frame_animal(const Image& photo, const FramingOptions& o, int side, const std::string& where) {
  MFL_CHECK(photo.channels == 4, "frame_animal: a picture with alpha was expected, got ", photo.channels, " channels");
  Framed out;
  const double area = static_cast<double>(side) * side;
  if (!o.enabled) {
    if (photo.width != side || photo.height != side)
      throw_error<ConfigError>(where, " is ", photo.width, " x ", photo.height, "; without framing a picture of ", side, " x ", side,
                               " is expected. Leave --no-framing or --keep-background out, or resize the picture");
    out.image = photo, out.kind = "none", out.share = foreground_share(photo);
    return out;
  }
  Image undistorted_photo;
  const Image* rgba = &photo;
  if (o.lens && is_distorted(*o.lens)) rgba = &(undistorted_photo = undistorted(photo, *o.lens));
  const Extent e = extent(*rgba);
  if (!(e.mass > 0) || e.left >= e.right) throw_error<DataError>(where, ": there is no animal: its alpha is nowhere above a half");

  // `unit_map`: to a picture whose origin is the new picture's middle, before the scale.
  Mat3 unit_map{1, 0, -e.u, 0, 1, -e.v, 0, 0, 1};
  double mass = e.mass;
  if (o.lens) {
    out.kind = "homography";
    // The centroid of an outline is not kept by a homography: aim at where the new picture has it.
    double u = e.u, v = e.v;
    for (int pass = 0; pass < 3; ++pass) {
      unit_map = turned(*o.lens, u, v, where);
      // Moments of the outline in the new picture: each pixel counts with the area that it has there.
      double all = 0, x_sum = 0, y_sum = 0;
      const double det = determinant(unit_map);
      for (int y = 0; y < rgba->height; ++y)
        for (int x = 0; x < rgba->width; ++x) {
          const int alpha = rgba->row(y)[4 * x + 3];
          if (!alpha) continue;
          const Vec3 p = product(unit_map, Vec3{x + 0.5, y + 0.5, 1});
          if (!(p[2] > 1e-9)) through(unit_map, x + 0.5, y + 0.5, where);
          const double w = alpha / 255.0 * std::abs(det) / (p[2] * p[2] * p[2]);
          all += w, x_sum += w * p[0] / p[2], y_sum += w * p[1] / p[2];
        }
      mass = all;
      const Vec3 back = product(inverse(unit_map), Vec3{x_sum / all, y_sum / all, 1});
      u = back[0] / back[2], v = back[1] / back[2];
    }
    unit_map = turned(*o.lens, u, v, where);
  }
  double scale = std::sqrt(o.share * area / mass);
  // The box of the animal must stay inside the margin.
  const double half = side * (0.5 - o.margin);
  double reach = 0;
  for (int y : {e.top, e.bottom})
    for (int x : {e.left, e.right}) {
      const Point p = through(unit_map, x, y, where);
      reach = std::max({reach, std::abs(p.x), std::abs(p.y)});
    }
  if (scale * reach > half) scale = half / reach, out.shrunk = true;
  const double c = 0.5 * side;
  out.warp = product(Mat3{scale, 0, c, 0, scale, c, 0, 0, 1}, unit_map);
  if (std::abs(out.warp[8]) > 1e-9) {
    const double w = std::abs(out.warp[8]);
    for (double& x : out.warp) x /= w;
  }
  if (o.lens) out.focal = scale;
  const Point at = through(out.warp, e.u, e.v, where), dx = through(out.warp, e.u + 1, e.v, where), dy = through(out.warp, e.u, e.v + 1, where);
  out.enlargement = std::sqrt(std::abs((dx.x - at.x) * (dy.y - at.y) - (dx.y - at.y) * (dy.x - at.x)));
  out.image = warp_rgba(*rgba, out.warp, side);
  out.share = foreground_share(out.image);
  return out;
}

}  // namespace mfl::data::photo
