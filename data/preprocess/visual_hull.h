// The visual hull: the largest body whose outlines fit into all masks.
#pragma once

#include <string>
#include <vector>

#include "data/preprocess/mask.h"
#include "data/recording.h"

namespace mfl::data::preprocess {

// Centre of mass of the hull, by carving a grid of 64^3 cells around `guess` (such as the meeting point of the
// centroids' rays). The grid's cube is the smallest that holds every mask's box seen at the guess's depth. Throws
// DataError that begins with `where` when nothing is left: the masks contradict each other or the calibration.
Vec3 hull_centre(const std::vector<RawCamera>&, const std::vector<const Mask*>&, const Vec3& guess,
                 const std::string& where);

}  // namespace mfl::data::preprocess
