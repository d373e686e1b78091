// What a run will need, before it starts: the same code as the run, driven on the `meta` device, where arenas only count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/arena.h"
#include "runtime/profile.h"

namespace mfl {

inline constexpr const char* kCheckpointStaging = "checkpoint staging";   // in MemoryPlan::host: the size of a checkpoint

struct MemoryPlan {
  struct Line {
    std::string what;
    std::size_t bytes = 0;
    std::int64_t times = 1;              // calls of a module
    bool leader = false;                 // on rank 0 only
  };
  std::int64_t parameters = 0, trainable = 0, network_parameters = 0, metric_parameters = 0;
  int recompute_segment = 0;
  std::vector<Line> state;               // parameters, gradients, moments, networks
  std::vector<Line> modules;             // kept for backward by each module's forward, per step
  std::vector<Line> host;                // pinned host memory of rank 0
  int ranks = 1;
  bool divided = false;                  // the optimizer's state, among the ranks (sharding.h)
  std::vector<Line> peak;                // what lives at the peak of the step, by purpose
  std::size_t state_bytes = 0, step_bytes = 0, splat_bytes = 0, library_bytes = 0;
  std::size_t showcase_bytes = 0;        // what renders a validation's turntables beside training, on rank 0
  std::size_t state_peak = 0, step_peak = 0;   // of the two arenas, to the byte
  std::size_t validation_bytes = 0;      // step arena while validating; part of step_bytes where it is the larger one
  std::string missing_metric;            // why validation will report no LPIPS; empty: it will, or there is no validation
  double forward_flops = 0;              // a sample
  // Of rank 0; the others have no pictures to make.
  std::size_t total() const { return state_bytes + step_bytes + splat_bytes + showcase_bytes + library_bytes; }
};

// The plan's tables as text, a line each: state, modules, peak, device and host memory.
std::string tables(const MemoryPlan&);
// What its checkpoints take on disk, a line. A new one is complete before an old one goes, and the best one stays: two more than
// `limit` at most; without a limit all stay. `every` such as "500 passes".
std::string disk_line(const MemoryPlan&, const std::string& every, std::optional<std::int64_t> limit);
// "fits in 80.00 GiB: 36.94 GiB to spare", or that it does not, with the remedies.
std::string verdict(const MemoryPlan&, std::size_t memory_bytes, const std::vector<std::string>& remedies);

// What an arena that has used so much takes from the device.
std::size_t committed_bytes(std::size_t);
// CUDA context and modules, and the libraries' workspaces, beside our arenas.
std::size_t library_bytes();
std::vector<MemoryPlan::Line> lines_of(const std::vector<Arena::Use>&);

// Bytes of the arena that each module's forward leaves alive, while this lives. Nested ranges count for the inner one.
class KeptByModule : public RangeObserver {
 public:
  explicit KeptByModule(const Arena& a) : arena_(a) { range_observer = this; }
  ~KeptByModule() override { range_observer = nullptr; }
  void enter(const char* name) override { open_.push_back({name, arena_.live_bytes(), 0}); }
  void leave(const char* name) override;
  std::vector<MemoryPlan::Line> lines() const { return lines_; }

 private:
  struct Open {
    std::string name;
    std::size_t before;
    std::int64_t inner;
  };
  const Arena& arena_;
  std::vector<Open> open_;
  std::vector<MemoryPlan::Line> lines_;
};

// "12G", "80GiB", "81559MiB", "24000000000". Throws ConfigError.
std::size_t parse_bytes(const std::string&);
std::string human_bytes(std::size_t);

}  // namespace mfl
