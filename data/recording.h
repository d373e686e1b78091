// A raw recording: synchronised videos of a fixed rig, mask videos, and a calibration.
//
//   FOLDER/videos_undist/0.mp4 ...       colour, one file a camera; the stem is the camera's number
//   FOLDER/simpleclick_undist/0.mp4 ...  masks, white on black, lossy: to be thresholded
//   FOLDER/new_cam.pkl                   calibration, a pickle of Python (the layout of markerless_mouse_1_nerf)
//
// Conventions of the calibration: OpenCV axes (x right, y down, z forward), x_camera = R X + T with column vectors,
// lengths in the rig's unit (millimetres), pixels with integer coordinates at pixel *centres*. Videos are undistorted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/camera.h"

namespace mfl::data {

struct RawCamera {
  int width = 0, height = 0;  // pixels; 0 where the calibration does not say (open_recording fills in the video's)
  Mat3 K{};                   // fx s cx, 0 fy cy, 0 0 1; the skew s is not zero
  Mat3 R{};                   // rows: right, down and forward of the camera in the world
  Vec3 T{};
};

Vec3 position(const RawCamera&);  // -R^T T
// Pixel (integer = centre) and depth of a point of the world. Depth <= 0: behind the camera, the pixel means nothing.
struct Projection {
  double u = 0, v = 0, depth = 0;
};
Projection project(const RawCamera&, const Vec3& world);
// The same through a camera of ours: pixels with (0, 0) at the corner of the first pixel.
Projection project(const Camera&, const Vec3& world);
// K of the same camera where (0, 0) is the corner of the first pixel: cx and cy grow by a half.
Mat3 corner_intrinsics(const RawCamera&);

// What a sound calibration fulfils: K upper triangular with positive focal lengths and K[8] = 1, rows of R orthonormal
// within 1e-3, det R = +1. Throws DataError that names `where` (file and camera), the value and the rule.
void check_raw_camera(const RawCamera&, const std::string& where);

// ---- new_cam.pkl ----
// A list of dictionaries {K, R, T[, mapx, mapy]}, or a dictionary of them with the keys 0 .. n-1 as integers or text.
// K and R are 3x3; T is (3,), (3,1) or (1,3); float32 or float64, either byte order, C or Fortran order. The remap
// tables belong to the distorted originals: only their size is used. Pickle protocols 0 to 5; any other global is
// refused by its name. Shapes and finiteness are checked here, geometry is not (check_raw_camera): a doctor must see
// what is wrong. Throws DataError.
std::vector<RawCamera> read_new_cam(const std::string& path);
std::vector<RawCamera> parse_new_cam(std::span<const std::byte> pickle, std::string_view source);
// Protocol 3, float64, without remap tables: Python's pickle with NumPy reads it, and so does read_new_cam.
void write_new_cam(const std::string& path, const std::vector<RawCamera>&);

// ---- the folder ----
inline constexpr const char* kVideoFolder = "videos_undist";
inline constexpr const char* kMaskFolder = "simpleclick_undist";
inline constexpr const char* kCalibrationFile = "new_cam.pkl";

struct Recording {
  std::string calibration;          // path of new_cam.pkl
  std::vector<RawCamera> cameras;   // width and height are those of the video
  std::vector<std::string> videos;  // [camera]
  std::vector<std::string> masks;   // [camera]
  std::int64_t frames = 0;          // of every video and every mask video, as the containers say
  double frames_per_second = 0;
};
bool is_recording(const std::string& folder);  // has new_cam.pkl and a folder of videos

// `video_dir` holds videos_undist/ or the videos themselves; `meta_dir` (empty: the same) holds new_cam.pkl and
// simpleclick_undist/. Opens every file once: a missing camera, video or mask, another size within a camera, another
// frame count anywhere, another frame rate of a colour video is a DataError that names the files. Nothing is ever
// replaced by a default.
Recording open_recording(const std::string& video_dir, const std::string& meta_dir = "");

}  // namespace mfl::data
