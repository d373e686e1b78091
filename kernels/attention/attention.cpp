#include "kernels/attention/attention.h"

#include <cstdint>

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

// [B, T, A, D] with any strides but the innermost; on CUDA in bf16 rows are read in 16-byte pieces.
void check_rows(const Stream& s, const char* op, const char* name, const ConstView& v, const Shape& shape,
                DType dtype) {
  check_shape(op, name, v, shape);
  check_dtype(op, name, v, dtype);
  MFL_CHECK(v.device == s.device(), op, ": ", name, " is on ", v.device, ", the stream on ", s.device());
  MFL_CHECK(v.stride[3] == 1, op, ": the values of one head of ", name, " must be contiguous, their stride is ",
            v.stride[3]);
  if (s.device().is_cuda() && dtype == DType::bf16)
    MFL_CHECK(reinterpret_cast<std::uintptr_t>(v.data) % 16 == 0 && v.stride[0] % 8 == 0 && v.stride[1] % 8 == 0 &&
                  v.stride[2] % 8 == 0,
              op, ": rows of ", name, " must be 16-byte aligned on CUDA; strides are ", v.stride, " elements");
}

void check_head_size(const char* op, const ConstView& q, const ConstView& k) {
  MFL_CHECK(q && q.shape.rank() == 4 && k && k.shape.rank() == 4, op, ": q and k must be [B, T, A, D]");
  MFL_CHECK(q.shape[3] == 32 || q.shape[3] == 64 || q.shape[3] == 128, op, ": head size ", q.shape[3],
            ", expected 32, 64 or 128");
  MFL_CHECK(q.numel() > 0 && k.shape[1] > 0, op, ": q ", q.shape, " and k ", k.shape, " must not be empty");
}

}  // namespace

void attention_fwd(const Stream& s, const AttentionFwd& a) {
  check_head_size("attention_fwd", a.q, a.k);
  const Shape queries = a.q.shape, keys{queries[0], a.k.shape[1], queries[2], queries[3]};
  const DType t = a.q.dtype;
  check_rows(s, "attention_fwd", "q", a.q, queries, t);
  check_rows(s, "attention_fwd", "k", a.k, keys, t);
  check_rows(s, "attention_fwd", "v", a.v, keys, t);
  check_rows(s, "attention_fwd", "y", a.y, queries, t);
  if (a.lse) check(s, "attention_fwd", "lse", a.lse, {queries[0], queries[2], queries[1]}, accum_of(t));
  MFL_DISPATCH(s, attention_fwd, a);
}

void attention_bwd(const Stream& s, const AttentionBwd& a) {
  check_head_size("attention_bwd", a.q, a.k);
  const Shape queries = a.q.shape, keys{queries[0], a.k.shape[1], queries[2], queries[3]};
  const DType t = a.q.dtype;
  check_rows(s, "attention_bwd", "q", a.q, queries, t);
  check_rows(s, "attention_bwd", "k", a.k, keys, t);
  check_rows(s, "attention_bwd", "v", a.v, keys, t);
  check_rows(s, "attention_bwd", "y", a.y, queries, t);
  check_rows(s, "attention_bwd", "dy", a.dy, queries, t);
  check_rows(s, "attention_bwd", "dq", a.dq, queries, t);
  check_rows(s, "attention_bwd", "dk", a.dk, keys, t);
  check_rows(s, "attention_bwd", "dv", a.dv, keys, t);
  check(s, "attention_bwd", "lse", a.lse, {queries[0], queries[2], queries[1]}, accum_of(t));
  if (s.device().is_cuda()) {
    check(s, "attention_bwd", "scratch", a.scratch, {attention_bwd_scratch(queries[0], queries[2], queries[1])},
          DType::f32);
    MFL_CHECK(reinterpret_cast<std::uintptr_t>(a.scratch.data) % 16 == 0,
              "attention_bwd: scratch must be 16-byte aligned");
  }
  MFL_DISPATCH(s, attention_bwd, a);
}

// Two numbers a query, rows padded to whole tiles of 128 queries.
std::int64_t attention_bwd_scratch(std::int64_t batch, std::int64_t heads, std::int64_t queries) {
  return 2 * batch * heads * ((queries + 127) / 128 * 128);
}

}  // namespace mfl
