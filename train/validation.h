// Validation: a fixed set, no gradients, every rank its share; metrics, pictures and files of the first sample.
//
//   <validation.output_dir>/iter_%08d/<sample>/{gt_vs_pred.png, input.png, gaussians.ply, turntable.png, turntable.mp4, metrics.txt}
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "runtime/comm/communicator.h"
#include "train/gslrm_stage.h"
#include "train/validation_result.h"

namespace mfl {

// Whether validation reports LPIPS: with the network of the losses, with one of its own, or not, and then why.
struct LpipsMetric {
  bool own_network = false;
  std::string missing;   // which file from where would give it
};
LpipsMetric lpips_metric(const GslrmConfig&);

class Validation {
 public:
  Validation(GslrmStage&, std::shared_ptr<const data::Dataset>, Communicator&);
  // Collective. A metric that is not finite throws: a failed validation must not pass for a result.
  ValidationResult run(std::int64_t pass);

 private:
  void show(std::int64_t pass, const data::Batch&, const GslrmStage::Rendered&, ValidationResult&);

  GslrmStage& stage_;
  std::shared_ptr<const data::Dataset> data_;
  Communicator& comm_;
  bool told_ = false;    // that a metric is missing
};

}  // namespace mfl
