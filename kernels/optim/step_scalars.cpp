#include "kernels/optim/step_scalars.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

std::vector<std::int64_t> chunk_table(std::span<const ParamSegment> segments) {
  std::vector<std::int64_t> table;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const ParamSegment& p = segments[i];
    MFL_CHECK(p.first >= 0 && p.count >= 0, "chunk_table: segment ", i, " has ", p.count, " elements from ", p.first);
    for (std::int64_t at = 0; at < p.count; at += kChunk)
      table.insert(table.end(), {p.first + at, std::min(kChunk, p.count - at), static_cast<std::int64_t>(i), p.group});
  }
  return table;
}

void init_scalars(const Stream& s, const InitScalars& a) {
  check(s, "init_scalars", "scalars", a.scalars, kStepScalarsShape, DType::u8);
  MFL_CHECK(a.updates >= 0, "init_scalars: updates ", a.updates);
  MFL_DISPATCH(s, init_scalars, a);
}

void set_learning_rate(const Stream& s, const SetLearningRate& a) {
  check(s, "set_learning_rate", "scalars", a.scalars, kStepScalarsShape, DType::u8);
  MFL_DISPATCH(s, set_learning_rate, a);
}

}  // namespace mfl
