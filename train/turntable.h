// The camera that goes round the subject, and the files made of its views.
//
// Three ways round: an orbit (turntable_cameras), cameras that are there, each as it stands (cameras_of_size: the canonical six,
// or a data set's), and a film through them (camera_path). The strip and the film take any of them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/image.h"
#include "models/gslrm/gaussians.h"

namespace mfl {

struct Turntable {
  int views = 8;
  int size = 384;              // pixels, square
  double radius = 2.7;         // world units
  double hfov = 50;            // degrees
  double elevation = 0;        // degrees above the equator
  double first_azimuth = 270;  // degrees: begins at -y, looking to +y
  std::array<double, 3> up{0, 0, 1};      // of the world, any length but 0; see rig_up
  std::array<double, 3> centre{0, 0, 0};  // what it goes round and looks at
};

// Host tensors, f32. View i stands at azimuth first_azimuth + 360 i / views (counter-clockwise seen from +z, world up
// +z) and looks at the centre: z = forward, x = forward x up, y = z x x (down).  fx = fy = size / (2 tan(hfov / 2)), cx
// = cy = size / 2.   Source: get_turntable_cameras, gslrm/model/gaussians_renderer.py. With another `up` all of it is turned by
// the smallest rotation that takes +z there.
gslrm::Cameras turntable_cameras(const Turntable&);

// The up axis of a rig: the mean of its cameras' own (-y), length 1. Throws DataError where they cancel.
std::array<double, 3> rig_up(const gslrm::Cameras&);

// The order of the cameras round the rig's up axis, counter-clockwise seen from above, from camera 0 on: camera numbers.
std::vector<std::int64_t> ring_order(const gslrm::Cameras&, const std::array<double, 3>& up);

// Cameras `order` (empty: all, as they are) for pictures whose longer side is `size`: intrinsics scaled.
gslrm::Cameras cameras_of_size(const gslrm::Cameras&, int size, const std::vector<std::int64_t>& order = {});

// A closed film of `frames` views through the keys and back to the first, at constant angular speed: orientations by great arcs,
// and the point closest to all optical axes (parallel axes: the keys' middle) moves linearly in the camera's own axes, as do the
// intrinsics, so that cameras that look at the subject do so between the keys too. Frame 0 is key 0. At least two keys. Order them
// first (ring_order).
gslrm::Cameras camera_path(const gslrm::Cameras& keys, int frames);

// The views [V, H, W, 3] (host f32) side by side, [H, V W]; 8 bits by truncation, as published.
data::Image turntable_strip(ConstView views);

// A frame with a strip under it: the strip is reduced by area averaging to the frame's width less a border of 2 pixels
// of grey 200 all round.
data::Image with_strip_below(const data::Image& frame, const data::Image& strip);

// Writes frames of one size as a video beside `base` (a path without extension) and returns the file's path: BASE.mp4
// (H.264, yuv420p, so that every player and browser shows it) where an `ffmpeg` program is found, else
// BASE_animated.png, which every browser plays; then `note` says why. Atomic. Throws DataError when the folder cannot
// be written. Deviation: the published files are lossless yuv444p, which few players show.
std::filesystem::path write_video(const std::filesystem::path& base, const std::vector<data::Image>& frames,
                                  int frames_per_second, std::string* note = nullptr);

}  // namespace mfl
