#include "train/optimizer.h"

#include <algorithm>

#include "models/weights/coverage.h"
#include "runtime/backend.h"
#include "train/host_memory.h"

namespace mfl {

ParamGroups ParamGroups::matrices_decay(double weight_decay) {
  return {{{.weight_decay = weight_decay}, {}}, [](const Param& p) { return std::size_t(p.decay() ? 0 : 1); }};
}

ParamGroups ParamGroups::embeddings_apart(double weight_decay, double learning_rate_factor) {
  const AdamWGroup apart{.learning_rate_factor = learning_rate_factor, .weight_decay = weight_decay};
  return {{{.weight_decay = weight_decay}, apart, apart}, [](const Param& p) {
            auto has = [&](const char* part) { return p.name.find(part) != std::string::npos; };
            return std::size_t(has("class_embedding") || has("camera_embedding") ? 1 : has("attn_mv") || has("norm_mv") ? 2 : 0);
          }};
}

struct Optimizer::Pinned {
  StepScalars* scalars;
  Event copied;
  explicit Pinned(Device d) : scalars(static_cast<StepScalars*>(backend::allocate_pinned(sizeof(StepScalars)))), copied(d) {
    *scalars = {};
  }
  ~Pinned() { backend::deallocate_pinned(scalars); }
};

Optimizer::Optimizer(const Stream& stream, Arena& arena, ParamStore& store, OptimizerConfig config, std::shared_ptr<const Sharding> sharding)
    : store_(store), config_(std::move(config)), sharding_(sharding ? std::move(sharding) : std::make_shared<Sharding>(arena, store)) {
  MFL_CHECK(config_.groups.of && config_.groups.groups.size() <= kAdamWGroups, "an optimizer has at most ", kAdamWGroups,
            " groups, and a rule that says which parameter is of which");
  std::vector<ParamSegment> segments;
  for (const Param& p : store.all()) {
    if (!p.trainable) continue;
    segments_.push_back(&p);
    const std::size_t group = config_.groups.of(p);
    MFL_CHECK(group < config_.groups.groups.size(), p.name, " is of optimizer group ", group, " of ", config_.groups.groups.size());
    segments.push_back({p.first, p.numel(), static_cast<std::int64_t>(group)});
  }
  if (segments.empty()) throw_error<ConfigError>("every parameter is frozen; training.freeze_layers leaves nothing to train");
  const DType accum = store.precision().accum;
  const Purpose moments{"optimizer moments"};
  for (Tensor* m : {&exp_avg_, &exp_avg_sq_})
    *m = config_.moments_on_host ? on_host_for(arena.device(), {sharding_->held()}, accum, moments)
                                 : arena.empty({sharding_->held()}, accum, moments);
  fill_zero(stream, exp_avg_);
  fill_zero(stream, exp_avg_sq_);
  auto upload = [&](const std::vector<std::int64_t>& table) {
    const auto chunks = static_cast<std::int64_t>(table.size() / 4);
    Tensor t = arena.empty({chunks, 4}, DType::i64, {"optimizer table"});
    if (!stream.device().is_meta() && chunks > 0) copy(stream, make_view(static_cast<const void*>(table.data()), {chunks, 4}, DType::i64), t);
    stream.synchronize();
    return t;
  };
  chunks_ = upload(chunk_table(segments));
  partial_ = arena.empty({chunks_.shape()[0]}, DType::f64, {"optimizer table"});
  scalars_ = arena.empty(kStepScalarsShape, DType::u8, {"optimizer scalars"});
  for (const Sharding::Part& part : sharding_->parts()) {
    std::vector<ParamSegment> inside;
    for (const ParamSegment& g : segments) {
      const std::int64_t from = std::max(g.first, part.first), to = std::min(g.first + g.count, part.first + part.count);
      if (from < to) inside.push_back({from - part.first, to - from, g.group});
    }
    if (!inside.empty()) held_.push_back({part, sharding_->divided() ? upload(chunk_table(inside)) : chunks_});
  }
  if (!stream.device().is_meta()) host_ = std::make_shared<Pinned>(stream.device());
  set_updates(stream, 0);
}

void Optimizer::step(const Stream& s, double learning_rate, int micro_batches, ConstView loss) {
  set_learning_rate(s, {.scalars = scalars_, .learning_rate = learning_rate});
  grad_norm(s, {.grad = store_.grads(), .chunks = chunks_, .partial = partial_, .scalars = scalars_});
  decide_update(s, {.scalars = scalars_, .loss = loss, .factor = 1.0 / micro_batches, .max_norm = config_.max_norm,
                    .allowed_factor = config_.allowed_factor, .beta1 = config_.beta1, .beta2 = config_.beta2});
  // Divided: the compute copies of all ranks' elements are made once these are here.
  const bool copy_needed = !sharding_->divided() && store_.precision().compute != store_.precision().accum;
  for (const auto& [part, chunks] : held_) {
    auto of = [&](const Tensor& flat) { return flat.rows(part.first, part.count); };
    auto held = [&](const Tensor& moments) { return moments.rows(part.local, part.count); };
    AdamW update{.value = of(store_.values()), .grad = of(store_.grads()), .exp_avg = held(exp_avg_), .exp_avg_sq = held(exp_avg_sq_),
              .compute = copy_needed ? View(of(store_.computes())) : View{}, .chunks = chunks, .scalars = scalars_,
              .beta1 = config_.beta1, .beta2 = config_.beta2, .eps = config_.eps};
    std::copy(config_.groups.groups.begin(), config_.groups.groups.end(), update.groups.begin());
    adamw(s, update);
  }
  if (!sharding_->divided()) return;
  sharding_->gather(s, store_.values());
  weights::refresh_compute(s, store_);
}

void Optimizer::request(const Stream& s) {
  if (s.device().is_meta()) return;
  copy(s, scalars_, make_view(host_->scalars, kStepScalarsShape, DType::u8));
  s.record(host_->copied);
  pending_ = true;
}

StepScalars Optimizer::take() {
  MFL_CHECK(pending_, "the optimizer's scalars were not requested");
  host_->copied.synchronize();
  pending_ = false;
  return *host_->scalars;
}

void Optimizer::reset(const Stream& s) {
  fill_zero(s, exp_avg_);
  fill_zero(s, exp_avg_sq_);
  set_updates(s, 0);
}

void Optimizer::set_updates(const Stream& s, std::int64_t updates) {
  init_scalars(s, {.scalars = scalars_, .updates = updates});
}

const std::string& Optimizer::segment_name(std::int64_t segment) const {
  return segments_.at(static_cast<std::size_t>(segment))->name;
}

std::vector<std::vector<const Param*>> Optimizer::grouped() const {
  std::vector<std::vector<const Param*>> all(config_.groups.groups.size());
  for (const Param* p : segments_) all[config_.groups.of(*p)].push_back(p);
  return all;
}

}  // namespace mfl
