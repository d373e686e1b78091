// The sinusoidal embedding of a number, cosines first:
//   y[n, i] = cos(t[n] w_i),  y[n, C/2 + i] = sin(t[n] w_i),  w_i = 10000^(-2i/C),  i < C/2.
//                        Timesteps of diffusers with flip_sin_to_cos true and freq_shift 0; Ho et al. 2020, after Vaswani 2017
//
//   Forward only. Angles in f64, so that a large t costs no digits.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct Sinusoid {
  ConstView t;  // [N]     f64 | f32 | i32
  View y;       // [N, C]  f64 | f32 | bf16; C even; out
};
void sinusoid(const Stream&, const Sinusoid&);

namespace cpu {
void sinusoid(const Sinusoid&);
}
namespace cuda {
void sinusoid(const Stream&, const Sinusoid&);
}

}  // namespace mfl
