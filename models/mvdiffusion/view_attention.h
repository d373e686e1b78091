// Attention between the views of an object: q, k, v [N, T, A, D] of N = objects x views samples, views fastest.
//
//   per_view  a view's queries see its own tokens.
//   dense     they see the tokens of all views: the views' tokens lie behind each other, so this is attention over
//             [objects, views * T].
//   sparse    they see the first view's tokens and their own: two attentions, over the own tokens and over the first view's,
//             joined (kernels/attention/join.h). The first view sees its own tokens once; the published code lists them
//             twice, which gives the same softmax average.
//
// No parameters; backward gives the gradients of q, k and v.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/join.h"
#include "kernels/elementwise/move_rows.h"
#include "models/mvdiffusion/unet_spec.h"
#include "runtime/module.h"

namespace mfl::mvdiffusion {

struct ViewAttention {
  std::int64_t views;
  ViewMode mode;

  struct Saved {
    Tensor q, k, v, y;                  // [N, T, A, D] compute type
    Tensor lse, lse_first;              // [N, A, T] (dense: [objects, A, views T]); sparse: [objects, A, (views - 1) T]
  };
  struct Gradient {
    Tensor q, k, v;                     // [N, T, A, D] compute type
  };

  // [N, T, A, D], compute type.
  Tensor forward(Ctx& cx, const Tensor& q, const Tensor& k, const Tensor& v, Saved& saved) const {
    const Shape s = q.shape();
    check(s);
    const std::int64_t objects = s[0] / views;
    const Shape rows = attention_shape(s);
    Tensor y = cx.compute(s, {"attention output"});
    Tensor lse = cx.accum({rows[0], rows[2], rows[1]}, {"attention log-sum-exp"}), lse_first;
    attention_fwd(cx.stream, {.q = reshape(ConstView(q), rows), .k = reshape(ConstView(k), rows),
                              .v = reshape(ConstView(v), rows), .y = reshape(View(y), rows), .lse = lse});
    if (joins()) {
      const std::int64_t others = (views - 1) * s[1];
      Tensor y_first = cx.compute({objects, others, s[2], s[3]}, {"attention to the first view"});
      lse_first = cx.accum({objects, s[2], others}, {"attention log-sum-exp"});
      attention_fwd(cx.stream, {.q = other_views(ConstView(q)), .k = first_view(ConstView(k)), .v = first_view(ConstView(v)),
                                .y = y_first, .lse = lse_first});
      const Shape by_view{objects, views, s[1], s[2], s[3]}, lse_by_view{objects, views, s[2], s[1]};
      const View joined = reshape(View(y), by_view), lse_own = reshape(View(lse), lse_by_view);
      attention_join(cx.stream, {.y_a = joined, .lse_a = lse_own, .y_b = y_first, .lse_b = lse_first, .y = joined,
                                 .joined_a = lse_own, .joined_b = lse_first});
    }
    saved = {cx.keep(q), cx.keep(k), cx.keep(v), cx.keep(y), cx.keep(lse), cx.keep(lse_first)};
    return y;
  }

  Gradient backward(Ctx& cx, Saved saved, const Tensor& dy) const {
    const Shape s = saved.q.shape();
    const Shape rows = attention_shape(s);
    Gradient d{cx.compute(s, {"query gradient"}), cx.compute(s, {"key gradient"}), cx.compute(s, {"value gradient"})};
    {
      const Tensor scratch = scratch_for(cx, rows);
      attention_bwd(cx.stream, {.q = reshape(ConstView(saved.q), rows), .k = reshape(ConstView(saved.k), rows),
                                .v = reshape(ConstView(saved.v), rows), .y = reshape(ConstView(saved.y), rows),
                                .dy = reshape(ConstView(dy), rows), .lse = saved.lse, .dq = reshape(View(d.q), rows),
                                .dk = reshape(View(d.k), rows), .dv = reshape(View(d.v), rows), .scratch = scratch});
    }
    if (!joins()) return d;
    const ConstView q = other_views(ConstView(saved.q)), k = first_view(ConstView(saved.k)), v = first_view(ConstView(saved.v));
    Tensor dq = cx.compute(q.shape, {"query gradient"}), dk = cx.compute(k.shape, {"key gradient"}),
           dv = cx.compute(k.shape, {"value gradient"});
    {
      const Tensor scratch = scratch_for(cx, q.shape);
      attention_bwd(cx.stream, {.q = q, .k = k, .v = v, .y = other_views(ConstView(saved.y)), .dy = other_views(ConstView(dy)),
                                .lse = saved.lse_first, .dq = dq, .dk = dk, .dv = dv, .scratch = scratch});
    }
    add(cx, dq, other_views(View(d.q)));
    add(cx, dk, first_view(View(d.k)));
    add(cx, dv, first_view(View(d.v)));
    return d;
  }

 private:
  bool joins() const { return mode == ViewMode::sparse && views > 1; }
  void check(const Shape& s) const {
    MFL_CHECK(s.rank() == 4 && s[0] % views == 0, "attention between views: ", s, ", expected [N, T, A, D] with N a multiple of ",
              views, " views");
  }
  // As attention reads it: a view or, dense, an object is one batch element.
  Shape attention_shape(const Shape& s) const {
    return mode == ViewMode::dense ? Shape{s[0] / views, views * s[1], s[2], s[3]} : s;
  }
  // [objects, T, A, D] of [N, T, A, D]: the first view of every object; and [objects, (views - 1) T, A, D]: the others.
  template <class V> V first_view(V v) const { return part(v, 0, v.shape[1]); }
  template <class V> V other_views(V v) const { return part(v, v.shape[1], (views - 1) * v.shape[1]); }
  template <class V> V part(V v, std::int64_t first, std::int64_t count) const {
    const Shape s = v.shape;
    return slice(reshape(v, {s[0] / views, views * s[1], s[2], s[3]}), 1, first, count);
  }
  static Tensor scratch_for(Ctx& cx, const Shape& q) {   // f32 partial rows, on CUDA only
    if (cx.device().is_cpu()) return {};
    return cx.arena.empty({attention_bwd_scratch(q[0], q[2], q[1])}, DType::f32, {"attention backward scratch"});
  }
  // The part [objects, n, A, D] of a gradient += x.
  static void add(Ctx& cx, const Tensor& x, View to) {
    const Shape s = to.shape;
    const std::int64_t row = s[1] * s[2] * s[3], stride = to.stride[0];
    to.shape = {s[0], row};
    to.stride = {stride, 1};
    move_rows(cx.stream, {.x = reshape(ConstView(x), {s[0], row}), .y = to, .mode = GradMode::accumulate});
  }
};

}  // namespace mfl::mvdiffusion
