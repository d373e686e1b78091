// Attention, launches.
#include "kernels/attention/bwd_sm80.cuh"
#include "kernels/attention/f32.cuh"
#include "kernels/attention/fwd_sm80.cuh"

#include <cmath>
#include <type_traits>

namespace mfl::cuda {
namespace {

template <class F>
void dispatch_head_size(std::int64_t d, F&& f) {   // checked by the caller: 32, 64 or 128
  if (d == 32) f(std::integral_constant<int, 32>{});
  else if (d == 64) f(std::integral_constant<int, 64>{});
  else f(std::integral_constant<int, 128>{});
}

float scale_of(float scale, std::int64_t d) { return scale != 0 ? scale : 1 / std::sqrt(float(d)); }

dim3 grid_of(std::int64_t length, int tile, const Shape& q) {
  return {unsigned(ceil_div(length, tile)), unsigned(q[2]), unsigned(q[0])};
}

template <class Kernel, class... Args>
void launch(const char* name, const Stream& s, Kernel kernel, dim3 grid, int threads, std::size_t shared, Args... args) {
  allow_shared(kernel, shared);
  kernel<<<grid, unsigned(threads), shared, native(s)>>>(args...);
  check_launch(name, s);
}

template <int kD>
void fwd_f32(const Stream& s, const AttentionFwd& a, float scale, Lengths n) {
  launch("attention_fwd_f32_kernel", s, f32::attention_fwd_f32_kernel<kD>, grid_of(n.queries, f32::kTile, a.q.shape),
         f32::kThreads, sizeof(f32::FwdShared<kD>), rows<float>(a.q), rows<float>(a.k), rows<float>(a.v), rows<float>(a.y),
         pointer<float>(a.lse), scale, n);
}

template <int kD>
void fwd_bf16(const Stream& s, const AttentionFwd& a, float scale, Lengths n) {
  launch("attention_fwd_sm80_kernel", s, sm80::attention_fwd_sm80_kernel<kD>, grid_of(n.queries, sm80::kTile, a.q.shape),
         sm80::kThreads, sizeof(sm80::FwdShared<kD>), rows<bf16>(a.q), rows<bf16>(a.k), rows<bf16>(a.v), rows<bf16>(a.y),
         pointer<float>(a.lse), scale, n);
}

template <class T, int kD>
void delta(const Stream& s, const AttentionBwd& a, QueryScalars scalars, Lengths n) {
  launch("attention_delta_kernel", s, attention_delta_kernel<device_t<T>, kD>, grid_of(padded(n.queries), 4, a.q.shape), 128,
         0, rows<T>(a.y), rows<T>(a.dy), pointer<float>(a.lse), scalars, n);
}

template <int kD>
void bwd_f32(const Stream& s, const AttentionBwd& a, float scale, Lengths n) {
  const QueryScalars scalars = query_scalars(a.scratch);
  const auto q = rows<float>(a.q), k = rows<float>(a.k), v = rows<float>(a.v), dy = rows<float>(a.dy);
  constexpr std::size_t kShared = sizeof(f32::BwdShared<kD>);
  delta<float, kD>(s, a, scalars, n);
  launch("attention_dkdv_f32_kernel", s, f32::attention_dkdv_f32_kernel<kD>, grid_of(n.keys, f32::kTile, a.q.shape),
         f32::kThreads, kShared, q, k, v, dy, scalars, rows<float>(a.dk), rows<float>(a.dv), scale, n);
  launch("attention_dq_f32_kernel", s, f32::attention_dq_f32_kernel<kD>, grid_of(n.queries, f32::kTile, a.q.shape),
         f32::kThreads, kShared, q, k, v, dy, scalars, rows<float>(a.dq), scale, n);
}

template <int kD>
void bwd_bf16(const Stream& s, const AttentionBwd& a, float scale, Lengths n) {
  const QueryScalars scalars = query_scalars(a.scratch);
  const auto q = rows<bf16>(a.q), k = rows<bf16>(a.k), v = rows<bf16>(a.v), dy = rows<bf16>(a.dy);
  delta<bf16, kD>(s, a, scalars, n);
  launch("attention_dkdv_sm80_kernel", s, sm80::attention_dkdv_sm80_kernel<kD>, grid_of(n.keys, sm80::kTile, a.q.shape),
         sm80::kThreads, sizeof(sm80::DkDvShared<kD>), q, k, v, dy, scalars, rows<bf16>(a.dk), rows<bf16>(a.dv), scale, n);
  launch("attention_dq_sm80_kernel", s, sm80::attention_dq_sm80_kernel<kD>, grid_of(n.queries, sm80::kTile, a.q.shape),
         sm80::kThreads, sizeof(sm80::DqShared<kD>), q, k, v, dy, scalars, rows<bf16>(a.dq), scale, n);
}

}  // namespace

void attention_fwd(const Stream& s, const AttentionFwd& a) {
  if (a.q.numel() == 0) return;
  const Lengths n{int(a.q.shape[2]), int(a.q.shape[1]), int(a.k.shape[1])};
  const float scale = scale_of(a.scale, a.q.shape[3]);
  dispatch_gpu("attention_fwd", a.q.dtype, [&](auto t) {
    dispatch_head_size(a.q.shape[3], [&](auto d) {
      if constexpr (std::is_same_v<decltype(t), float>) fwd_f32<d()>(s, a, scale, n);
      else fwd_bf16<d()>(s, a, scale, n);
    });
  });
}

void attention_bwd(const Stream& s, const AttentionBwd& a) {
  if (a.q.numel() == 0) return;
  const Lengths n{int(a.q.shape[2]), int(a.q.shape[1]), int(a.k.shape[1])};
  const float scale = scale_of(a.scale, a.q.shape[3]);
  dispatch_gpu("attention_bwd", a.q.dtype, [&](auto t) {
    dispatch_head_size(a.q.shape[3], [&](auto d) {
      if constexpr (std::is_same_v<decltype(t), float>) bwd_f32<d()>(s, a, scale, n);
      else bwd_bf16<d()>(s, a, scale, n);
    });
  });
}

}  // namespace mfl::cuda
