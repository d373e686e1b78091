// Whoever wants to know which ops this thread queues on which stream: a breakdown of device time (mfl_bench). One test of a null
// pointer an op when nobody does.
#pragma once

#include "runtime/stream.h"

namespace mfl {

class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void begin(const Stream&, const char* op, const Shape& shape) = 0;   // a literal; the shape of the op's first input
  virtual void end(const Stream&) = 0;
};
inline thread_local OpObserver* op_observer = nullptr;

class ObservedOp {
 public:
  template <class Args>
  ObservedOp(const Stream& s, const char* op, const Args& a) : stream_(s) {
    if (!op_observer) return;
    if constexpr (requires { a.x.shape; }) op_observer->begin(s, op, shape_of(a.x));
    else if constexpr (requires { a.dy.shape; }) op_observer->begin(s, op, shape_of(a.dy));
    else if constexpr (requires { a.q.shape; }) op_observer->begin(s, op, shape_of(a.q));
    else op_observer->begin(s, op, {});
  }
  ~ObservedOp() {
    if (op_observer) op_observer->end(stream_);
  }
  ObservedOp(const ObservedOp&) = delete;
  ObservedOp& operator=(const ObservedOp&) = delete;

 private:
  template <class V>
  static Shape shape_of(const V& v) {
    if constexpr (requires { Shape(v.shape); }) return v.shape;
    else return {};
  }
  const Stream& stream_;
};

}  // namespace mfl
