#include "train/host_memory.h"

#include "runtime/backend.h"

namespace mfl {

Tensor on_host_for(Device device, Shape shape, DType dtype, Purpose purpose) {
  if (!device.is_cuda()) return Tensor::on_heap(shape, dtype, device, purpose);
  auto* block = new detail::Block;
  block->bytes = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  block->device = device;
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

}  // namespace mfl
