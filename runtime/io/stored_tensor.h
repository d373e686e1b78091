// A tensor inside a file, not yet read: what every reader of weights hands out and every writer takes.
//
// A checkpoint is gigabytes, so opening one reads only its index. `read` brings one tensor into memory: it honours
// offset and strides (files hold kernels in Fortran order and several tensors in one storage) and converts the element
// type.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor.h"

namespace mfl::io {

// Element types of files: those of DType, and what appears only in files.
enum class StoredType : std::uint8_t { f64, f32, bf16, f16, i64, i32, i16, i8, u8, boolean };
std::size_t size_of(StoredType);
const char* name_of(StoredType);
inline std::ostream& operator<<(std::ostream& out, StoredType t) { return out << name_of(t); }
StoredType stored_type(DType);
// The type that a tensor is loaded as when no other is asked for: itself; i16 and i8 become i32, boolean becomes u8.
DType loaded_type(StoredType);

// A run of elements somewhere: a record of a file, memory, a device. Little-endian.
class Storage {
 public:
  virtual ~Storage() = default;
  StoredType type() const { return type_; }
  std::int64_t numel() const { return numel_; }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(numel_) * size_of(type_); }
  // Bytes [first, first + into.size()) of the storage. Throws DataError where the file is damaged.
  virtual void read(std::uint64_t first, std::span<std::byte> into) const = 0;

 protected:
  Storage(StoredType type, std::int64_t numel) : type_(type), numel_(numel) {}

 private:
  StoredType type_;
  std::int64_t numel_;
};

struct StoredTensor {
  std::shared_ptr<const Storage> storage;
  std::int64_t offset = 0;  // elements
  Shape shape;
  Shape stride;  // elements, not negative

  StoredType type() const { return storage->type(); }
  std::int64_t numel() const { return shape.numel(); }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(numel()) * size_of(type()); }
  bool contiguous() const;
};
struct NamedStored {
  std::string name;
  StoredTensor tensor;
};
// A tensor in memory under its checkpoint name.
struct NamedTensor {
  std::string name;
  Tensor value;
};

// Number of elements of a foreign shape. Throws DataError for more than Shape::kMaxRank axes, a negative axis or a
// product that does not fit; `what` begins the message.
Shape checked_shape(std::span<const std::int64_t> axes, std::string_view what);
// Throws DataError unless every element lies inside the storage and there are no more elements than the storage has.
void check_inside(const StoredTensor&, std::string_view what);

// Into a contiguous host view of the same number of axes and sizes. Floating types convert among each other (round to
// nearest even), integers and booleans among each other (a value that does not fit is a DataError) and to floating
// types; floating to integer is refused. `what` names the tensor in messages.
void read(const StoredTensor&, View into, std::string_view what);
// Into fresh host memory, as loaded_type or as asked.
Tensor load(const StoredTensor&, std::string_view what);
Tensor load(const StoredTensor&, DType, std::string_view what);

// The bytes in row-major order, a piece at a time, in the file's own type.
void for_each_piece(const StoredTensor&, std::string_view what, const std::function<void(std::span<const std::byte>)>&);

// Something to write: a contiguous host view, whose memory must live until it is written.
StoredTensor stored(ConstView);
// A host tensor, held. Tensor handles belong to one thread: for a writer on another thread pass views.
StoredTensor stored(const Tensor&);
// Bytes that are made when they are written, front to back (a copy from a device through a staging buffer, for
// example).
StoredTensor stored(StoredType, Shape, std::function<void(std::uint64_t first, std::span<std::byte>)> produce);
// Owned bytes: scalars, small foreign arrays.
StoredTensor stored(std::vector<std::byte>, StoredType, Shape);
StoredTensor stored(std::shared_ptr<const std::vector<std::byte>>, StoredType, Shape);
StoredTensor stored_scalar(float);
// The same elements as a row-major tensor of its own storage: gathered when it is read, front to back. A file of torch.save
// keeps storages and strides as they are, and would take along all that a strided tensor does not show.
StoredTensor row_major(StoredTensor);

}  // namespace mfl::io
