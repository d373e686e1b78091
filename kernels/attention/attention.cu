// Attention, forward and backward: which kernels run, and their launches.
//   Map        bf16, Hopper, D = 64: fwd_sm90.cuh, bwd_sm90.cuh (wgmma, bulk copies, a copying warpgroup beside the
//              computing ones). bf16, everything else: fwd_sm80.cuh, bwd_sm80.cuh (mma.m16n8k16, cp.async). f32:
//              f32.cuh (FMA units). A block owns 32 to 192 rows of one head and passes over the other side's rows in
//              tiles; y, dq, dk, dv, P and dS live in registers. Backward recomputes P from lse in two kernels, one
//              that owns keys (dk, dv) and one that owns queries (dq); before them one warp a query computes delta.
//   FLOPs      4 B A Tq Tk D forward, 10 B A Tq Tk D backward (14 are computed: the logits and dP twice).
//   Bytes      at T = 24578, A = 16: 50 MB an operand, once from memory and then from L2; far below what bounds.
//   Bound by   tensor cores and, forward, as much by exponentials: at D = 64 one exponential costs the special function
//              unit what its 256 FLOPs cost the tensor cores (1/16 clock each), so either must run under the other.
//   Measured   [1, 24578, 16, 64], one H100 SXM (700 W, driver 580.159.04, CUDA 13.0, 2026-11-22):
//                the op, packed, L2 flushed, 40 in a row (slower after the first few; likely the power limit):
//                          forward 4.60 ms, 538 TFLOP/s (p10 4.23); backward 14.2 ms, 437 TFLOP/s
//                each kernel by itself, median of 12:
//                Hopper    forward 4.23 ms, 585 TFLOP/s; backward 13.0 ms, 475 (dk-dv 7.62, dq 5.32, delta 0.07)
//                portable  forward 9.36 ms, 264 TFLOP/s; backward 27.5 ms, 225 TFLOP/s
//                PyTorch 2.11, median of 8: cuDNN 9.19 5.84 and 14.6 ms; its flash attention 7.86 and 23.3 ms
//              tests/bench/results/h100-sxm/attention.jsonl. All below are of the second kind.
//   Rejected   Hopper forward: two stages 4.54 ms, five 4.24 ms; rescaling y only where a maximum moved 4.26 ms;
//              warpgroups that take turns in issuing products 4.53 ms; one or two of eight exponentials as polynomials
//              on the FMA units 4.74, 5.05 ms (issue slots run short before the special function unit does); two
//              warpgroups 5.18 ms with tiles of 128 keys, 5.78 ms with 192; q in registers does not fit. dk-dv: two
//              stages 8.02 ms, four 8.21 ms; P for dS read back from its rounded copy 7.70 ms (no spill, but more
//              instructions); tiles of 64 queries 9.27 ms, with k and v in registers 8.31 ms, with three warpgroups
//              8.79 ms; the next logits issued under dS 8.23 ms (tiles of 64; those of 128 do not fit).
//              dq: two warpgroups, tiles of 128 keys 5.93 ms, with q and dy in registers 5.73 ms; three warpgroups and
//              tiles of 64 without the registers 5.56 ms; two or five stages 5.51, 5.41 ms; the next logits issued
//              under dS 5.35 ms without the registers, 6.17 ms with them. A product in flight across the loop's back
//              edge, or a branch between products: the compiler serialises them all (C7515, C7520); hence the first
//              step outside the loop is the one that masks.
//   Untried    one backward kernel whose dq is added up in order: five products instead of seven, but 19.5 GB of
//              ordered f32 sums through L2 and a chain of waits between blocks.
//   Numerics   bf16 operands, f32 sums, P and dS rounded to bf16, ex2.approx (2^-22), log2(e) folded into the scale.
//   Deterministic: yes; every sum has one owner and a fixed order, no atomics.
#include <cmath>
#include <type_traits>

#include "kernels/attention/bwd_sm80.cuh"
#include "kernels/attention/bwd_sm90.cuh"
#include "kernels/attention/f32.cuh"
#include "kernels/attention/fwd_sm80.cuh"
#include "kernels/attention/fwd_sm90.cuh"
#include "runtime/log.h"

namespace mfl::cuda {
namespace {

template <class F>
void dispatch_head_size(std::int64_t d, F&& f) {  // checked by the caller: 32, 64 or 128
  if (d == 32)
    f(std::integral_constant<int, 32>{});
  else if (d == 64)
    f(std::integral_constant<int, 64>{});
  else
    f(std::integral_constant<int, 128>{});
}

float scale_of(float scale, std::int64_t d) { return scale != 0 ? scale : 1 / std::sqrt(float(d)); }

dim3 grid_of(std::int64_t length, int tile, const Shape& q) {
  return {unsigned(ceil_div(length, tile)), unsigned(q[2]), unsigned(q[0])};
}

template <class Kernel, class... Args>
void launch(const char* name, const Stream& s, Kernel kernel, dim3 grid, int threads, std::size_t shared,
            Args... args) {
  allow_shared(kernel, shared);
  kernel<<<grid, unsigned(threads), shared, native(s)>>>(args...);
  check_launch(name, s);
}

template <int kD>
void fwd_f32(const Stream& s, const AttentionFwd& a, float scale, Lengths n) {
  launch("attention_fwd_f32_kernel", s, f32::attention_fwd_f32_kernel<kD>, grid_of(n.queries, f32::kTile, a.q.shape),
         f32::kThreads, sizeof(f32::FwdShared<kD>), rows<float>(a.q), rows<float>(a.k), rows<float>(a.v),
         rows<float>(a.y), pointer<float>(a.lse), scale, n);
}

template <int kD>
void fwd_portable(const Stream& s, const AttentionFwd& a, float scale, Lengths n) {
  launch("attention_fwd_sm80_kernel", s, sm80::attention_fwd_sm80_kernel<kD>,
         grid_of(n.queries, sm80::kTile, a.q.shape), sm80::kThreads, sizeof(sm80::FwdShared<kD>), rows<bf16>(a.q),
         rows<bf16>(a.k), rows<bf16>(a.v), rows<bf16>(a.y), pointer<float>(a.lse), scale, n);
}

// Whether Hopper's kernels run: on a GPU of compute capability 9.0, in a build for sm_90a. A process has one kind of
// GPU.
bool hopper() {
  static const bool runs = [] {
    int device = 0, major = 0;
    MFL_CUDA(cudaGetDevice(&device));
    MFL_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    if (major != 9) return false;
    cudaFuncAttributes attributes{};
    MFL_CUDA(cudaFuncGetAttributes(&attributes, sm90::attention_fwd_sm90_kernel<sm90::Forward>));
    const bool built = attributes.maxThreadsPerBlock >= sm90::Forward::tiles.threads();
    if (!built)
      log_warning(
          "attention: this is a Hopper GPU, but the build has no code for sm_90a; the portable kernels take "
          "twice the time. Configure with -DCMAKE_CUDA_ARCHITECTURES=90a-real, or with the preset release.");
    return built;
  }();
  return runs;
}

template <int kD>
void fwd_bf16(const Stream& s, const AttentionFwd& a, float scale, Lengths n) {
  if constexpr (kD == sm90::kD)
    if (hopper()) {
      sm90::fwd<sm90::Forward>(native(s), a, scale, n);
      return check_launch("attention_fwd_sm90_kernel", s);
    }
  fwd_portable<kD>(s, a, scale, n);
}

template <class T, int kD>
void delta(const Stream& s, const AttentionBwd& a, QueryScalars scalars, Lengths n) {
  launch("attention_delta_kernel", s, attention_delta_kernel<device_t<T>, kD>, grid_of(padded(n.queries), 4, a.q.shape),
         128, 0, rows<T>(a.y), rows<T>(a.dy), pointer<float>(a.lse), scalars, n);
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
void bwd_portable(const Stream& s, const AttentionBwd& a, float scale, Lengths n) {
  const QueryScalars scalars = query_scalars(a.scratch);
  const auto q = rows<bf16>(a.q), k = rows<bf16>(a.k), v = rows<bf16>(a.v), dy = rows<bf16>(a.dy);
  launch("attention_dkdv_sm80_kernel", s, sm80::attention_dkdv_sm80_kernel<kD>, grid_of(n.keys, sm80::kTile, a.q.shape),
         sm80::kThreads, sizeof(sm80::DkDvShared<kD>), q, k, v, dy, scalars, rows<bf16>(a.dk), rows<bf16>(a.dv), scale,
         n);
  launch("attention_dq_sm80_kernel", s, sm80::attention_dq_sm80_kernel<kD>, grid_of(n.queries, sm80::kTile, a.q.shape),
         sm80::kThreads, sizeof(sm80::DqShared<kD>), q, k, v, dy, scalars, rows<bf16>(a.dq), scale, n);
}

template <int kD>
void bwd_bf16(const Stream& s, const AttentionBwd& a, float scale, Lengths n) {
  delta<bf16, kD>(s, a, query_scalars(a.scratch), n);
  if constexpr (kD == sm90::kD)
    if (hopper()) {
      sm90::dkdv<sm90::DkDv>(native(s), a, scale, n);
      check_launch("attention_dkdv_sm90_kernel", s);
      sm90::dq<sm90::Dq>(native(s), a, scale, n);
      return check_launch("attention_dq_sm90_kernel", s);
    }
  bwd_portable<kD>(s, a, scale, n);
}

}  // namespace

void attention_fwd(const Stream& s, const AttentionFwd& a) {
  const Lengths n{int(a.q.shape[2]), int(a.q.shape[1]), int(a.k.shape[1])};
  const float scale = scale_of(a.scale, a.q.shape[3]);
  dispatch_gpu("attention_fwd", a.q.dtype, [&](auto t) {
    dispatch_head_size(a.q.shape[3], [&](auto d) {
      if constexpr (std::is_same_v<decltype(t), float>)
        fwd_f32<d()>(s, a, scale, n);
      else
        fwd_bf16<d()>(s, a, scale, n);
    });
  });
}

void attention_bwd(const Stream& s, const AttentionBwd& a) {
  const Lengths n{int(a.q.shape[2]), int(a.q.shape[1]), int(a.k.shape[1])};
  const float scale = scale_of(a.scale, a.q.shape[3]);
  dispatch_gpu("attention_bwd", a.q.dtype, [&](auto t) {
    dispatch_head_size(a.q.shape[3], [&](auto d) {
      if constexpr (std::is_same_v<decltype(t), float>)
        bwd_f32<d()>(s, a, scale, n);
      else
        bwd_bf16<d()>(s, a, scale, n);
    });
  });
}

}  // namespace mfl::cuda
