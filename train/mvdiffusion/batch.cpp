#include "train/mvdiffusion/batch.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <numeric>

#include "runtime/log.h"
#include "runtime/rng.h"

namespace mfl::mvdiffusion {
namespace {

Rng rng_of(const ObjectOptions& o, Draw purpose, const data::Pick& p) {
  return Rng(o.seed, purpose, o.limit > 0 ? 0 : p.pass, static_cast<std::uint32_t>(p.sample));
}

}  // namespace

// ---- the set ----

ObjectSet::ObjectSet(std::shared_ptr<const data::ViewReader> reader, ObjectOptions options) : reader_(std::move(reader)), options_(options) {
  const data::ViewReader& r = *reader_;
  for (std::int64_t s = 0; s < size(); ++s) {
    try {
      order(s, options_.reference);
    } catch (const DataError& e) {
      throw_error<DataError>(r.path(), ": sample ", r.sample_name(s), ": ", e.what());
    }
  }
  for (int f = 0; f < r.files(); ++f)
    if (r.file(f).width != r.file(f).height)
      log_warning(r.file(f).path, ": images of ", r.file(f).width, " x ", r.file(f).height, " are squashed to ", options_.side, " x ", options_.side);
}

std::int64_t ObjectSet::size() const { return options_.limit > 0 ? std::min(options_.limit, reader_->size()) : reader_->size(); }

// `reference` counts the object's views, as ObjectViews does; the answer has the sample's.
ViewOrder ObjectSet::order(std::int64_t sample, int reference) const {
  const ObjectViews object = object_views(*reader_, sample, options_.views);
  ViewOrder o = view_order(options_.rule, reference, object.prompt_slots, object.ring);
  for (int& v : o.views) v = object.views[std::size_t(v)];
  o.reference = object.views[std::size_t(reference)];
  return o;
}

ObjectPlan ObjectSet::plan(const data::Pick& pick) const {
  const ObjectOptions& o = options_;
  ObjectPlan plan;
  plan.pick = pick;
  const int reference = o.rule == ReferenceRule::fixed ? o.reference
                                                       : static_cast<int>(rng_of(o, Draw::views, pick).below(static_cast<std::uint32_t>(o.views)));
  plan.order = order(pick.sample, reference);
  const std::vector<int>& views = plan.order.views;
  plan.reference_slot = static_cast<int>(std::find(views.begin(), views.end(), plan.order.reference) - views.begin());
  {
    Rng rng = rng_of(o, Draw::background, pick);
    plan.background.fill(static_cast<float>(o.background.value));
    if (o.background.kind == data::Background::Kind::random)
      for (float& c : plan.background) c = rng.uniform();
    if (o.background.kind == data::Background::Kind::three_choices) plan.background.fill(0.5f * static_cast<float>(rng.below(3)));
  }
  if (o.jitter) {
    Rng rng = rng_of(o, Draw::augment, pick);
    plan.brightness = static_cast<float>(rng.uniform(o.jitter->brightness[0], o.jitter->brightness[1]));
    plan.contrast = static_cast<float>(rng.uniform(o.jitter->contrast[0], o.jitter->contrast[1]));
  }
  return plan;
}

std::optional<data::Hash> ObjectSet::key(const ObjectPlan& plan, int slot) const {
  const bool alpha = reader_->has_alpha(plan.pick.sample);
  if (plan.brightness != 1 || plan.contrast != 1) return {};
  if (alpha && options_.background.kind == data::Background::Kind::random) return {};
  return encoder_key(reader_->pixel_hash(plan.pick.sample, plan.order.views[std::size_t(slot)]), options_.side,
                     alpha ? plan.background : std::array<float, 3>{});
}

void ObjectSet::render(const ObjectPlan& plan, const std::vector<bool>& wanted, float* out) const {
  const data::ViewReader& r = *reader_;
  const int side = options_.side;
  const std::size_t pixels = std::size_t(side) * std::size_t(side);
  const bool jittered = plan.brightness != 1 || plan.contrast != 1;
  const std::int64_t sample = plan.pick.sample;
  data::RawView raw;
  std::vector<double> sums(plan.order.views.size());
  for (std::size_t slot = 0; slot < plan.order.views.size(); ++slot) {
    if (!jittered && !wanted[slot]) continue;
    const int view = plan.order.views[slot];
    r.read_raw(sample, view, raw);
    data::Image im = r.decode(sample, view, raw);
    if (im.width != side || im.height != side) im = data::resize_lanczos(im, side, side);
    float* to = out + slot * pixels * 3;
    double sum = 0;
    for (std::size_t i = 0; i < pixels; ++i) {
      const std::uint8_t* p = im.pixels.data() + 4 * i;
      const float a = static_cast<float>(p[3]) / 255.0f;
      for (std::size_t c = 0; c < 3; ++c) {
        float x = static_cast<float>(p[c]) / 255.0f * a + plan.background[c] * (1.0f - a);
        if (jittered) x = std::clamp(plan.brightness * x, 0.0f, 1.0f);
        to[3 * i + c] = x;
        sum += double(x);
      }
    }
    sums[slot] = sum;
  }
  if (!jittered) return;
  const double count = double(3 * pixels) * double(sums.size() + 1);
  const auto mean = static_cast<float>((std::accumulate(sums.begin(), sums.end(), 0.0) + sums[std::size_t(plan.reference_slot)]) / count);
  for (std::size_t i = 0; i < sums.size() * pixels; ++i)
    for (std::size_t c = 0; c < 3; ++c) {
      float& x = out[3 * i + c];
      x = std::clamp((x - mean) * plan.contrast + mean, 0.0f, 1.0f);
    }
}

// ---- the loader ----

bool ObjectBatch::needs_pixels() const {
  return std::any_of(images.begin(), images.end(), [](const StepImage& i) { return i.needs_pixels(); });
}

namespace {

struct Slot {
  ObjectBatch batch;
  std::vector<data::Pick> picks;
  std::vector<std::exception_ptr> errors;       // by object
};

}  // namespace

struct ObjectLoader::Impl {
  std::shared_ptr<const ObjectSet> set;
  data::Sampler sampler;
  EncoderCache* cache;
  std::deque<Slot> slots;
  data::BatchRing ring;                         // last: its threads end before what they fill

  Impl(std::shared_ptr<const ObjectSet> s, data::SamplerOptions picks, data::LoaderOptions o, EncoderCache* c)
      : set(std::move(s)), sampler(picks), cache(c), ring(o) {
    slots.resize(ring.size());
    const std::int64_t n = picks.batch * set->options().views, side = set->options().side;
    for (Slot& slot : slots) {
      slot.batch.pixels = Tensor::pinned({n, side, side, 3}, DType::f32, {"batch images"});
      slot.batch.images.resize(std::size_t(n));
      slot.batch.prompts.resize(std::size_t(n));
      slot.batch.references.resize(std::size_t(picks.batch));
      slot.batch.names.resize(std::size_t(picks.batch));
    }
    ring.start({.begin = [this](std::size_t at, std::uint64_t step) { return begin(slots[at], step); },
                .fill = [this](std::size_t at, int object) { draw(slots[at], std::size_t(object)); }});
  }

  int begin(Slot& s, std::uint64_t step) {
    s.picks = sampler.picks(step);
    s.errors.assign(s.picks.size(), nullptr);
    return int(s.picks.size());
  }

  // One object of a step: its plan, what is known of it, and the pixels of the rest.
  void draw(Slot& s, std::size_t o) {
    const ObjectOptions& options = set->options();
    const auto V = std::size_t(options.views), first = o * V;
    ObjectBatch& b = s.batch;
    try {
      const ObjectPlan plan = set->plan(s.picks[o]);
      b.names[o] = set->reader().sample_name(plan.pick.sample);
      b.references[o] = plan.reference_slot;
      std::vector<bool> wanted(V);
      for (std::size_t slot = 0; slot < V; ++slot) {
        b.prompts[first + slot] = plan.order.prompts[slot];
        StepImage image{.key = set->key(plan, int(slot)), .embedding = int(slot) == plan.reference_slot};
        if (cache && image.key) {
          image.known_moments = cache->find(*image.key, EncoderCache::Part::moments);
          if (image.embedding) image.known_embedding = cache->find(*image.key, EncoderCache::Part::embedding);
        }
        wanted[slot] = image.needs_pixels();
        b.images[first + slot] = std::move(image);
      }
      set->render(plan, wanted, b.pixels.data<float>() + std::int64_t(first) * options.side * options.side * 3);
    } catch (const Error&) {
      s.errors[o] = std::current_exception();
    } catch (const std::exception& e) {
      s.errors[o] = std::make_exception_ptr(Error(text("object ", set->reader().sample_name(s.picks[o].sample), ": ", e.what())));
    }
  }

  const ObjectBatch& next() {
    Slot& s = slots[ring.next()];
    for (const auto& e : s.errors)
      if (e) std::rethrow_exception(e);
    return s.batch;
  }
};

ObjectLoader::ObjectLoader(std::shared_ptr<const ObjectSet> set, data::SamplerOptions sampler, data::LoaderOptions options, EncoderCache* cache) {
  sampler.size = set->size();
  impl_ = std::make_unique<Impl>(std::move(set), sampler, options, cache);
  if (impl_->sampler.wraps())
    log_warning("the data set has ", sampler.size, " objects and one step takes ", sampler.batch * sampler.world, ": objects repeat within a step");
}
ObjectLoader::~ObjectLoader() = default;

const ObjectBatch& ObjectLoader::next() { return impl_->next(); }

Tensor ObjectLoader::upload(const Stream& stream, Arena& arena) {
  const Slot& s = impl_->slots[impl_->ring.current()];
  if (!s.batch.needs_pixels()) return {};
  const Tensor& from = s.batch.pixels;
  Tensor to = arena.empty(from.shape(), from.dtype(), {"batch"});
  for (std::int64_t i = 0, n = from.shape()[0], run = 0; i < n; i += std::max<std::int64_t>(run, 1)) {   // runs of rows that are needed
    for (run = 0; i + run < n && s.batch.images[std::size_t(i + run)].needs_pixels();) ++run;
    if (run > 0) copy(stream, from.rows(i, run), to.rows(i, run));
  }
  impl_->ring.uploaded(stream);
  return to;
}

std::uint64_t ObjectLoader::position() const { return impl_->sampler.behind(impl_->ring.taken()); }
std::int64_t ObjectLoader::steps_per_epoch() const { return impl_->sampler.steps_per_epoch(); }
double ObjectLoader::last_wait_seconds() const { return impl_->ring.last_wait_seconds(); }

}  // namespace mfl::mvdiffusion
