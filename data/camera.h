// Pinhole cameras of training data, and the camera normalisation of the mouse data set.
//
// Conventions. OpenCV axes: x right, y down, z forward; x_camera = w2c * x_world. Pixels: (0, 0) is the top-left corner of
// the image, the centre of the first pixel is (0.5, 0.5); u = fx * x / z + cx.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace mfl::data {

using Mat3 = std::array<double, 9>;    // row-major
using Mat4 = std::array<double, 16>;
using Vec3 = std::array<double, 3>;

struct Camera {
  int width = 0, height = 0;           // of the image that the intrinsics refer to; 0 where the file does not say
  double fx = 0, fy = 0, cx = 0, cy = 0;
  Mat4 w2c{};
};

Mat4 multiply(const Mat4&, const Mat4&);
// Of a rigid transform: [R | t] to [R^T | -R^T t]. Exact to rounding where R is orthonormal, which check_camera sees to.
Mat4 rigid_inverse(const Mat4&);
// General inverse in f64, partial pivoting; what the reference applies to w2c.
Mat4 inverse(const Mat4&);
Vec3 position(const Camera&);          // camera centre in the world

// All values finite; fx, fy > 0; rows of R orthonormal within 1e-3, det R = +1; last row 0 0 0 1.
// Throws DataError that names `where` (sample and view), the value and the rule.
void check_camera(const Camera&, const std::string& where);

// The same camera for the image resized to width x height. Both axes are scaled by their own ratio, which stays exact when
// the image is squashed.
Camera scaled(const Camera&, int from_width, int from_height, int width, int height);
// The camera of the image flipped left to right, in the world mirrored by x -> -x (which keeps up, be it Y or Z). Exact, and
// the same mirror for all views.
Camera flipped(const Camera&, int width);
// The camera of the image rotated counter-clockwise about its centre. Needs fx = fy (within 1e-4): throws DataError.
Camera rolled(const Camera&, int width, int height, double degrees, const std::string& where);

// A camera on FaceLift's ring: looks at the origin from `radius`, world Z up, square image.
Camera ring_camera(double azimuth_degrees, double elevation_degrees, double radius, double fov_degrees, int image_size);

// ---- normalisation (keys mouse.normalize_cameras, normalize_to_z_up, target_camera_distance) ----
struct CameraNormalisation {
  bool rotate = true;                  // turn "up" to an axis of the world
  bool z_up = true;                    // that axis: +Z, else +Y
  double target_distance = 2.7;        // move every camera to this distance from the origin; 0: leave
};
// The rig's up direction, unit length: `given`; else, from three cameras on, the direction in which the positions scatter
// least, on the side of the mean of -(camera y axes); else that mean.
Vec3 up_direction(const std::vector<Mat4>& c2w, const std::optional<Vec3>& given);
// Minimal rotation (Rodrigues) that takes `up` to the axis; diag(1, -1, -1) when opposite, identity when there already.
std::array<double, 9> rotation_to_axis(const Vec3& up, bool z_up);
// Rotates all cameras about the world origin, then rescales each position to the distance. The rescaling is a similarity
// only if all radii were equal and the cameras look at the origin: that is what the published data set does, and so do we.
// Computed in f64; the reference computes in f32. Returns the largest over the smallest radius before rescaling.
double normalise_cameras(std::vector<Mat4>& c2w, const CameraNormalisation&, const std::optional<Vec3>& up);

}  // namespace mfl::data
