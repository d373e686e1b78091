// y = softmax(scale * q k^T) v, per batch element and head; every query sees every key.      Vaswani et al. 2017, eq. 1
//
//   B batch, A heads, D head size (32, 64 or 128), Tq queries, Tk keys; any lengths, cross attention included.
//   q, k, v, y and their gradients are [B, T, A, D] with strides of their own (innermost 1), so that they may be slices
//   of one packed [B, T, 3, A, D] tensor: see packed_part. One dtype: f64 (CPU), f32, bf16.
//   On CUDA in bf16 every row of D values must be 16-byte aligned: strides a multiple of 8 elements.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct AttentionFwd {
  ConstView q;             // [B, Tq, A, D]
  ConstView k, v;          // [B, Tk, A, D]
  float scale = 0;         // of the logits; 0 stands for 1 / sqrt(D)
  View y;                  // [B, Tq, A, D]  out
  View lse = {};           // [B, A, Tq]     out, accum type: log sum_k exp(scale q.k), natural; kept for backward;
                           //                not given: not kept
};
void attention_fwd(const Stream&, const AttentionFwd&);

// With P = exp(scale q k^T - lse), dP = dy v^T, delta = rowsum(dy * y), dS = P * (dP - delta):
//   dv = P^T dy,  dq = scale dS k,  dk = scale dS^T q.                                            Dao 2023, section 3.2
// Gradients are overwritten, never accumulated: q, k, v are the outputs of a projection and have no other reader. They
// are not aliases of any input.
struct AttentionBwd {
  ConstView q;             // [B, Tq, A, D]
  ConstView k, v;          // [B, Tk, A, D]
  ConstView y, dy;         // [B, Tq, A, D]
  ConstView lse;           // [B, A, Tq]     accum type, as forward wrote it
  float scale = 0;         // as in forward
  View dq;                 // [B, Tq, A, D]  out
  View dk, dv;             // [B, Tk, A, D]  out
  View scratch = {};       // [attention_bwd_scratch(B, A, Tq)] f32, CUDA only: delta and lse in base 2, in padded rows
};
void attention_bwd(const Stream&, const AttentionBwd&);
std::int64_t attention_bwd_scratch(std::int64_t batch, std::int64_t heads, std::int64_t queries);

// Part 0 (q), 1 (k) or 2 (v) of a packed [B, T, 3, A, D], as [B, T, A, D].
template <class V>
V packed_part(V packed, int part) {
  MFL_CHECK(packed.shape.rank() == 5 && packed.shape[2] == 3 && part >= 0 && part < 3,
            "packed_part: part ", part, " of ", packed.shape, ", expected a part below 3 of [B, T, 3, A, D]");
  V p = slice(packed, 2, part, 1);
  p.shape = {packed.shape[0], packed.shape[1], packed.shape[3], packed.shape[4]};
  p.stride = {packed.stride[0], packed.stride[1], packed.stride[3], packed.stride[4]};
  return p;
}

namespace cpu {
void attention_fwd(const AttentionFwd&);
void attention_bwd(const AttentionBwd&);
}  // namespace cpu
namespace cuda {
void attention_fwd(const Stream&, const AttentionFwd&);
void attention_bwd(const Stream&, const AttentionBwd&);
}  // namespace cuda

}  // namespace mfl
