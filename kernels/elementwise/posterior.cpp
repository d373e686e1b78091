#include "kernels/elementwise/posterior.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void sample_posterior(const Stream& s, const SamplePosterior& a) {
  const char* op = "sample_posterior";
  MFL_CHECK(a.moments && a.moments.shape.rank() >= 1 && a.moments.shape[-1] % 2 == 0, op, ": moments ", a.moments.shape,
            ", expected [R.., 2 C]");
  Shape half = a.moments.shape;
  half[-1] /= 2;
  check(s, op, "moments", a.moments, a.moments.shape, a.moments.dtype);
  check(s, op, "y", a.y, half, a.y.dtype);
  if (a.noise) check(s, op, "noise", a.noise, half, accum_of(a.y.dtype));
  MFL_DISPATCH(s, sample_posterior, a);
}

}  // namespace mfl
