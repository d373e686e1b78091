#include "kernels/common/dispatch.h"
#include "kernels/elementwise/normal.h"

namespace mfl::cpu {

void fill_normal(const FillNormal& a) {
  const std::int64_t samples = a.x.shape[0], size = samples == 0 ? 0 : a.x.numel() / samples;
  const std::int32_t* streams = a.streams.as<std::int32_t>();
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    T* x = a.x.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < samples; ++n) {
      const Rng rng(a.seed, a.purpose, a.step, static_cast<std::uint32_t>(streams[n]));
      for (std::int64_t i = 0; i < size; ++i) x[n * size + i] = T(rng.normal_at(std::uint64_t(i)));
    }
  });
}

}  // namespace mfl::cpu
