#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/log.h"

namespace mfl::data {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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
  int left = 0;                     // views not yet done
  enum class State { free, filling, ready } state = State::free;
  std::optional<Event> uploaded;
};

}  // namespace

struct Loader::Impl {
  std::shared_ptr<const Dataset> dataset;
  Sampler sampler;
  LoaderOptions options;
  std::vector<Slot> ring;
  std::uint64_t next_step;
  Slot* current = nullptr;
  double last_wait = 0, total_wait = 0;

  std::mutex mutex;                 // guards states, `left`, the queue and `stop`
  std::condition_variable changed;
  std::deque<std::pair<Slot*, int>> queue;
  bool stop = false;
  std::vector<std::thread> threads;

  Impl(std::shared_ptr<const Dataset> d, SamplerOptions s, LoaderOptions o)
      : dataset(std::move(d)), sampler(s), options(o), ring(o.workers > 0 ? std::max(o.prefetch, 2) : 1), next_step(o.first_step) {
    const std::int64_t B = s.batch, S = dataset->options().image_size, C = dataset->channels();
    for (Slot& slot : ring) {
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
    if (options.workers > 0) {
      threads.emplace_back([this] { read_ahead(); });
      for (int w = 0; w < options.workers; ++w) threads.emplace_back([this] { work(); });
    }
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    for (std::thread& t : threads) t.join();
    for (Slot& s : ring)
      if (s.uploaded) s.uploaded->synchronize();
  }

  // Of a plan: separate inputs first, then the supervised views.
  int inputs() const { return dataset->separate_inputs(); }
  int views() const { return dataset->num_views() + inputs(); }
  // Where view k of sample i of a batch goes.
  std::pair<const BatchViews*, std::int64_t> place(const Slot& s, std::int64_t i, std::int64_t k) const {
    if (k < inputs()) return {&s.full.input, i * inputs() + k};
    return {&s.full, i * dataset->num_views() + k - inputs()};
  }

  // Picks, cameras and names of a step; everything but pixels. Errors go to the sample's first view.
  void begin(Slot& s, std::uint64_t step) {
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

  // ---- threads ----
  void read_ahead() {
    for (std::uint64_t step = options.first_step;; ++step) {
      Slot& s = ring[step % ring.size()];
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stop || s.state == Slot::State::free; });
        if (stop) return;
        s.state = Slot::State::filling;
      }
      if (s.uploaded) s.uploaded->synchronize();
      begin(s, step);
      const int items = static_cast<int>(s.errors.size());
      {
        const std::lock_guard lock(mutex);
        s.left = items;
        if (items == 0) s.state = Slot::State::ready;
      }
      if (items == 0) changed.notify_all();
      for (int i = 0; i < items; ++i) {
        read(s, i);
        {
          const std::lock_guard lock(mutex);
          if (stop) return;
          queue.emplace_back(&s, i);
        }
        changed.notify_all();
      }
    }
  }

  void work() {
    for (;;) {
      std::pair<Slot*, int> task;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stop || !queue.empty(); });
        if (stop) return;
        task = queue.front();
        queue.pop_front();
      }
      decode(*task.first, task.second);
      bool ready = false;
      {
        const std::lock_guard lock(mutex);
        ready = --task.first->left == 0;
        if (ready) task.first->state = Slot::State::ready;
      }
      if (ready) changed.notify_all();
    }
  }

  const Batch& next() {
    const double start = now();
    Slot& s = ring[next_step % ring.size()];
    if (options.workers > 0) {
      std::unique_lock lock(mutex);
      if (current) {
        current->state = Slot::State::free;
        changed.notify_all();
      }
      changed.wait(lock, [&] { return s.state == Slot::State::ready; });
    } else {
      if (s.uploaded) s.uploaded->synchronize();
      begin(s, next_step);
      for (int i = 0; i < static_cast<int>(s.errors.size()); ++i) {
        read(s, i);
        decode(s, i);
      }
    }
    current = &s;
    ++next_step;
    last_wait = now() - start;
    total_wait += last_wait;
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
  MFL_CHECK(options.workers >= 0 && options.prefetch >= 1, "loader: ", options.workers, " workers, ", options.prefetch, " batches ahead");
  if (sampler.size <= 0 || sampler.size > dataset->size()) sampler.size = dataset->size();
  impl_ = std::make_unique<Impl>(std::move(dataset), sampler, options);
  if (impl_->sampler.wraps())
    log_warning("the data set has ", sampler.size, " samples and one step takes ", sampler.batch * sampler.world,
                ": samples repeat within a step");
}
Loader::~Loader() = default;

const Batch& Loader::next() { return impl_->next(); }

Batch Loader::upload(const Stream& stream, Arena& arena) {
  MFL_CHECK(impl_->current, "loader: upload before the first next()");
  Slot& s = *impl_->current;
  Batch out = s.batch;
  if (out.size() == 0) return out;
  const auto move = [&](const Tensor& from, Tensor& to) {
    if (!from) return;
    to = arena.empty(from.shape(), from.dtype(), {"batch"});
    copy(stream, from, to);
  };
  for (const auto t : kTensors) move(s.batch.*t, out.*t);
  if (out.separate_inputs)
    for (const auto t : kTensors) move(s.batch.input.*t, out.input.*t);
  else
    out.input = out;
  move(s.batch.background, out.background);
  move(s.batch.target, out.target);
  move(s.batch.target_fxfycxcy, out.target_fxfycxcy);
  if (stream.device().is_cuda()) {
    if (!s.uploaded) s.uploaded.emplace(stream.device());
    stream.record(*s.uploaded);
  }
  return out;
}

std::int64_t Loader::steps_per_epoch() const { return impl_->sampler.steps_per_epoch(); }
double Loader::last_wait_seconds() const { return impl_->last_wait; }
double Loader::total_wait_seconds() const { return impl_->total_wait; }

}  // namespace mfl::data
