// What kernels take: a pointer with a shape. Non-owning; the innermost stride is 1.
#pragma once

#include "runtime/device.h"
#include "runtime/dtype.h"
#include "runtime/shape.h"

namespace mfl {

namespace detail {
template <class Pointer>
struct BasicView {
  Pointer data = nullptr;
  Shape shape{};
  Shape stride{};  // elements
  DType dtype = DType::f32;
  Device device{};
  // A default view stands for "not given". A meta view has no data and is still given.
  bool given = false;

  explicit operator bool() const { return given; }
  std::int64_t numel() const { return shape.numel(); }
  bool contiguous() const {
    std::int64_t step = 1;
    for (int i = shape.rank() - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != step) return false;
      step *= shape[i];
    }
    return true;
  }
};
}  // namespace detail

struct ConstView : detail::BasicView<const void*> {
  template <class T> const T* as() const {
    MFL_CHECK(dtype_of<T>::value == dtype, "a view of ", dtype, " was read as ", dtype_of<T>::value);
    return static_cast<const T*>(data);
  }
};

struct View : detail::BasicView<void*> {
  template <class T> T* as() const {
    MFL_CHECK(dtype_of<T>::value == dtype, "a view of ", dtype, " was written as ", dtype_of<T>::value);
    return static_cast<T*>(data);
  }
  operator ConstView() const {
    ConstView v;
    v.data = data, v.shape = shape, v.stride = stride, v.dtype = dtype, v.device = device, v.given = given;
    return v;
  }
};

inline View make_view(void* data, Shape shape, DType dtype, Device device = kCpu) {
  View v;
  v.data = data, v.shape = shape, v.stride = shape.row_major(), v.dtype = dtype, v.device = device, v.given = true;
  return v;
}
inline ConstView make_view(const void* data, Shape shape, DType dtype, Device device = kCpu) {
  return make_view(const_cast<void*>(data), shape, dtype, device);
}

namespace detail {
inline void* advance(void* p, std::int64_t bytes) { return p ? static_cast<char*>(p) + bytes : nullptr; }
inline const void* advance(const void* p, std::int64_t bytes) { return p ? static_cast<const char*>(p) + bytes : nullptr; }
}  // namespace detail

// Elements [first, first + count) of one axis; strides stay.
template <class V>
V slice(V v, int axis, std::int64_t first, std::int64_t count) {
  if (axis < 0) axis += v.shape.rank();
  MFL_CHECK(axis >= 0 && axis < v.shape.rank() && first >= 0 && count >= 0 && first + count <= v.shape[axis],
            "slice: elements ", first, " to ", first + count, " of axis ", axis, " of ", v.shape);
  v.data = detail::advance(v.data, first * v.stride[axis] * static_cast<std::int64_t>(size_of(v.dtype)));
  v.shape[axis] = count;
  return v;
}

// The same contiguous elements under another shape.
template <class V>
V reshape(V v, Shape shape) {
  MFL_CHECK(v.contiguous(), "reshape: a strided view of ", v.shape, " cannot become ", shape);
  MFL_CHECK(v.shape.numel() == shape.numel(), "reshape: ", v.shape, " has another number of elements than ", shape);
  v.shape = shape;
  v.stride = shape.row_major();
  return v;
}

}  // namespace mfl
