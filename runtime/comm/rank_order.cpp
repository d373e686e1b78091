#include "runtime/comm/rank_order.h"

#include <algorithm>

namespace mfl {
namespace {

template <class T>
struct accumulator {
  using type = std::int64_t;
};
template <>
struct accumulator<double> {
  using type = double;
};
template <>
struct accumulator<float> {
  using type = double;
};
template <>
struct accumulator<bf16> {
  using type = float;
};

// A tile of elements at a time, so that each part is read in long runs and the accumulators stay in the first cache.
constexpr std::int64_t kTile = 1024;

template <class T>
void reduce(ReduceOp op, std::span<const void* const> parts, T* out, std::int64_t count) {
  using A = typename accumulator<T>::type;
  A sum[kTile];
  for (std::int64_t at = 0; at < count; at += kTile) {
    const std::int64_t n = std::min(kTile, count - at);
    for (std::size_t r = 0; r < parts.size(); ++r) {
      const T* part = static_cast<const T*>(parts[r]) + at;
      auto each = [&](auto f) {
        for (std::int64_t i = 0; i < n; ++i) sum[i] = f(sum[i], A(part[i]));
      };
      if (r == 0)
        each([](A, A x) { return x; });
      else if (op == ReduceOp::min)
        each([](A a, A x) { return x < a || x != x ? x : a; });
      else if (op == ReduceOp::max)
        each([](A a, A x) { return x > a || x != x ? x : a; });
      else
        each([](A a, A x) { return a + x; });
    }
    const A ranks = static_cast<A>(parts.size());
    for (std::int64_t i = 0; i < n; ++i) out[at + i] = T(op == ReduceOp::avg ? sum[i] / ranks : sum[i]);
  }
}

}  // namespace

void reduce_in_rank_order(DType t, ReduceOp op, std::span<const void* const> parts, void* out, std::int64_t count) {
  switch (t) {
    case DType::f64:
      return reduce(op, parts, static_cast<double*>(out), count);
    case DType::f32:
      return reduce(op, parts, static_cast<float*>(out), count);
    case DType::bf16:
      return reduce(op, parts, static_cast<bf16*>(out), count);
    case DType::i64:
      return reduce(op, parts, static_cast<std::int64_t*>(out), count);
    case DType::i32:
      return reduce(op, parts, static_cast<std::int32_t*>(out), count);
    case DType::u8:
      return reduce(op, parts, static_cast<std::uint8_t*>(out), count);
    case DType::f16:
      break;
  }
  throw_error<CommError>("a reduction of ", t, " is not defined");
}

Share share_of(std::int64_t total, int rank, int size) {
  const std::int64_t first = total * rank / size;
  return {first, total * (rank + 1) / size - first};
}

}  // namespace mfl
