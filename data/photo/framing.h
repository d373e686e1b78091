// From a cut-out photo to the picture that the models were trained on: FaceLift's front camera, focal length 548.99 of 512 pixels,
// the animal in the middle, covering the share of the picture that it covered in training.
//
// Pixels: (0, 0) is the corner of the first pixel, the centre of the first pixel is (0.5, 0.5).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "data/camera.h"
#include "data/image.h"
#include "data/recording.h"

namespace mfl::data::photo {

// Mean alpha of the published mouse data (2.3 to 2.5 % of a 512 x 512 view). FaceLift's own heads: 0.37. --framing-from takes it
// from a packed file.
inline constexpr double kMouseShare = 0.024;
// Mean over a packed file's views of /stats/foreground. Throws DataError: no such file, or no alpha in it.
double trained_share(const std::string& packed_file);

struct Lens {
  RawCamera camera;                     // K in OpenCV's convention (integer = pixel centre); R and T where the rig is known
  std::array<double, 5> distortion{};   // k1 k2 p1 p2 k3, OpenCV's model
  bool in_rig = false;                  // R and T mean something: the rig's up is the picture's up
  std::array<double, 3> up{0, 0, 1};    // of the rig, world
};
// "fx,fy,cx,cy[,k1[,k2[,p1[,p2[,k3]]]]]" in pixels of the upright photo. Throws ConfigError.
Lens parse_intrinsics(const std::string& text);
// Camera `index` of a new_cam.pkl. Throws ConfigError for an index that it does not have, DataError for the file.
Lens rig_lens(const std::string& new_cam, int index);

struct FramingOptions {
  bool enabled = true;        // false: the picture stays as it is; it must be side x side
  double share = kMouseShare; // of the new picture's area that the animal covers
  double margin = 0.02;       // of the new picture's side, around the animal: where the share would not leave it, the scale shrinks
  std::optional<Lens> lens;   // known: the camera is turned towards the animal (a homography, exact); else a similarity
};

struct Framed {
  Image image;                     // RGBA, side x side, straight alpha
  Mat3 warp{1, 0, 0, 0, 1, 0, 0, 0, 1};  // photo to new picture; a similarity has the last row 0 0 1. With distortion: of the
                                         // undistorted photo
  const char* kind = "similarity"; // "similarity", "homography" (turned camera) or "none" (the picture as it is)
  double share = 0;                // that the animal covers now
  double enlargement = 1;          // new pixels per pixel of the photo, at the animal; above 1 detail is missing
  double focal = 0;                // of the new picture's camera, pixels, where the lens is known; else 0
  bool shrunk = false;             // the share was not reached because the animal would not fit
};

// `rgba`: alpha shows the animal, and not nothing. Colour is averaged over the new pixel's area, premultiplied; what lies outside
// the photo is transparent. Throws DataError that begins with `where`.
Framed frame_animal(const Image& rgba, const FramingOptions&, int side, const std::string& where);

}  // namespace mfl::data::photo
