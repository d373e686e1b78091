// From the rig of a recording to FaceLift's convention: where the animal is, one similarity of the world, the virtual
// camera and the homography of each view, the order of the cameras around the animal, and the prompts that they fit.
//
// Raw side: RawCamera, integer pixels are centres. Written side: Camera, (0, 0) is the corner of the first pixel. The
// half pixel between them is added once, in virtual_view.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/recording.h"

namespace mfl::data::preprocess {

// FaceLift's camera: 50 degrees, which at 512 pixels is a focal length of this.
inline constexpr double kCanonicalFocal512 = 548.9937744140625;
inline constexpr double kCanonicalRadius = 2.7;
inline double canonical_focal(int image_size) { return kCanonicalFocal512 * image_size / 512; }

// ---- where the animal is ----
// The point nearest to all rays (least squares of the distances), and the rms of the rays' miss distances.
struct Meeting {
  Vec3 point{};
  double rms = 0;
};
// Throws DataError where the rays are parallel or fewer than two; `what` begins the sentence.
Meeting meet(const std::vector<Vec3>& origins, const std::vector<Vec3>& directions, const std::string& what);
// World direction, unit length, through a raw pixel (integer = centre).
Vec3 ray(const RawCamera&, double u, double v);
Meeting optical_axes_meeting(const std::vector<RawCamera>&);

// ---- one similarity for all cameras ----
struct Similarity {  // x' = scale * rotation * (x - centre)
  double scale = 1;
  Mat3 rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
  Vec3 centre{};
};
Vec3 transformed(const Similarity&, const Vec3&);
Mat4 matrix(const Similarity&);

// The mean of the cameras' up directions. Throws DataError where they cancel out.
Vec3 rig_up(const std::vector<RawCamera>&);
// Takes rig_up to +Z by the minimal rotation, then turns about Z until the reference camera stands at azimuth -90
// degrees about the point where the optical axes meet, where FaceLift's front camera stands. Depends on the rig only.
Mat3 room_rotation(const std::vector<RawCamera>&, int reference);
// Scale 2.7 / mean distance of the cameras from `centre`.
Similarity facelift_similarity(const std::vector<RawCamera>&, const Mat3& rotation, const Vec3& centre);

// ---- one view ----
struct VirtualView {
  Camera camera;  // focal length zoom * canonical_focal, principal point in the middle, no skew
  Mat3 warp{};    // homography from pixels of the raw frame to those of the new image, corner convention
};
// The camera that stands where the raw one stands and looks along `forward` (world, any length) with the world's +Z of
// `similarity` up in the image; without `forward` it keeps the raw camera's rotation. Exact for every depth, because
// the centre of projection does not move: K_v R_v R^T K^-1. Throws DataError that begins with `where`.
VirtualView virtual_view(const RawCamera&, const Similarity&, const std::optional<Vec3>& forward, int image_size,
                         double zoom, const std::string& where);

// ---- around the animal ----
// Azimuth of each camera about `centre` relative to the reference camera, degrees in (-180, 180], counter-clockwise
// seen from above.
std::vector<double> relative_azimuths(const std::vector<RawCamera>&, const Vec3& centre, int reference);
// Camera indices around the animal, clockwise seen from above (the direction in which the prompts go), the reference
// first.
std::vector<int> ring_order(const std::vector<double>& relative_azimuths, int reference);

// The six views that the multi-view diffusion prompts name, and their azimuths from the front.
inline constexpr int kPromptSlots = 6;
inline constexpr const char* kSlotNames[kPromptSlots] = {"front", "front_right", "right", "back", "left", "front_left"};
inline constexpr double kSlotAzimuths[kPromptSlots] = {0, -45, -90, 180, 90, 45};
struct SlotTable {
  std::vector<int> slot;      // of each camera; -1: none is left for it
  std::vector<double> error;  // degrees between the camera's azimuth and the slot's; 0 without a slot
};
// The reference takes the front; the others so that the sum of squared errors is smallest. With more than six cameras
// the worst-fitting ones stay without.
SlotTable assign_slots(const std::vector<double>& relative_azimuths, int reference);

}  // namespace mfl::data::preprocess
