// The camera that goes round the subject, and the files made of its views.
#pragma once

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
};

// Host tensors, f32. View i stands at azimuth first_azimuth + 360 i / views (counter-clockwise seen from +z, world up
// +z) and looks at the origin: z = forward, x = forward x up, y = z x x (down).  fx = fy = size / (2 tan(hfov / 2)), cx
// = cy = size / 2.   Source: get_turntable_cameras, gslrm/model/gaussians_renderer.py.
gslrm::Cameras turntable_cameras(const Turntable&);

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
