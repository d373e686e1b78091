#include "data/loader.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "runtime/log.h"

namespace mfl::data {
namespace {

BatchViews pinned_views(std::int64_t B, std::int64_t V, std::int64_t side, std::int64_t channels) {
  return {Tensor::pinned({B, V, side, side, channels}, DType::f32, {"batch image"}), Tensor::pinned({B, V, 4, 4}, DType::f32, {"batch cameras"}),
          Tensor::pinned({B, V, 4}, DType::f32, {"batch intrinsics"}), Tensor::pinned({B, V, 2}, DType::i64, {"batch index"})};
}
BatchViews rows(const BatchViews& v, std::int64_t count) {
  return {v.image.rows(0, count), v.c2w.rows(0, count), v.fxfycxcy.rows(0, count), v.index.rows(0, count)};
}
constexpr Tensor BatchViews::*kTensors[] = {&BatchViews::image, &BatchViews::c2w, &BatchViews::fxfycxcy, &BatchViews::index};

// Everything that goes into one batch and comes out of it.
struct Slot {
  Batch full;                       // the whole buffers
  Batch batch;                      // the part that this step fills
  std::vector<SamplePlan> plans;
  std::vector<RawView> raw;         // one per view of the batch
  std::vector<std::exception_ptr> errors;   // the same, so that the first in order is reported
};

}  // namespace

struct Loader::Impl {
  std::shared_ptr<const Dataset> dataset;
  Sampler sampler;
  std::vector<Slot> slots;
  BatchRing ring;                   // last: its threads end before what they fill

  Impl(std::shared_ptr<const Dataset> d, SamplerOptions s, LoaderOptions o) : dataset(std::move(d)), sampler(s), ring(o) {
    slots.resize(ring.size());
    const std::int64_t B = s.batch, S = dataset->options().image_size, C = dataset->channels();
    for (Slot& slot : slots) {
      Batch& b = slot.full;
      static_cast<BatchViews&>(b) = pinned_views(B, dataset->num_views(), S, C);
      b.input = inputs() ? pinned_views(B, inputs(), S, C) : static_cast<const BatchViews&>(b);
      if (const std::int64_t c = dataset->options().crop_size; c > 0) {
        b.target = Tensor::pinned({B, dataset->num_views(), c, c, C}, DType::f32, {"batch crops"});
        b.target_fxfycxcy = Tensor::pinned({B, dataset->num_views(), 4}, DType::f32, {"batch intrinsics"});
      }
      b.background = Tensor::pinned({B, 3}, DType::f32, {"batch background"});
      b.num_input_views = dataset->options().num_input_views;
      b.separate_inputs = inputs() > 0;
      slot.raw.resize(B * views());
    }
    ring.start({.begin = [this](std::size_t at, std::uint64_t step) { return begin(slots[at], step); },
                .read = [this](std::size_t at, int item) { read(slots[at], item); },
                .fill = [this](std::size_t at, int item) { decode(slots[at], item); }});
  }

  // Of a plan: separate inputs first, then the supervised views.
  int inputs() const { return dataset->separate_inputs(); }
  int views() const { return dataset->num_views() + inputs(); }
  // Where view k of sample i of a batch goes.
  std::pair<const BatchViews*, std::int64_t> place(const Slot& s, std::int64_t i, std::int64_t k) const {
    if (k < inputs()) return {&s.full.input, i * inputs() + k};
    return {&s.full, i * dataset->num_views() + k - inputs()};
  }

  // Picks, cameras and names of a step; everything but pixels. Errors go to all of a sample's views.
  // The step's number of views.
  int begin(Slot& s, std::uint64_t step) {
    const std::int64_t V = views();
    const std::vector<Pick> picks = sampler.picks(step);
    const std::int64_t B = static_cast<std::int64_t>(picks.size());
    s.plans.assign(B, {});
    s.errors.assign(B * V, nullptr);
    const Batch& f = s.full;
    Batch& b = s.batch;
    b.step = static_cast<std::int64_t>(step), b.num_input_views = f.num_input_views, b.separate_inputs = f.separate_inputs;
    b.names.clear();
    for (std::int64_t i = 0; i < B; ++i) {
      b.names.push_back(dataset->reader().sample_name(picks[i].sample));
      try {
        s.plans[i] = dataset->plan(picks[i]);
      } catch (...) {
        std::fill_n(s.errors.begin() + i * V, V, std::current_exception());
        continue;
      }
      const SamplePlan& p = s.plans[i];
      for (std::int64_t k = 0; k < V; ++k) {
        const auto [to, at] = place(s, i, k);
        std::memcpy(to->c2w.data<float>() + at * 16, p.c2w[k].data(), 16 * sizeof(float));
        std::memcpy(to->fxfycxcy.data<float>() + at * 4, p.fxfycxcy[k].data(), 4 * sizeof(float));
        to->index.data<std::int64_t>()[at * 2] = p.views[k];
        to->index.data<std::int64_t>()[at * 2 + 1] = dataset->reader().file_index(picks[i].sample);
        if (f.target && to == &f) {
          float* shifted = f.target_fxfycxcy.data<float>() + at * 4;
          std::memcpy(shifted, p.fxfycxcy[k].data(), 4 * sizeof(float));
          shifted[2] -= static_cast<float>(p.corner[k][0]), shifted[3] -= static_cast<float>(p.corner[k][1]);
        }
      }
      std::memcpy(f.background.data<float>() + i * 3, p.background.data(), 3 * sizeof(float));
    }
    return static_cast<int>(s.errors.size());
  }

  void read(Slot& s, int item) {
    if (s.errors[item]) return;
    const int V = views();
    try {
      const SamplePlan& p = s.plans[item / V];
      dataset->reader().read_raw(p.pick.sample, p.views[item % V], s.raw[item]);
    } catch (...) {
      s.errors[item] = std::current_exception();
    }
  }

  void decode(Slot& s, int item) {
    if (s.errors[item]) return;
    const int V = views();
    const SamplePlan& p = s.plans[item / V];
    try {
      const std::int64_t S = dataset->options().image_size;
      const auto [to, at] = place(s, item / V, item % V);
      float* image = to->image.data<float>() + at * S * S * dataset->channels();
      dataset->render(p, item % V, s.raw[item], image);
      if (s.full.target && to == &s.full) crop(image, p.corner[item % V], s.full.target, at);
    } catch (const Error&) {
      s.errors[item] = std::current_exception();
    } catch (const std::exception& e) {
      s.errors[item] = std::make_exception_ptr(Error(
          text("sample ", dataset->reader().sample_name(p.pick.sample), ", view ", p.views[item % V], ": ", e.what())));
    }
  }

  // The window of an image [S, S, C] at `corner` to crop `item` of [B, V, c, c, C].
  void crop(const float* image, const std::array<int, 2>& corner, const Tensor& crops, std::int64_t item) const {
    const std::int64_t S = dataset->options().image_size, c = crops.shape()[2], C = crops.shape()[4];
    float* to = crops.data<float>() + item * c * c * C;
    for (std::int64_t y = 0; y < c; ++y)
      std::memcpy(to + y * c * C, image + ((corner[1] + y) * S + corner[0]) * C, std::size_t(c * C) * sizeof(float));
  }

  const Batch& next() {
    Slot& s = slots[ring.next()];
    for (const auto& e : s.errors)
      if (e) std::rethrow_exception(e);
    Batch& b = s.batch;
    const std::int64_t B = b.size();
    if (B == 0) {
      static_cast<BatchViews&>(b) = b.input = {};
      b.background = b.target = b.target_fxfycxcy = {};
    } else {
      static_cast<BatchViews&>(b) = rows(s.full, B);
      b.input = rows(s.full.input, B);
      b.background = s.full.background.rows(0, B);
      if (s.full.target) b.target = s.full.target.rows(0, B), b.target_fxfycxcy = s.full.target_fxfycxcy.rows(0, B);
    }
    return b;
  }
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, SamplerOptions sampler, LoaderOptions options) {
  if (sampler.size <= 0 || sampler.size > dataset->size()) sampler.size = dataset->size();
  impl_ = std::make_unique<Impl>(std::move(dataset), sampler, options);
  if (impl_->sampler.wraps())
    log_warning("the data set has ", sampler.size, " samples and one step takes ", sampler.batch * sampler.world,
                ": samples repeat within a step");
}
Loader::~Loader() = default;

const Batch& Loader::next() { return impl_->next(); }

Batch Loader::upload(const Stream& stream, Arena& arena) {
  const Batch& filled = impl_->slots[impl_->ring.current()].batch;
  Batch out = filled;
  if (out.size() == 0) return out;
  const auto move = [&](const Tensor& from, Tensor& to) {
    if (!from) return;
    to = arena.empty(from.shape(), from.dtype(), {"batch"});
    copy(stream, from, to);
  };
  for (const auto t : kTensors) move(filled.*t, out.*t);
  if (out.separate_inputs)
    for (const auto t : kTensors) move(filled.input.*t, out.input.*t);
  else
    out.input = out;
  move(filled.background, out.background);
  move(filled.target, out.target);
  move(filled.target_fxfycxcy, out.target_fxfycxcy);
  impl_->ring.uploaded(stream);
  return out;
}

std::uint64_t Loader::position() const { return impl_->sampler.behind(impl_->ring.taken()); }
std::int64_t Loader::steps_per_epoch() const { return impl_->sampler.steps_per_epoch(); }
double Loader::last_wait_seconds() const { return impl_->ring.last_wait_seconds(); }
double Loader::total_wait_seconds() const { return impl_->ring.total_wait_seconds(); }

}  // namespace mfl::data
