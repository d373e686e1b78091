#include "data/photo/lens.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/preprocess/linear.h"
#include "data/preprocess/rig.h"

namespace mfl::data::photo {

Lens parse_intrinsics(const std::string& text) {
  std::vector<double> values;
  const char *at = text.data(), *end = text.data() + text.size();
  for (bool more = true; more;) {
    double v = 0;
    const auto [next, error] = std::from_chars(at, end, v);
    if (error != std::errc{} || !std::isfinite(v) || (next != end && *next != ',')) {
      values.clear();
      break;
    }
    values.push_back(v);
    more = next != end;
    at = next + 1;
  }
  if (values.size() < 4 || values.size() > 9 || !(values[0] > 0) || !(values[1] > 0))
    throw_error<ConfigError>("--intrinsics ", text, ": expected fx,fy,cx,cy in pixels of the upright photo, fx and fy positive, and after them up to five "
                             "numbers k1,k2,p1,p2,k3 of OpenCV's distortion");
  Lens lens;
  lens.camera.K = {values[0], 0, values[2], 0, values[1], values[3], 0, 0, 1};
  lens.camera.R = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  std::copy(values.begin() + 4, values.end(), lens.distortion.begin());
  return lens;
}

Lens rig_lens(const std::string& path, int index) {
  const std::vector<RawCamera> cameras = read_new_cam(path);
  if (index < 0 || index >= static_cast<int>(cameras.size()))
    throw_error<ConfigError>("--camera ", index, ": ", path, " has the cameras 0 to ", cameras.size() - 1);
  Lens lens;
  lens.camera = cameras[static_cast<std::size_t>(index)];
  check_raw_camera(lens.camera, text(path, ", camera ", index));
  lens.in_rig = true;
  lens.up = preprocess::rig_up(cameras);
  return lens;
}

bool is_distorted(const Lens& lens) {
  return std::any_of(lens.distortion.begin(), lens.distortion.end(), [](double d) { return d != 0; });
}

std::array<double, 2> distorted(const Lens& lens, double x, double y) {
  const auto& [k1, k2, p1, p2, k3] = lens.distortion;
  const double r2 = x * x + y * y, radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3));
  return {x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y};
}

Image undistorted(const Image& im, const Lens& lens) {
  MFL_CHECK(im.channels == 4, "undistorted: a picture with alpha was expected, got ", im.channels, " channels");
  const Mat3 &k = lens.camera.K, back = preprocess::inverse(k);
  Image out(im.width, im.height, 4);
  for (int y = 0; y < im.height; ++y)
    for (int x = 0; x < im.width; ++x) {
      const Vec3 n = preprocess::product(back, Vec3{double(x), double(y), 1});   // K's convention: integer = pixel centre
      const auto [dx, dy] = distorted(lens, n[0], n[1]);
      const double u = k[0] * dx + k[1] * dy + k[2], v = k[4] * dy + k[5];
      if (!(u > -1 && v > -1 && u < im.width && v < im.height)) continue;
      const int iu = static_cast<int>(std::floor(u)), iv = static_cast<int>(std::floor(v));
      double sum[4]{};
      for (int j = 0; j < 2; ++j)
        for (int i = 0; i < 2; ++i) {
          if (iu + i < 0 || iv + j < 0 || iu + i >= im.width || iv + j >= im.height) continue;
          const std::uint8_t* p = im.row(iv + j) + 4 * (iu + i);
          const double w = (i ? u - iu : 1 - (u - iu)) * (j ? v - iv : 1 - (v - iv)) * p[3];
          for (int c = 0; c < 3; ++c) sum[c] += w * p[c];
          sum[3] += w;
        }
      std::uint8_t* to = out.row(y) + 4 * x;
      to[3] = static_cast<std::uint8_t>(std::clamp(std::lround(sum[3]), 0l, 255l));
      if (to[3])
        for (int c = 0; c < 3; ++c) to[c] = static_cast<std::uint8_t>(std::clamp(std::lround(sum[c] / sum[3]), 0l, 255l));
    }
  return out;
}

}  // namespace mfl::data::photo
