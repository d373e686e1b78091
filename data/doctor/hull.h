// The visual hull: what of space lies inside every outline. Its image in a view cannot exceed that view's outline; with
// true cameras it fills it. How much of the outline is filled (intersection over union of the two) is the geometry's
// mark, and leaving out one view after the other finds the one that does not fit.
#pragma once

#include <vector>

#include "data/doctor/epipolar.h"

namespace mfl::data::doctor {

struct HullOptions {
  int pixels_a_view = 2000;  // sampled on a regular lattice inside the outline
  int max_steps = 400;       // along a ray; about one pixel of the other views each
};

struct HullView {
  double iou = 0;             // filled share of the outline; outside of another image counts as inside of it
  double iou_next = 0;        // the same when the view whose removal helps this one most is left out
  double centroid_raw = 0;    // px: outline's centroid to the image of the triangulated centroids
  double centroid = 0;        // px: the same with the shape's bias removed: the centroid of an outline is not the
                              // image of one point; the hull says by how much
  Pixel centroid_at;          // image of the triangulated animal
  std::vector<Pixel> missed;  // lattice pixels of the outline that the hull does not fill
  int stride = 1;             // of the lattice
};
struct HullResult {
  Vec3 centre{};      // triangulated, bias removed
  double miss = 0;    // rms distance of the centroid rays from their meeting point
  double radius = 0;  // of a ball about the centre that holds the animal, as the outlines say
  std::vector<HullView> views;
  std::vector<double> mean_without;  // [k]: mean IoU of the other views when view k is left out
};
// Outlines that touch the image border are used: they say what is inside, and nothing beyond the border.
// Empty views: nothing where fewer than two views have an outline.
std::optional<HullResult> visual_hull(const Frame&, const HullOptions& = {});

}  // namespace mfl::data::doctor
