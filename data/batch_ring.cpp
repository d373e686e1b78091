#include "data/batch_ring.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace mfl::data {

struct BatchRing::Impl {
  struct Slot {
    int left = 0;                         // items not yet filled
    enum class State { free, filling, ready } state = State::free;
    std::optional<Event> uploaded;
  };
  LoaderOptions options;
  std::vector<Slot> slots;
  Work work;
  std::uint64_t next_step = 0;
  std::optional<std::size_t> current;
  double last_wait = 0, total_wait = 0;

  std::mutex mutex;                       // guards states, `left`, the queue and `stop`
  std::condition_variable changed;
  std::deque<std::pair<std::size_t, int>> queue;   // slot, item
  bool stop = false;
  std::vector<std::thread> threads;

  explicit Impl(LoaderOptions o) : options(o), slots(o.workers > 0 ? std::size_t(std::max(o.prefetch, 2)) : 1) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    for (std::thread& t : threads) t.join();
    for (Slot& s : slots)
      if (s.uploaded) s.uploaded->synchronize();
  }

  int begin(std::size_t at, std::uint64_t step) {
    if (slots[at].uploaded) slots[at].uploaded->synchronize();
    return work.begin(at, step);
  }

  void read_ahead() {
    for (std::uint64_t step = 0;; ++step) {
      const std::size_t at = step % slots.size();
      Slot& s = slots[at];
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stop || s.state == Slot::State::free; });
        if (stop) return;
        s.state = Slot::State::filling;
      }
      const int items = begin(at, step);
      {
        const std::lock_guard lock(mutex);
        s.left = items;
        if (items == 0) s.state = Slot::State::ready;
      }
      if (items == 0) changed.notify_all();
      for (int i = 0; i < items; ++i) {
        if (work.read) work.read(at, i);
        {
          const std::lock_guard lock(mutex);
          if (stop) return;
          queue.emplace_back(at, i);
        }
        changed.notify_all();
      }
    }
  }

  void fill() {
    for (;;) {
      std::pair<std::size_t, int> task;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stop || !queue.empty(); });
        if (stop) return;
        task = queue.front();
        queue.pop_front();
      }
      work.fill(task.first, task.second);
      bool ready = false;
      {
        const std::lock_guard lock(mutex);
        Slot& s = slots[task.first];
        ready = --s.left == 0;
        if (ready) s.state = Slot::State::ready;
      }
      if (ready) changed.notify_all();
    }
  }

  std::size_t next() {
    const auto start = std::chrono::steady_clock::now();
    const std::size_t at = next_step % slots.size();
    if (options.workers > 0) {
      std::unique_lock lock(mutex);
      if (current) {
        slots[*current].state = Slot::State::free;
        changed.notify_all();
      }
      changed.wait(lock, [&] { return slots[at].state == Slot::State::ready; });
    } else {
      const int items = begin(at, next_step);
      for (int i = 0; i < items; ++i) {
        if (work.read) work.read(at, i);
        work.fill(at, i);
      }
    }
    current = at;
    ++next_step;
    last_wait = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    total_wait += last_wait;
    return at;
  }
};

BatchRing::BatchRing(LoaderOptions options) {
  MFL_CHECK(options.workers >= 0 && options.prefetch >= 1, "loader: ", options.workers, " workers, ", options.prefetch, " batches ahead");
  impl_ = std::make_unique<Impl>(options);
}
BatchRing::~BatchRing() = default;

std::size_t BatchRing::size() const { return impl_->slots.size(); }

void BatchRing::start(Work work) {
  impl_->work = std::move(work);
  if (impl_->options.workers == 0) return;
  impl_->threads.emplace_back([i = impl_.get()] { i->read_ahead(); });
  for (int w = 0; w < impl_->options.workers; ++w) impl_->threads.emplace_back([i = impl_.get()] { i->fill(); });
}

std::size_t BatchRing::next() { return impl_->next(); }

std::uint64_t BatchRing::taken() const { return impl_->next_step; }
std::size_t BatchRing::current() const {
  MFL_CHECK(impl_->current, "loader: upload before the first next()");
  return *impl_->current;
}

void BatchRing::uploaded(const Stream& stream) {
  if (!stream.device().is_cuda()) return;
  std::optional<Event>& e = impl_->slots[current()].uploaded;
  if (!e) e.emplace(stream.device());
  stream.record(*e);
}

double BatchRing::last_wait_seconds() const { return impl_->last_wait; }
double BatchRing::total_wait_seconds() const { return impl_->total_wait; }

}  // namespace mfl::data
