// Which view of the rig is the best one to give to the first stage?
//
// Every view of every object is given once; the views that are generated from it are compared with the truth, the one of the
// reference itself left out. Per view the mean over objects and its 95 % confidence interval (Student's t over objects); and
// the same of the paired differences from the best view, which is what says whether that one is better or just lucky.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "train/infer/generate.h"
#include "train/mvdiffusion/view_set.h"

namespace mfl::infer {

struct Estimate {
  double mean = 0, half = 0;            // mean +- half is the interval; half is infinite for one value
};
// 95 %, Student's t. Needs a value.
Estimate estimate(const std::vector<double>&);

struct ReferenceScore {
  int view = 0;
  std::string name;
  Estimate psnr;                        // dB
  Estimate behind;                      // dB that the best view is ahead, paired by object; 0 +- 0 for the best
};
// scores [views][objects] -> best first.
std::vector<ReferenceScore> rank(const std::vector<std::vector<double>>& psnr, const std::vector<std::string>& names);
std::string describe(const std::vector<ReferenceScore>&, std::int64_t objects);

// Collective. Leaves <folder>/reference_<view>/ as generate_views does, and reference_ranking.json; goes on where it stopped.
std::vector<ReferenceScore> rank_references(mvdiffusion::ViewPipeline&, std::shared_ptr<const data::ViewReader>, ViewSetOptions, Communicator&,
                                            GenerateOptions);

}  // namespace mfl::infer
