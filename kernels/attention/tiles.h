// Tuning, in one place: what each Hopper kernel's block looks like. Portable kernels keep theirs beside them. What was
// tried and lost is in attention.cu under Rejected.
#pragma once

namespace mfl::cuda::sm90 {

struct Tiles {
  int groups;      // consumer warpgroups of a block; each owns 64 rows. One more warpgroup copies.
  int pass;        // rows of the tiles that pass by
  int stages;      // tiles in shared memory
  bool registers;  // backward: the owned operands of both logit products stay in registers, not read from shared memory

  constexpr int rows() const { return 64 * groups; }
  constexpr int threads() const { return 128 * (groups + 1); }
  constexpr int consumer_registers() const { return groups == 3 ? 160 : 240; }  // of 65536 in all
  constexpr int producer_registers() const { return groups == 3 ? 32 : 24; }
};

// Types, because a kernel's template parameter must be one.
struct Forward {
  static constexpr Tiles tiles{.groups = 3, .pass = 128, .stages = 3, .registers = false};
};
struct DkDv {
  static constexpr Tiles tiles{.groups = 2, .pass = 128, .stages = 3, .registers = false};
};
struct Dq {
  static constexpr Tiles tiles{.groups = 3, .pass = 64, .stages = 3, .registers = true};
};

}  // namespace mfl::cuda::sm90
