// The cameras by themselves: matrices, axes, units, intrinsics, the ring around the animal.
#pragma once

#include <optional>
#include <vector>

#include "data/doctor/subject.h"

namespace mfl::data::doctor {

struct RigRow {
  std::string name;
  Pinhole camera;
  Bearing from_scene;  // of the camera, seen from RigTable::centre
  double origin_distance = 0;
  double determinant = 0, orthonormality = 0;
  double depth = 0;             // of the centre; not positive: the animal is behind the camera
  double principal_offset = 0;  // pixels from the image's middle
};
struct RigTable {
  std::vector<RigRow> rows;
  Vec3 centre{};  // the animal, where the outlines tell; else where the optical axes meet; else the origin
  const char* centre_from = "";
  double axes_miss = 0;  // rms distance of the optical axes from their meeting point
  Vec3 up{};             // mean of the cameras' up directions, unit length
  char up_axis = '?';    // X, Y or Z: the nearest
  bool up_positive = true;
  double up_angle = 0;                                                     // degrees between the two
  double mean_origin_distance = 0, mean_distance = 0, distance_ratio = 1;  // largest over smallest, from the centre
  std::vector<double> gaps;        // degrees between neighbours in azimuth, in ring order
  std::vector<int> ring;           // views in azimuth order, from view 0
  std::size_t different_rigs = 1;  // over all samples
};

struct RigExpectations {
  double distance = 2.7;  // of the cameras from the origin, mean; 0: not checked
  bool z_up = true;
  bool normalised_later = false;  // training turns and scales the rig itself: axes and distance are notes
};
RigTable examine_rig(const Subject&, const std::optional<Vec3>& animal);
Findings check_rig(const Subject&, const RigTable&, const RigExpectations&);

// "0, 2 and 5": the views' numbers.
std::string list(const std::vector<std::size_t>&);

}  // namespace mfl::data::doctor
