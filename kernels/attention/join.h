// Attention over two disjoint sets of keys from the attention over each:
//   lse = log(exp(lse_a) + exp(lse_b)),  y = exp(lse_a - lse) y_a + exp(lse_b - lse) y_b.      Dao et al. 2023, flash decoding
//
//   This is how the views of an object attend to the first view's tokens beside their own without a copy of the keys: set a
//   is a view's own tokens, set b the first view's. The first view itself has no set b here: its own tokens twice give what
//   they give once. With the joined lse and y, attention_bwd on either part yields that part's share of every gradient,
//   so the join has no backward of its own (models/mvdiffusion/view_attention.h puts it together).
//
//   O objects, V views, T tokens a view, A heads, D head size. One dtype, f64 | f32 | bf16; lse f32 (f64 for f64).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct AttentionJoin {
  ConstView y_a;         // [O, V, T, A, D]
  ConstView lse_a;       // [O, V, A, T]       accum type
  ConstView y_b;         // [O, (V-1) T, A, D]
  ConstView lse_b;       // [O, A, (V-1) T]
  View y;                // [O, V, T, A, D]    out; may be y_a
  View joined_a;         // [O, V, A, T]       out: the joined lse in the layout of a; may be lse_a
  View joined_b;         // [O, A, (V-1) T]    out: the same in the layout of b; may be lse_b
};
void attention_join(const Stream&, const AttentionJoin&);

namespace cpu {
void attention_join(const AttentionJoin&);
}
namespace cuda {
void attention_join(const Stream&, const AttentionJoin&);
}

}  // namespace mfl
