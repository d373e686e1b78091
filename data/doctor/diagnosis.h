// Why do cameras and outlines disagree? Each known way to get a rig wrong is tried in reverse; what makes the
// disagreement vanish is the diagnosis.
#pragma once

#include <string>
#include <vector>

#include "data/doctor/epipolar.h"

namespace mfl::data::doctor {

// What a rig costs: the median disagreement in pixels, plus Disagreement::kLimit times the share of cameras that have
// the animal behind them. Where the image border cuts every outline, the share of the outlines that the visual hull
// leaves empty stands for the disagreement, times 30 pixels.
double cost_of(const Evidence&, const std::vector<int>& order = {});

struct Diagnosis {
  std::string what, remedy;      // one line each; empty: nothing explains it
  double before = 0, after = 0;  // cost
  std::vector<int> order;        // of the images, where that is the diagnosis: camera k belongs to image order[k]
};
// Rotations stored transposed, matrices stored inverted, axes of another convention, a mirrored axis, images in another
// order. Best first; only those that leave less than a third of the cost.
std::vector<Diagnosis> diagnose_poses(const Evidence&);

// Focal lengths and principal points that the outlines imply, poses being right: least squares on the tangency
// equations with weak priors (one focal ratio for all cameras within 3 %, principal points within 12 % of the width).
struct ImpliedIntrinsics {
  std::vector<Pinhole> cameras;
  std::vector<double> focal_ratio;            // declared over implied, per camera
  double common_ratio = 1, common_sigma = 0;  // of all cameras together; standard deviation
  std::vector<double> principal_error;        // pixels, declared to implied
  std::vector<double> ray_error_degrees;      // atan(|((cx - cx')/fx, (cy - cy')/fy)|)
  double before = 0, after = 0;               // median of the equations, px
  int worst = 0;                              // view with the largest principal-point error
};
std::optional<ImpliedIntrinsics> imply_intrinsics(const Evidence&);  // nothing: too few equations

}  // namespace mfl::data::doctor
