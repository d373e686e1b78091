// What one optimizer step decides on the device, so that the host need not wait: one struct in device memory.
//
//   set_learning_rate (host value) -> grad_norm -> decide_update -> adamw; then the host may read it back.
#pragma once

#include <span>
#include <vector>

#include "runtime/context.h"

namespace mfl {

// The ledger's word for a step.
enum class UpdateOutcome : std::int32_t {
  applied = 0,
  clipped = 1,     // applied, with gradients scaled down to the maximal norm
  norm_skip = 2,   // left out: the norm is above allowed_factor * max_norm
  non_finite = 3,  // left out: a gradient or the loss is not a number or infinite
};

struct StepScalars {
  double learning_rate = 0;
  double norm = 0;              // L2 norm of factor * gradients, before clipping
  double grad_scale = 1;        // what adamw multiplies gradients by: factor * clip
  double bias1 = 0, bias2 = 0;  // 1 - beta^updates
  std::int64_t updates = 0;     // applied so far, this one included
  std::int32_t apply = 0;       // 0: adamw leaves everything untouched
  UpdateOutcome outcome = UpdateOutcome::applied;
  std::int64_t bad_segment = -1;  // index of the first segment with a non-finite gradient; -1: none
};
// A StepScalars in a tensor: Tensor scalars = arena.empty(kStepScalarsShape, DType::u8).
inline const Shape kStepScalarsShape{static_cast<std::int64_t>(sizeof(StepScalars))};

// One trainable parameter in the flat buffers.
struct ParamSegment {
  std::int64_t first = 0, count = 0;  // elements
  std::int64_t group = 0;             // index into AdamW::groups
};
// The segments cut into pieces of at most kChunk elements, one thread block each: rows of [chunks, 4] i64: first
// element, count, segment index, group. The host makes it once and copies it to the device.
inline constexpr std::int64_t kChunk = 32768;
std::vector<std::int64_t> chunk_table(std::span<const ParamSegment>);  // 4 entries a chunk

// All zero but `updates` (0, or what a checkpoint says).
struct InitScalars {
  View scalars;  // [sizeof(StepScalars)] u8; out
  std::int64_t updates = 0;
};
void init_scalars(const Stream&, const InitScalars&);

struct SetLearningRate {
  View scalars;
  double learning_rate = 0;
};
void set_learning_rate(const Stream&, const SetLearningRate&);

namespace cpu {
void init_scalars(const InitScalars&);
void set_learning_rate(const SetLearningRate&);
}  // namespace cpu
namespace cuda {
void init_scalars(const Stream&, const InitScalars&);
void set_learning_rate(const Stream&, const SetLearningRate&);
}  // namespace cuda

}  // namespace mfl
