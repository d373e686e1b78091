// Parameters and the module pattern.
//
// A module is a struct with a nested `Saved` (all that backward needs, shapes in comments), a `forward` that fills it and a
// `backward` that consumes it. `backward` takes its Saved by value and callers move into it, so each part dies when the
// call that used it returns and the arena drains as backward walks. Composition is member-wise; there is no tape.
//
// Gradients: parameter gradients follow Ctx::accumulate_grads and the parameter's `trainable`; activation gradients
// overwrite, except where a call names GradMode::accumulate (the residual stream).
#pragma once

#include <concepts>
#include <deque>
#include <span>
#include <string>
#include <string_view>

#include "runtime/context.h"

namespace mfl {

struct Param {
  std::string name;        // the checkpoint key, exactly
  Shape shape;
  std::int64_t first = 0;  // element offset in the flat buffers, known after seal()
  bool trainable = true;
  // A convolution's weight: `shape` is the checkpoint's [O, I, KH, KW], memory is [O, KH, KW, I].
  bool channel_last = false;
  bool product = false;    // read by matrix products and convolutions only, thus in compute type
  Tensor value;            // accum type: the master, and what norms and embeddings read; empty where there is no master
  Tensor compute;          // compute type: what matrix products read; the same memory when the types are equal
  Tensor grad;             // accum type; empty when the store has no gradients

  std::int64_t numel() const { return shape.numel(); }
  // The shape of value, compute and grad.
  Shape memory_shape() const { return channel_last ? Shape{shape[0], shape[2], shape[3], shape[1]} : shape; }
  // The published optimizer's rule: tensors of two or more axes decay, norm weights do not.
  bool decay() const { return shape.rank() >= 2; }
  GradMode grad_mode(const Ctx& cx) const {
    return !trainable ? GradMode::ignore : cx.accumulate_grads ? GradMode::accumulate : GradMode::overwrite;
  }
};

// Owns flat buffers in registration order: value, compute copy, gradient. Every parameter starts at a multiple of
// kAlign elements; the gaps stay zero. A frozen network has gradients for none, and masters only of what is read in accum type:
// its products' weights live in compute type alone.
class ParamStore {
 public:
  static constexpr std::int64_t kAlign = 64;

  // `gradients` false: a frozen network.
  ParamStore(Arena&, Precision, bool gradients = true);
  ParamStore(const ParamStore&) = delete;
  ParamStore& operator=(const ParamStore&) = delete;

  Param& add(std::string name, Shape, bool product = false, bool channel_last = false);
  void seal(const Stream&);                    // lays out the buffers, zeroed; no parameter can be added after
  bool sealed() const { return sealed_; }

  std::deque<Param>& all() { return params_; }
  const std::deque<Param>& all() const { return params_; }
  Param* find(std::string_view name);
  std::int64_t numel() const { return numel_; }          // sum over parameters
  std::int64_t flat_numel() const { return flat_numel_; }  // with the gaps
  Precision precision() const { return precision_; }
  // False: frozen, in two types; a parameter is set by weights::load_parameter, which writes what there is of it.
  bool has_masters() const { return gradients_ || precision_.compute == precision_.accum; }

  const Tensor& values() const;                        // [flat_numel] accum type; of a store that has all masters
  const Tensor& computes() const { return computes_; }  // [flat_numel] compute type; values() when the types are equal
  const Tensor& grads() const { return grads_; }       // [flat_numel] accum type
  // The smallest range that covers parameters [from, to) of the registration order.
  ParamRange range(std::size_t from, std::size_t to) const;

 private:
  Arena& arena_;
  Precision precision_;
  bool gradients_, sealed_ = false;
  std::deque<Param> params_;                   // references stay valid
  std::int64_t numel_ = 0, flat_numel_ = 0;
  Tensor values_, computes_, grads_;
};

// A store and a name prefix: Linear q{scope / "attn" / "to_q", c, c}.
struct Scope {
  ParamStore& store;
  std::string prefix = {};
  Scope operator/(std::string_view leaf) const {
    return {store, prefix.empty() ? std::string(leaf) : prefix + "." + std::string(leaf)};
  }
  Param& param(std::string_view leaf, Shape shape) const { return store.add((*this / leaf).prefix, shape); }
  Param& matrix(std::string_view leaf, Shape shape) const { return store.add((*this / leaf).prefix, shape, true); }
  Param& kernel(std::string_view leaf, Shape shape) const { return store.add((*this / leaf).prefix, shape, true, true); }
};

// Remembers which parameters a block registered, for grads_ready: construct first, close() after the last member.
class ParamSpan {
 public:
  explicit ParamSpan(Scope s) : store_(&s.store), from_(s.store.all().size()) {}
  void close() { to_ = store_->all().size(); }
  ParamRange range() const { return store_->range(from_, to_); }

 private:
  ParamStore* store_;
  std::size_t from_, to_ = 0;
};

template <class M>
concept Module = requires(const M& m, Ctx& cx, const Tensor& x, Tensor dy, typename M::Saved saved) {
  { m.forward(cx, x, saved) } -> std::same_as<Tensor>;
  { m.backward(cx, std::move(saved), std::move(dy)) } -> std::same_as<Tensor>;
};

// A block that can rebuild its Saved from its input without computing its output: `refill` stops before the last product.
template <class M>
concept Refillable = Module<M> && requires(const M& m, Ctx& cx, const Tensor& x, typename M::Saved& saved) {
  m.refill(cx, x, saved);
};

// Activation checkpointing as a type: keeps only the input and rebuilds the block's Saved inside backward. Gradients are
// bitwise those of the plain block.
template <Refillable Block>
struct Recompute {
  const Block& inner;
  struct Saved {
    Tensor x;
  };
  Tensor forward(Ctx& cx, const Tensor& x, Saved& saved) const {
    saved.x = cx.keep(x);
    Saving off(cx, false);
    typename Block::Saved nothing;
    return inner.forward(cx, x, nothing);
  }
  Tensor backward(Ctx& cx, Saved saved, Tensor dy) const {
    typename Block::Saved again;
    inner.refill(cx, saved.x, again);
    saved = {};
    return inner.backward(cx, std::move(again), std::move(dy));
  }
};

}  // namespace mfl
