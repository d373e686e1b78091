#include "data/preprocess/compat_facelift.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "data/preprocess/linear.h"
#include "data/preprocess/rig.h"
#include "runtime/error.h"

namespace mfl::data::preprocess {
namespace {

struct Crop {
  int side, left, top;
};
Crop crop_of(const RawCamera& c) {
  const int side = std::min(c.width, c.height);
  return {side, (c.width - side) / 2, (c.height - side) / 2};
}

}  // namespace

std::vector<std::int64_t> compat_frames(std::int64_t frames, std::int64_t num_samples) {
  const std::int64_t first = frames * 5 / 100, there = frames - 2 * first;
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < std::min(num_samples, there); ++i)
    chosen.push_back(num_samples >= there ? first + i : first + i * there / num_samples);
  return chosen;
}

Mat3 compat_warp(const RawCamera& c, int image_size) {
  const Crop crop = crop_of(c);
  const double r = static_cast<double>(image_size) / crop.side;
  return {r, 0, -r * crop.left, 0, r, -r * crop.top, 0, 0, 1};
}

double compat_mean_distance(const std::vector<RawCamera>& cameras) {
  double mean = 0;
  for (const RawCamera& c : cameras) mean += length(position(c)) / static_cast<double>(cameras.size());
  if (!(mean > 0)) throw_error<DataError>("--compat facelift: all cameras stand at the recording's origin");
  return mean;
}

Camera compat_camera(const RawCamera& raw, double mean_distance, int image_size) {
  Camera c;
  c.width = c.height = image_size;
  c.fx = c.fy = 0.5 * image_size / std::tan(25 * std::numbers::pi / 180);
  c.cx = c.cy = 0.5 * image_size;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) c.w2c[4 * i + j] = raw.R[3 * i + j];
    c.w2c[4 * i + 3] = raw.T[i] * kCanonicalRadius / mean_distance;
  }
  c.w2c[15] = 1;
  return c;
}

CompatError compat_error(const RawCamera& raw, int image_size) {
  const Crop crop = crop_of(raw);
  const double r = static_cast<double>(image_size) / crop.side;
  const Camera said = compat_camera(raw, 1, image_size);
  CompatError e;
  e.fx = r * raw.K[0], e.fy = r * raw.K[4], e.cx = r * (raw.K[2] - crop.left), e.cy = r * (raw.K[5] - crop.top);
  e.focal_ratio = 0.5 * (said.fx / e.fx + said.fy / e.fy);
  const double dx = e.cx - said.cx, dy = e.cy - said.cy;
  e.principal_error = std::hypot(dx, dy);
  e.ray_error_degrees = std::atan(std::hypot(dx / e.fx, dy / e.fy)) * 180 / std::numbers::pi;
  return e;
}

std::string compat_report(const std::vector<RawCamera>& cameras, int image_size) {
  std::string out =
      "--compat facelift writes the published script's cameras, which are wrong for these pixels:\n"
      "  camera  true fx      fy      cx      cy   declared f      c  declared/true f  principal point off  rays off\n";
  CompatError worst;
  std::size_t worst_camera = 0;
  double least = 1e9, most = 0;
  for (std::size_t k = 0; k < cameras.size(); ++k) {
    const CompatError e = compat_error(cameras[k], image_size);
    char line[200];
    std::snprintf(line, sizeof line, "  %6zu  %7.1f %7.1f %7.1f %7.1f      %7.1f %6.1f  %15.3f  %16.1f px  %4.2f deg\n",
                  k, e.fx, e.fy, e.cx, e.cy, canonical_focal(image_size), 0.5 * image_size, e.focal_ratio,
                  e.principal_error, e.ray_error_degrees);
    out += line;
    least = std::min(least, e.focal_ratio), most = std::max(most, e.focal_ratio);
    if (e.principal_error > worst.principal_error) worst = e, worst_camera = k;
  }
  char line[1000];
  std::snprintf(line, sizeof line,
                "  - The declared focal length is %.2f to %.2f of the true one: scaling the world does not scale the "
                "intrinsics.\n"
                "  - The principal point is declared in the middle; camera %zu, the worst, has it %.1f pixels away, so "
                "its rays are off by %.2f degrees.\n"
                "  - The skew is left out, the origin is the recording's own and not the animal, and a random split "
                "puts neighbouring frames on both sides.\n"
                "  Use it only to reproduce data sets that were made this way; without --compat the cameras are true.",
                least, most, worst_camera, worst.principal_error, worst.ray_error_degrees);
  return out + line;
}

}  // namespace mfl::data::preprocess
