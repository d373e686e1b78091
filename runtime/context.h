// Ctx: everything that a module's forward and backward need besides their tensors.
#pragma once

#include <functional>

#include "runtime/arena.h"
#include "runtime/stream.h"

namespace mfl {

// What an op does with a gradient output.
enum class GradMode : std::uint8_t { ignore, overwrite, accumulate };

// Elements [first, first + count) of the flat gradient buffer.
struct ParamRange {
  std::int64_t first = 0, count = 0;
};

struct Ctx {
  const Stream& stream;
  Arena& arena;
  Precision precision{};
  bool saving = true;               // false: inference, or inside Recompute's forward
  bool accumulate_grads = false;    // true on every micro-batch but the first: parameter gradients add
  // Called by backward when every gradient in the range is final for this micro-batch.
  std::function<void(ParamRange)> grads_ready = [](ParamRange) {};

  Device device() const { return stream.device(); }
  // Activations between matrix products; and the residual stream, statistics, losses.
  Tensor compute(Shape s, Purpose p = {}) const { return arena.empty(s, precision.compute, p); }
  Tensor accum(Shape s, Purpose p = {}) const { return arena.empty(s, precision.accum, p); }
  // The handle that a Saved stores: empty when nothing is saved.
  Tensor keep(const Tensor& t) const { return saving ? t.kept() : Tensor{}; }
};

// Scoped change of Ctx::saving.
class Saving {
 public:
  Saving(Ctx& cx, bool on) : cx_(cx), before_(cx.saving) { cx.saving = on; }
  ~Saving() { cx_.saving = before_; }
  Saving(const Saving&) = delete;
  Saving& operator=(const Saving&) = delete;

 private:
  Ctx& cx_;
  bool before_;
};

}  // namespace mfl
