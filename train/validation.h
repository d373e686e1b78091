// Validation: a fixed set, no gradients, every rank its share. Metrics while the loop waits: the host scores a sample while the
// device renders the next. Pictures and files of the first sample beside the training that goes on (showcase.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "runtime/comm/communicator.h"
#include "train/gslrm_stage.h"
#include "train/metric_sums.h"
#include "train/showcase.h"
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
  // `showcase`: who shows the first sample; null: nobody.
  Validation(GslrmStage&, std::shared_ptr<const data::Dataset>, Communicator&, Showcase* showcase);
  // Collective. A metric that is not finite throws: a failed validation must not pass for a result. What one rank's share throws,
  // all ranks throw.
  ValidationResult run(std::int64_t pass);

 private:
  void share(std::int64_t pass, MetricSums&);   // this rank's samples

  GslrmStage& stage_;
  std::shared_ptr<const data::Dataset> data_;
  Communicator& comm_;
  Showcase* showcase_;
  bool told_ = false;    // that a metric is missing
};

}  // namespace mfl
