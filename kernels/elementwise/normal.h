// x[n, i] = a draw from N(0, 1), rounded to x's type.                           Philox, Box-Muller: runtime/rng.h
//
//   Element i of sample n is Rng(seed, purpose, step, streams[n]).normal_at(i): it depends on nothing else, so a sample
//   draws the same noise in any batch, on any rank and any device. Computed in f64 on every device, rounded once.
#pragma once

#include "runtime/context.h"
#include "runtime/rng.h"

namespace mfl {

struct FillNormal {
  View x;             // [N, ..]  f64 | f32 | bf16; out
  ConstView streams;  // [N]      i32
  std::uint64_t seed = 0;
  Draw purpose = Draw::noise;
  std::uint64_t step = 0;
};
void fill_normal(const Stream&, const FillNormal&);

namespace cpu {
void fill_normal(const FillNormal&);
}
namespace cuda {
void fill_normal(const Stream&, const FillNormal&);
}

}  // namespace mfl
