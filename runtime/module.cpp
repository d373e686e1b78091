#include "runtime/module.h"

namespace mfl {

ParamStore::ParamStore(Arena& arena, Precision precision, bool gradients)
    : arena_(arena), precision_(precision), gradients_(gradients) {}

Param& ParamStore::add(std::string name, Shape shape, bool product, bool channel_last) {
  MFL_CHECK(!sealed_, "parameter ", name, " was added after the store was sealed");
  MFL_CHECK(!find(name), "parameter ", name, " was added twice");
  Param& p = params_.emplace_back();
  p.name = std::move(name);
  p.shape = shape;
  p.product = product, p.channel_last = channel_last;
  MFL_CHECK(!channel_last || shape.rank() == 4, "parameter ", p.name, ' ', shape, ": only [O, I, KH, KW] can be kept channel-last");
  p.first = flat_numel_;
  p.trainable = gradients_;
  numel_ += shape.numel();
  flat_numel_ += (shape.numel() + kAlign - 1) / kAlign * kAlign;
  return p;
}

void ParamStore::seal(const Stream& stream) {
  MFL_CHECK(!sealed_, "a parameter store was sealed twice");
  sealed_ = true;
  const Shape flat{flat_numel_};
  // Where masters are missing, those that remain follow one another.
  auto padded = [](const Param& p) { return (p.numel() + kAlign - 1) / kAlign * kAlign; };
  std::int64_t masters = has_masters() ? flat_numel_ : 0;
  if (!has_masters())
    for (const Param& p : params_) masters += p.product ? 0 : padded(p);
  values_ = arena_.empty({masters}, precision_.accum, {"parameters"});
  fill_zero(stream, values_);
  if (precision_.compute == precision_.accum) {
    computes_ = values_;
  } else {
    computes_ = arena_.empty(flat, precision_.compute, {"parameters, compute copy"});
    fill_zero(stream, computes_);
  }
  if (gradients_) {
    grads_ = arena_.empty(flat, precision_.accum, {"gradients"});
    fill_zero(stream, grads_);
  }
  std::int64_t next = 0;
  for (Param& p : params_) {
    if (has_masters() || !p.product) p.value = values_.rows(has_masters() ? p.first : next, p.numel()).reshape(p.memory_shape());
    if (p.value) next += padded(p);
    p.compute = computes_.rows(p.first, p.numel()).reshape(p.memory_shape());
    if (gradients_) p.grad = grads_.rows(p.first, p.numel()).reshape(p.memory_shape());
  }
}

const Tensor& ParamStore::values() const {
  MFL_CHECK(has_masters(), "the parameters of a frozen network in ", precision_.compute, " have no values in ", precision_.accum);
  return values_;
}

Param* ParamStore::find(std::string_view name) {
  for (Param& p : params_)
    if (p.name == name) return &p;
  return nullptr;
}

ParamRange ParamStore::range(std::size_t from, std::size_t to) const {
  MFL_CHECK(from <= to && to <= params_.size(), "parameters ", from, " to ", to, " of ", params_.size());
  if (from == to) return {};
  const std::int64_t first = params_[from].first;
  const std::int64_t end = to < params_.size() ? params_[to].first : flat_numel_;
  return {first, end - first};
}

}  // namespace mfl
