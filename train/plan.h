// What a run will need, before it starts: the same code as the run, driven on the `meta` device, where arenas only count.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "train/config.h"

namespace mfl {

struct MemoryPlan {
  struct Line {
    std::string what;
    std::size_t bytes = 0;
    std::int64_t times = 1;              // calls of a module
  };
  std::int64_t parameters = 0, trainable = 0, network_parameters = 0, metric_parameters = 0;
  int recompute_segment = 0;
  std::vector<Line> state;               // parameters, gradients, moments, networks
  std::vector<Line> modules;             // kept for backward by each module's forward, per step
  std::vector<Line> host;                // pinned host memory of rank 0
  std::vector<Line> peak;                // what lives at the peak of the step, by purpose
  std::size_t state_bytes = 0, step_bytes = 0, splat_bytes = 0, library_bytes = 0;
  std::size_t validation_bytes = 0;      // step arena while validating; part of step_bytes where it is the larger one
  std::string missing_metric;            // why validation will report no LPIPS; empty: it will, or there is no validation
  double forward_flops = 0;              // a sample
  std::size_t total() const { return state_bytes + step_bytes + splat_bytes + library_bytes; }
};

// `ranks` only changes what data parallelism adds. `segment` -1: as the configuration says (auto takes `memory_bytes` into
// account: the least recomputation that fits; 0 stands for unknown and gives none).
MemoryPlan plan_gslrm(const GslrmConfig&, std::size_t memory_bytes, int segment = -1);

// The plan as a page of text: parameters, memory by kind and module, the verdict for a device of `memory_bytes` (0: none)
// and, where it does not fit, what to change.
std::string describe(const GslrmConfig&, const MemoryPlan&, std::size_t memory_bytes);

// "12G", "80GiB", "81559MiB", "24000000000". Throws ConfigError.
std::size_t parse_bytes(const std::string&);
std::string human_bytes(std::size_t);

}  // namespace mfl
