#include "runtime/tensor.h"

#include "runtime/backend.h"

namespace mfl {

void Tensor::reset() noexcept {
  if (!block_) return;
  if (kept_) --block_->kept;
  kept_ = false;
  if (--block_->refs == 0) block_->release(block_);
  block_ = nullptr;
}

Tensor Tensor::on_heap(Shape shape, DType dtype, Device device, Purpose purpose) {
  auto* block = new detail::Block;
  block->bytes = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  block->device = device;
  block->purpose = purpose;
  block->release = [](detail::Block* b) noexcept {
    backend::deallocate(b->device, b->data);
    delete b;
  };
  try {
    block->data = backend::allocate(device, block->bytes);
  } catch (...) {
    delete block;
    throw;
  }
  return Tensor(block, shape, dtype);
}

Tensor Tensor::pinned(Shape shape, DType dtype, Purpose purpose, Device seen_by) {
  auto* block = new detail::Block;
  block->bytes = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  block->device = seen_by;
  block->purpose = purpose;
  block->release = [](detail::Block* b) noexcept {
    backend::deallocate_pinned(b->data);
    delete b;
  };
  try {
    block->data = backend::allocate_pinned(block->bytes);
  } catch (...) {
    delete block;
    throw;
  }
  return Tensor(block, shape, dtype);
}

Tensor Tensor::reshape(Shape shape) const {
  MFL_CHECK(shape.numel() == numel(), "reshape: ", shape_, " has another number of elements than ", shape);
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::rows(std::int64_t first, std::int64_t count) const {
  MFL_CHECK(shape_.rank() > 0 && first >= 0 && count >= 0 && first + count <= shape_[0], "rows: ", first, " to ",
            first + count, " of ", shape_);
  Tensor t = *this;
  t.shape_[0] = count;
  const std::int64_t row = shape_[0] ? numel() / shape_[0] : 0;
  t.offset_ += first * row * static_cast<std::int64_t>(size_of(dtype_));
  return t;
}

Tensor Tensor::kept() const {
  Tensor t = *this;
  if (t.block_) {
    t.kept_ = true;
    ++t.block_->kept;
  }
  return t;
}

Tensor::operator View() const {
  if (!block_) return {};
  MFL_CHECK(block_->kept == 0, "a tensor of ", shape_, " (", block_->purpose.what,
            ") is kept for backward and may not be written");
  return make_view(address(), shape_, dtype_, block_->device);
}

Tensor::operator ConstView() const {
  if (!block_) return {};
  return make_view(static_cast<const void*>(address()), shape_, dtype_, block_->device);
}

}  // namespace mfl
