// The small elementwise operations between types: f64, f32 and bf16 in any combination (f32 and bf16 on CUDA). Values
// are rounded once, when they are stored: to nearest, ties to even.
#pragma once

#include "runtime/context.h"

namespace mfl {

// y = x
struct Cast {
  ConstView x;  // any shape
  View y;       // the same shape; out
};
void cast(const Stream&, const Cast&);

// y += factor * x
struct Add {
  View y;       // any shape; in and out
  ConstView x;  // the same shape
  double factor = 1;
};
void add_(const Stream&, const Add&);

// x *= factor
struct Scale {
  View x;
  double factor = 1;
};
void scale_(const Stream&, const Scale&);

// x = value, everywhere
struct Fill {
  View x;
  double value = 0;
};
void fill_(const Stream&, const Fill&);

namespace cpu {
void cast(const Cast&);
void add_(const Add&);
void scale_(const Scale&);
void fill_(const Fill&);
}  // namespace cpu
namespace cuda {
void cast(const Stream&, const Cast&);
void add_(const Stream&, const Add&);
void scale_(const Stream&, const Scale&);
void fill_(const Stream&, const Fill&);
}  // namespace cuda

}  // namespace mfl
