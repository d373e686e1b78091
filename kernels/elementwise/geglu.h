// y = value * gelu(gate), where x holds the value in its first half of channels and the gate in its second; gelu is the
// exact one (gelu.h).                                                                    Shazeer 2020, GEGLU of diffusers
//
//   One dtype, f64 | f32 | bf16; computed in f32 (f64 for f64).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct GegluFwd {
  ConstView x;  // [R.., 2 C]  value, gate
  View y;       // [R.., C]    out
};
void geglu_fwd(const Stream&, const GegluFwd&);

// dvalue = dy * gelu(gate),  dgate = dy * value * gelu'(gate)
struct GegluBwd {
  ConstView x;   // [R.., 2 C]
  ConstView dy;  // [R.., C]
  View dx;       // [R.., 2 C]  out; may be x
  GradMode dx_mode = GradMode::overwrite;
};
void geglu_bwd(const Stream&, const GegluBwd&);

namespace cpu {
void geglu_fwd(const GegluFwd&);
void geglu_bwd(const GegluBwd&);
}  // namespace cpu
namespace cuda {
void geglu_fwd(const Stream&, const GegluFwd&);
void geglu_bwd(const Stream&, const GegluBwd&);
}  // namespace cuda

}  // namespace mfl
