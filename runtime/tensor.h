// An owning handle on one block of memory: row-major, contiguous, shared by reference count.
//
// Kernels see views, modules hold tensors, the arena owns memory, the parameter store owns parameters.
//
// A tensor that backward will read is marked by Ctx::keep. A writable view of a marked block throws: that is the hazard a
// run-time tape would catch with version counters. The mark goes when the kept handle goes.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "runtime/view.h"

namespace mfl {

struct Purpose {
  std::string_view what = {};  // a string literal; shown when memory runs out and by --plan
};

namespace detail {
struct Block {
  void* data = nullptr;
  std::size_t bytes = 0;
  std::size_t offset = 0;  // within its arena
  Device device{};
  Purpose purpose{};
  int refs = 0;   // not atomic: a block is used by the one host thread that drives its device
  int kept = 0;
  void* owner = nullptr;
  void (*release)(Block*) noexcept = nullptr;
};
}  // namespace detail

class Tensor {
 public:
  Tensor() = default;
  Tensor(detail::Block* block, Shape shape, DType dtype) : block_(block), shape_(shape), dtype_(dtype) { ++block_->refs; }
  Tensor(const Tensor& o) : block_(o.block_), offset_(o.offset_), shape_(o.shape_), dtype_(o.dtype_) {
    if (block_) ++block_->refs;
  }
  Tensor(Tensor&& o) noexcept
      : block_(std::exchange(o.block_, nullptr)), offset_(o.offset_), shape_(o.shape_), dtype_(o.dtype_),
        kept_(std::exchange(o.kept_, false)) {}
  Tensor& operator=(Tensor o) noexcept {
    swap(o);
    return *this;
  }
  ~Tensor() { reset(); }
  void reset() noexcept;
  void swap(Tensor& o) noexcept {
    std::swap(block_, o.block_);
    std::swap(offset_, o.offset_);
    std::swap(shape_, o.shape_);
    std::swap(dtype_, o.dtype_);
    std::swap(kept_, o.kept_);
  }

  // Plain host or device memory outside any arena: tests, small long-lived state. Contents undefined.
  static Tensor on_heap(Shape, DType, Device = kCpu, Purpose = {});
  // Host memory that a GPU copies from and to asynchronously; plain where there is none. `seen_by` a CUDA device: a tensor of
  // that device, whose kernels read and write it over the bus (unified addressing: one address for both).
  static Tensor pinned(Shape, DType, Purpose = {}, Device seen_by = kCpu);

  explicit operator bool() const { return block_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const { return block_ ? block_->device : kCpu; }
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }

  Tensor reshape(Shape) const;                                   // same block, same number of elements
  Tensor rows(std::int64_t first, std::int64_t count) const;     // of the first axis
  // A handle that marks the block as read by backward.
  Tensor kept() const;

  operator View() const;
  operator ConstView() const;
  View view() const { return *this; }

  // Host element access, for tests and host code. Throws for a device tensor or another dtype.
  template <class T> T* data() const {
    MFL_CHECK(device().is_cpu(), "host access to a tensor on ", device());
    return View(*this).as<T>();
  }

 private:
  void* address() const { return detail::advance(block_->data, offset_); }
  detail::Block* block_ = nullptr;
  std::int64_t offset_ = 0;  // bytes
  Shape shape_{};
  DType dtype_ = DType::f32;
  bool kept_ = false;
};

}  // namespace mfl
