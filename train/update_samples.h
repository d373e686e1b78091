// Which samples an update was made of, and whose own losses were not finite.
//
// A rank's losses are copied to the host before they are averaged over ranks; they are looked at when the update's results are
// read, one update later. Only after an update that was not finite do the ranks tell one another what they have seen.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/tensor.h"

namespace mfl {

// A micro-batch of a rank, or those of its samples that are known to be to blame.
struct Suspect {
  int rank = 0, micro_batch = 0;
  std::vector<std::string> terms;     // of the loss, that were not finite; empty: the losses were, a gradient was not
  std::vector<std::string> samples;
};
struct Suspects {
  std::vector<Suspect> list;
  bool certain = true;                // false: no rank's own loss was to blame; all samples of the update are listed
  std::string text() const;           // "rank 2: scene_3, scene_4 (l2_loss)", one after the other
};

class UpdateSamples {
 public:
  // Losses [columns] of a micro-batch: one a name in `terms`, of all samples together; without names equally many of each sample.
  UpdateSamples(Device, std::int64_t micro_batches, std::int64_t columns, std::vector<std::string> terms);
  ~UpdateSamples();
  UpdateSamples(const UpdateSamples&) = delete;
  UpdateSamples& operator=(const UpdateSamples&) = delete;

  void begin();   // an update; what was noted of an unfinished one goes
  void micro_batch(const Stream&, const std::vector<std::string>& names, ConstView losses);   // losses f32, before any reduction
  void queued();  // the update is; take() is about this one from now on
  // Collective, and the only place where ranks wait here: after an update that was not finite.
  Suspects take(Communicator&);

 private:
  struct Slot {
    Tensor losses;   // [micro-batches, columns] f32, pinned
    std::vector<std::vector<std::string>> names;   // by micro-batch
    Event copied;
    Slot(Device d, Shape s) : losses(Tensor::pinned(s, DType::f32, {"losses of a rank"})), copied(d) {}
  };
  std::vector<Suspect> seen(const Slot&, int rank, bool all) const;
  std::vector<std::string> terms_;
  std::array<Slot, 2> slots_;
  std::size_t writing_ = 0;
};

}  // namespace mfl
