// Join of two attentions.
//   Map        one warp a row of D values: a view's token in one head; lanes take every 32nd value.
//   Bytes      2n + 2n + 2n (bf16, n values of y), lse beside them is 1/D of that.    Bound by   memory.
//   Numerics   f32.    Deterministic: yes.
#include "kernels/attention/join.h"
#include "kernels/common/launch.cuh"

namespace mfl::cuda {
namespace {

constexpr int kWarps = 8;

// y may be y_a and the joined lse may be the lse of the same layout: a warp reads its row before it writes it, and nobody
// else reads it.
template <class T>
__global__ void __launch_bounds__(kWarps * 32)
    attention_join_kernel(const T* gYa, const float* gLseA, const T* __restrict__ gYb, const float* gLseB, T* gY,
                          float* gJoinedA, float* gJoinedB, std::int64_t rows, int views, int tokens, int heads, int size) {
  const std::int64_t row = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;  // of [O, V, T, A]
  const int lane = threadIdx.x % 32;
  if (row >= rows) return;
  const int h = int(row % heads);
  const std::int64_t token = row / heads;  // of [O, V, T]
  const int t = int(token % tokens), v = int(token / tokens % views);
  const std::int64_t o = token / tokens / views;
  const std::int64_t in_a = ((o * views + v) * heads + h) * tokens + t;
  const float lse_a = gLseA[in_a];
  const T* from_a = gYa + row * size;
  T* y = gY + row * size;
  if (v == 0) {
    if (gYa != gY)
      for (int d = lane; d < size; d += 32) y[d] = from_a[d];
    if (lane == 0) gJoinedA[in_a] = lse_a;
    return;
  }
  const std::int64_t others = std::int64_t(views - 1) * tokens, other = std::int64_t(v - 1) * tokens + t;
  const std::int64_t in_b = (o * heads + h) * others + other;
  const float lse_b = gLseB[in_b], top = fmaxf(lse_a, lse_b);
  const float lse = top + logf(expf(lse_a - top) + expf(lse_b - top));
  const float share_a = expf(lse_a - lse), share_b = expf(lse_b - lse);
  const T* from_b = gYb + ((o * others + other) * heads + h) * size;
  for (int d = lane; d < size; d += 32) y[d] = from_float<T>(share_a * to_float(from_a[d]) + share_b * to_float(from_b[d]));
  __syncwarp();  // every lane has read both lse
  if (lane == 0) gJoinedA[in_a] = lse, gJoinedB[in_b] = lse;
}

}  // namespace

void attention_join(const Stream& s, const AttentionJoin& a) {
  const std::int64_t rows = a.y.shape.rows();
  if (rows == 0) return;
  dispatch_gpu("attention_join", a.y.dtype, [&](auto t) {
    using T = decltype(t);
    attention_join_kernel<<<unsigned(ceil_div(rows, std::int64_t{kWarps})), kWarps * 32, 0, native(s)>>>(
        pointer<T>(a.y_a), pointer<float>(a.lse_a), pointer<T>(a.y_b), pointer<float>(a.lse_b), pointer<T>(a.y),
        pointer<float>(a.joined_a), pointer<float>(a.joined_b), rows, int(a.y.shape[1]), int(a.y.shape[2]),
        int(a.y.shape[3]), int(a.y.shape[4]));
    check_launch("attention_join_kernel", s);
  });
}

}  // namespace mfl::cuda
