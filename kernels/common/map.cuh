// Elementwise kernels: out[i] = f(a[i], b[i], out[i]), eight elements a thread with 16-byte accesses where the pointers
// allow it. What is not read is passed as a null pointer and arrives in f as 0.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"

namespace mfl::cuda {

template <bool kReadOut, class A, class B, class O, class F>
__global__ void map_kernel(const A* gA, const B* gB, O* gOut, std::int64_t n, bool packed, F f) {
  constexpr int kPack = 8;
  const std::int64_t i = (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kPack;
  if (packed && i + kPack <= n) {
    Pack<A, kPack> a{};
    Pack<B, kPack> b{};
    Pack<O, kPack> out{};
    if (gA) a = *reinterpret_cast<const Pack<A, kPack>*>(gA + i);
    if (gB) b = *reinterpret_cast<const Pack<B, kPack>*>(gB + i);
    if (kReadOut) out = *reinterpret_cast<const Pack<O, kPack>*>(gOut + i);
#pragma unroll
    for (int j = 0; j < kPack; ++j)
      out.v[j] = from_float<O>(
          f(gA ? to_float(a.v[j]) : 0.0f, gB ? to_float(b.v[j]) : 0.0f, kReadOut ? to_float(out.v[j]) : 0.0f));
    *reinterpret_cast<Pack<O, kPack>*>(gOut + i) = out;
    return;
  }
  for (std::int64_t j = i; j < i + kPack && j < n; ++j)
    gOut[j] =
        from_float<O>(f(gA ? to_float(gA[j]) : 0.0f, gB ? to_float(gB[j]) : 0.0f, kReadOut ? to_float(gOut[j]) : 0.0f));
}

template <bool kReadOut, class A, class B, class O, class F>
void map(const char* name, const Stream& s, const A* a, const B* b, O* out, std::int64_t n, F f) {
  if (n == 0) return;
  const bool packed = aligned16(a) && aligned16(b) && aligned16(out);
  map_kernel<kReadOut><<<unsigned(ceil_div(n, 256 * 8)), 256, 0, native(s)>>>(a, b, out, n, packed, f);
  check_launch(name, s);
}

}  // namespace mfl::cuda
