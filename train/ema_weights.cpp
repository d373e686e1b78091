#include "train/ema_weights.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/optim/ema.h"
#include "models/mvdiffusion/schedulers.h"
#include "models/weights/coverage.h"
#include "train/host_memory.h"

namespace mfl {

EmaWeights::EmaWeights(const Stream& s, Arena& arena, ParamStore& store, double limit, bool on_host)
    : store_(store), limit_(limit) {
  const Purpose purpose{"moving average of parameters"};
  const Shape flat{store.flat_numel()};
  const DType accum = store.precision().accum;
  shadow_ = on_host ? on_host_for(arena.device(), flat, accum, purpose) : arena.empty(flat, accum, purpose);
  copy(s, store.values(), shadow_);
}

void EmaWeights::update(const Stream& s) {
  ++updates_;
  ema(s, {.shadow = shadow_, .value = store_.values(), .decay = mvdiffusion::ema_decay(updates_, limit_)});
}

std::string EmaWeights::config_fields() const {
  return nlohmann::json{{"decay", limit_},          {"inv_gamma", 1.0},           {"min_decay", 0.0}, {"optimization_step", updates_},
                        {"power", 2.0 / 3.0},       {"update_after_step", 0},     {"use_ema_warmup", false}}
      .dump();
}

void EmaWeights::exchange(const Stream& s, Arena& scratch) {
  constexpr std::int64_t kPiece = std::int64_t{16} << 20;
  const std::int64_t n = store_.flat_numel();
  const Tensor piece = scratch.empty({std::min(kPiece, n)}, shadow_.dtype(), {"exchange of parameters"});
  for (std::int64_t first = 0; first < n; first += kPiece) {
    const std::int64_t count = std::min(kPiece, n - first);
    const Tensor live = store_.values().rows(first, count), average = shadow_.rows(first, count), held = piece.rows(0, count);
    copy(s, live, held);
    copy(s, average, live);
    copy(s, held, average);
  }
  weights::refresh_compute(s, store_);
}

EmaWeights::Shown::Shown(const Stream& s, Arena& scratch, EmaWeights& ema) : stream_(s), scratch_(scratch), ema_(ema) {
  ema_.exchange(stream_, scratch_);
}
EmaWeights::Shown::~Shown() { ema_.exchange(stream_, scratch_); }

}  // namespace mfl
