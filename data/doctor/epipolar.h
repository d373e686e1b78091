// Do silhouettes agree with cameras? The exact test that needs no correspondences: a plane through two camera centres
// that just touches the animal touches both outlines. So the planes of the pencil about the baseline that meet the
// animal form the same interval as seen from either camera; each pair of views gives two equations in pixels, without
// any bias from the shape.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "data/doctor/subject.h"

namespace mfl::data::doctor {

// How far the tangent planes of outline `a`, seen by camera `x`, are from those of outline `b`, seen by camera `y`: in
// pixels (angle times focal length times distance of the ray from the baseline's direction, mean of the two views).
// Nothing where the pair cannot tell: an outline is empty or cut by the image border, the centres coincide, or the sine
// of the angle between baseline and animal is below `least_sine`.
std::optional<std::array<double, 2>> tangency(const Pinhole& x, const Silhouette& a, const Pinhole& y,
                                              const Silhouette& b, double least_sine = 0.4);

// What the views of a moment claim together: cameras and the outlines that they see.
struct Frame {
  std::vector<Pinhole> cameras;
  std::vector<const Silhouette*> outlines;
};
struct Evidence {
  std::vector<Frame> frames;  // all with the same number of views
  std::size_t views() const { return frames.empty() ? 0 : frames[0].cameras.size(); }
};
// The examined samples that have as many views as the first.
Evidence evidence_of(const Subject&);

struct Disagreement {
  double rms = 0, median = 0;    // of all equations, px; each limited to `kLimit`
  std::vector<double> per_view;  // median of the equations with that view; NaN: none
  std::size_t equations = 0;
  static constexpr double kLimit = 100;
};
// order[view]: which outline the camera `view` sees; empty: its own.
Disagreement disagreement(const Evidence&, const std::vector<int>& order = {});

// The animal's place, from the rays through the outlines' centroids; rms: of their miss distances, in the rig's unit.
std::optional<Meeting> centroid_meeting(const Frame&);

double median(std::vector<double>);  // NaN where there is none

}  // namespace mfl::data::doctor
