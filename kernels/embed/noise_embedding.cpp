#include "kernels/embed/noise_embedding.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void noise_embedding(const Stream& s, const NoiseEmbedding& a) {
  const char* op = "noise_embedding";
  MFL_CHECK(a.embedding && a.embedding.shape.rank() == 2, op, ": embedding ", a.embedding.shape, ", expected [B, C]");
  MFL_CHECK(a.y && a.y.shape.rank() == 2, op, ": y ", a.y.shape, ", expected [N, 2 C]");
  const std::int64_t b = a.embedding.shape[0], c = a.embedding.shape[1], n = a.y.shape[0];
  MFL_CHECK(c % 2 == 0, op, ": embeddings of ", c, " values, expected an even number");
  MFL_CHECK(b > 0 && n % b == 0, op, ": ", b, " embeddings for ", n, " samples, expected a divisor");
  const DType accum = accum_of(a.y.dtype);
  check(s, op, "embedding", a.embedding, {b, c}, a.embedding.dtype);
  check(s, op, "mean", a.mean, {c}, accum);
  check(s, op, "std", a.std, {c}, accum);
  check(s, op, "noise", a.noise, {n, c}, accum);
  if (a.keep) check(s, op, "keep", a.keep, {n}, accum);
  check(s, op, "y", a.y, {n, 2 * c}, a.y.dtype);
  MFL_CHECK(a.alpha_bar >= 0 && a.alpha_bar <= 1, op, ": alpha_bar ", a.alpha_bar, ", expected 0 to 1");
  MFL_DISPATCH(s, noise_embedding, a);
}

}  // namespace mfl
