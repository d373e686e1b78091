#include "train/ema_weights.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/optim/ema.h"
#include "models/mvdiffusion/schedulers.h"
#include "models/weights/coverage.h"
#include "runtime/log.h"
#include "train/host_memory.h"

namespace mfl {

EmaWeights::EmaWeights(const Stream& s, Arena& arena, ParamStore& store, double limit, bool on_host, std::shared_ptr<const Sharding> sharding)
    : store_(store), sharding_(sharding ? std::move(sharding) : std::make_shared<Sharding>(arena, store)), limit_(limit) {
  const Purpose purpose{"moving average of parameters"};
  const Shape flat{sharding_->held()};
  const DType accum = store.precision().accum;
  shadow_ = on_host ? on_host_for(arena.device(), flat, accum, purpose) : arena.empty(flat, accum, purpose);
  restart(s);
}

void EmaWeights::restart(const Stream& s) {
  for (const Sharding::Part& p : sharding_->parts()) copy(s, store_.values().rows(p.first, p.count), shadow_.rows(p.local, p.count));
  updates_ = 0;
}

void EmaWeights::update(const Stream& s) {
  ++updates_;
  const double decay = mvdiffusion::ema_decay(updates_, limit_);
  for (const Sharding::Part& p : sharding_->parts())
    ema(s, {.shadow = shadow_.rows(p.local, p.count), .value = store_.values().rows(p.first, p.count), .decay = decay});
}

std::string EmaWeights::config_fields() const {
  return nlohmann::json{{"decay", limit_},          {"inv_gamma", 1.0},           {"min_decay", 0.0}, {"optimization_step", updates_},
                        {"power", 2.0 / 3.0},       {"update_after_step", 0},     {"use_ema_warmup", false}}
      .dump();
}

void EmaWeights::exchange(const Stream& s, Arena& scratch) {
  constexpr std::int64_t kPiece = std::int64_t{16} << 20;
  const Tensor piece = scratch.empty({std::min(kPiece, sharding_->held())}, shadow_.dtype(), {"exchange of parameters"});
  for (const Sharding::Part& p : sharding_->parts())
    for (std::int64_t at = 0; at < p.count; at += kPiece) {
      const std::int64_t count = std::min(kPiece, p.count - at);
      const Tensor live = store_.values().rows(p.first + at, count), average = shadow_.rows(p.local + at, count), held = piece.rows(0, count);
      copy(s, live, held);
      copy(s, average, live);
      copy(s, held, average);
    }
  sharding_->gather(s, store_.values());
  weights::refresh_compute(s, store_);
}

EmaWeights::Shown::Shown(const Stream& s, Arena& scratch, EmaWeights& ema) : stream_(s), scratch_(scratch), ema_(ema) {
  ema_.exchange(stream_, scratch_);
}
EmaWeights::Shown::~Shown() {
  try {
    ema_.exchange(stream_, scratch_);
  } catch (const CommError& e) {   // no further collective is possible, so nobody goes on with what is in the store
    log_error("the weights behind the moving average were not brought together again: ", e.what());
  }
}

}  // namespace mfl
