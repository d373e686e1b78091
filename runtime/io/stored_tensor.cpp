#include "runtime/io/stored_tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace mfl::io {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read without swapping");

std::size_t size_of(StoredType t) {
  switch (t) {
    case StoredType::f64:
    case StoredType::i64:
      return 8;
    case StoredType::f32:
    case StoredType::i32:
      return 4;
    case StoredType::bf16:
    case StoredType::f16:
    case StoredType::i16:
      return 2;
    case StoredType::i8:
    case StoredType::u8:
    case StoredType::boolean:
      return 1;
  }
  return 0;
}
const char* name_of(StoredType t) {
  switch (t) {
    case StoredType::f64:
      return "f64";
    case StoredType::f32:
      return "f32";
    case StoredType::bf16:
      return "bf16";
    case StoredType::f16:
      return "f16";
    case StoredType::i64:
      return "i64";
    case StoredType::i32:
      return "i32";
    case StoredType::i16:
      return "i16";
    case StoredType::i8:
      return "i8";
    case StoredType::u8:
      return "u8";
    case StoredType::boolean:
      return "bool";
  }
  return "?";
}
StoredType stored_type(DType t) {
  switch (t) {
    case DType::f64:
      return StoredType::f64;
    case DType::f32:
      return StoredType::f32;
    case DType::bf16:
      return StoredType::bf16;
    case DType::f16:
      return StoredType::f16;
    case DType::i64:
      return StoredType::i64;
    case DType::i32:
      return StoredType::i32;
    case DType::u8:
      return StoredType::u8;
  }
  return StoredType::u8;
}
DType loaded_type(StoredType t) {
  switch (t) {
    case StoredType::f64:
      return DType::f64;
    case StoredType::f32:
      return DType::f32;
    case StoredType::bf16:
      return DType::bf16;
    case StoredType::f16:
      return DType::f16;
    case StoredType::i64:
      return DType::i64;
    case StoredType::i32:
    case StoredType::i16:
    case StoredType::i8:
      return DType::i32;
    case StoredType::u8:
    case StoredType::boolean:
      return DType::u8;
  }
  return DType::u8;
}

bool StoredTensor::contiguous() const {
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && stride[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

Shape checked_shape(std::span<const std::int64_t> axes, std::string_view what) {
  if (axes.size() > static_cast<std::size_t>(Shape::kMaxRank))
    throw_error<DataError>(what, ": ", axes.size(), " axes, but a tensor here has at most ", int{Shape::kMaxRank}, ".");
  std::int64_t numel = 1;
  for (std::int64_t a : axes) {
    if (a < 0) throw_error<DataError>(what, ": an axis of ", a, " elements.");
    // An empty axis does not excuse the others: the product is taken without it.
    if (a != 0 && __builtin_mul_overflow(numel, a, &numel))
      throw_error<DataError>(what, ": the product of its axes does not fit in 64 bits.");
  }
  if (numel > std::numeric_limits<std::int64_t>::max() / 8)
    throw_error<DataError>(what, ": ", numel, " elements are more than any file holds.");
  return Shape(axes);
}

void check_inside(const StoredTensor& t, std::string_view what) {
  if (t.shape.rank() != t.stride.rank())
    throw_error<DataError>(what, ": ", t.shape.rank(), " axes but ", t.stride.rank(), " strides.");
  const std::int64_t have = t.storage->numel();
  if (t.offset < 0 || t.offset > have)
    throw_error<DataError>(what, ": starts at element ", t.offset, " of a storage of ", have, ".");
  std::int64_t last = t.offset;
  bool overflow = false;
  for (int i = 0; i < t.shape.rank(); ++i) {
    if (t.stride[i] < 0) throw_error<DataError>(what, ": stride ", t.stride[i], " is negative; strides here are not.");
    std::int64_t reach = 0;
    if (t.shape[i] > 0) overflow |= __builtin_mul_overflow(t.shape[i] - 1, t.stride[i], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
  }
  if (t.numel() == 0) return;
  if (overflow || last >= have)
    throw_error<DataError>(what, ": shape ", t.shape, " with strides ", t.stride, " from element ", t.offset,
                           " reaches beyond its storage of ", have, " elements.");
  if (t.numel() > have)
    throw_error<DataError>(what, ": shape ", t.shape, " repeats the ", have, " elements of its storage (an expanded ",
                           "tensor). Save a contiguous copy instead.");
}

namespace {

// ---- element types as they lie in files ----
struct Half {
  std::uint16_t bits;
};
double value_of(Half h) {
  const int exponent = (h.bits >> 10) & 31, mantissa = h.bits & 1023;
  const double sign = (h.bits & 0x8000) ? -1.0 : 1.0;
  if (exponent == 31)
    return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}
double value_of(bf16 x) { return static_cast<float>(x); }
template <class T>
T value_of(T x) {
  return x;
}

template <class F>
void with_source(StoredType t, F&& f) {
  switch (t) {
    case StoredType::f64:
      return f(double{});
    case StoredType::f32:
      return f(float{});
    case StoredType::bf16:
      return f(bf16{});
    case StoredType::f16:
      return f(Half{});
    case StoredType::i64:
      return f(std::int64_t{});
    case StoredType::i32:
      return f(std::int32_t{});
    case StoredType::i16:
      return f(std::int16_t{});
    case StoredType::i8:
      return f(std::int8_t{});
    case StoredType::u8:
    case StoredType::boolean:
      return f(std::uint8_t{});
  }
}
bool is_floating(StoredType t) {
  return t == StoredType::f64 || t == StoredType::f32 || t == StoredType::bf16 || t == StoredType::f16;
}

template <class To, class From>
void convert_run(const std::byte* from, To* to, std::size_t count, std::string_view what) {
  for (std::size_t i = 0; i < count; ++i) {
    From raw;
    std::memcpy(&raw, from + i * sizeof(From), sizeof(From));
    const auto v = value_of(raw);
    if constexpr (std::is_integral_v<To>) {
      if constexpr (std::is_integral_v<decltype(v)>) {
        if (!std::in_range<To>(v))
          throw_error<DataError>(what, ": the value ", static_cast<std::int64_t>(v), " does not fit in ",
                                 dtype_of<To>::value, ".");
        to[i] = static_cast<To>(v);
      }
    } else if constexpr (std::is_same_v<To, bf16>) {
      to[i] = bf16(static_cast<double>(v));
    } else {
      to[i] = static_cast<To>(v);
    }
  }
}

void convert(StoredType from_type, const std::byte* from, const View& to, std::int64_t first, std::size_t count,
             std::string_view what) {
  with_source(from_type, [&](auto from_tag) {
    using From = decltype(from_tag);
    switch (to.dtype) {
      case DType::f64:
        return convert_run<double, From>(from, to.as<double>() + first, count, what);
      case DType::f32:
        return convert_run<float, From>(from, to.as<float>() + first, count, what);
      case DType::bf16:
        return convert_run<bf16, From>(from, to.as<bf16>() + first, count, what);
      case DType::i64:
        return convert_run<std::int64_t, From>(from, to.as<std::int64_t>() + first, count, what);
      case DType::i32:
        return convert_run<std::int32_t, From>(from, to.as<std::int32_t>() + first, count, what);
      case DType::u8:
        return convert_run<std::uint8_t, From>(from, to.as<std::uint8_t>() + first, count, what);
      case DType::f16:
        break;
    }
  });
}

// [axes] with strides, axes that follow each other in memory joined.
struct Walk {
  int rank = 0;
  std::int64_t count[Shape::kMaxRank], stride[Shape::kMaxRank];
  explicit Walk(const StoredTensor& t) {
    for (int i = 0; i < t.shape.rank(); ++i) {
      if (rank > 0 && stride[rank - 1] == t.shape[i] * t.stride[i])
        count[rank - 1] *= t.shape[i], stride[rank - 1] = t.stride[i];
      else
        count[rank] = t.shape[i], stride[rank] = t.stride[i], ++rank;
    }
  }
};
template <std::size_t size>
void gather(const Walk& w, const std::byte* from, std::byte* to) {
  std::int64_t index[Shape::kMaxRank] = {}, start = 0;
  const std::int64_t inner = w.count[w.rank - 1], step = w.stride[w.rank - 1] * std::int64_t{size};
  for (;;) {
    const std::byte* p = from + start * std::int64_t{size};
    for (std::int64_t j = 0; j < inner; ++j, to += size, p += step) std::memcpy(to, p, size);
    int i = w.rank - 2;
    for (; i >= 0; --i) {
      start += w.stride[i];
      if (++index[i] < w.count[i]) break;
      start -= w.count[i] * w.stride[i];
      index[i] = 0;
    }
    if (i < 0) return;
  }
}

// A strided tensor's elements (at least one), one after another in row-major order.
void read_dense(const StoredTensor& t, std::byte* to) {
  const std::size_t size = size_of(t.type());
  std::int64_t reach = 1;
  for (int i = 0; i < t.shape.rank(); ++i) reach += (t.shape[i] - 1) * t.stride[i];
  std::vector<std::byte> from(static_cast<std::size_t>(reach) * size);
  t.storage->read(static_cast<std::uint64_t>(t.offset) * size, from);
  const Walk walk(t);
  if (walk.rank == 0) return std::memcpy(to, from.data(), size), void();
  switch (size) {
    case 1:
      return gather<1>(walk, from.data(), to);
    case 2:
      return gather<2>(walk, from.data(), to);
    case 4:
      return gather<4>(walk, from.data(), to);
    default:
      return gather<8>(walk, from.data(), to);
  }
}

class BytesStorage final : public Storage {
 public:
  BytesStorage(std::shared_ptr<const std::vector<std::byte>> bytes, StoredType type)
      : Storage(type, static_cast<std::int64_t>(bytes->size() / size_of(type))), bytes_(std::move(bytes)) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override {
    std::memcpy(into.data(), bytes_->data() + first, into.size());
  }

 private:
  std::shared_ptr<const std::vector<std::byte>> bytes_;
};

class ViewStorage final : public Storage {
 public:
  ViewStorage(ConstView v, Tensor held)
      : Storage(stored_type(v.dtype), v.numel()),
        data_(static_cast<const std::byte*>(v.data)),
        held_(std::move(held)) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override {
    std::memcpy(into.data(), data_ + first, into.size());
  }

 private:
  const std::byte* data_;
  Tensor held_;
};

class ProducedStorage final : public Storage {
 public:
  using Produce = std::function<void(std::uint64_t, std::span<std::byte>)>;
  ProducedStorage(StoredType type, std::int64_t numel, Produce produce)
      : Storage(type, numel), produce_(std::move(produce)) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override { produce_(first, into); }

 private:
  Produce produce_;
};

class GatheredStorage final : public Storage {
 public:
  explicit GatheredStorage(StoredTensor t) : Storage(t.type(), t.numel()), from_(std::move(t)) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override {
    if (dense_.empty()) {
      dense_.resize(static_cast<std::size_t>(bytes()));
      read_dense(from_, dense_.data());
    }
    std::memcpy(into.data(), dense_.data() + first, into.size());
    if (first + into.size() == bytes()) dense_ = {};
  }

 private:
  StoredTensor from_;
  mutable std::vector<std::byte> dense_;   // from the first read until the end was read
};

StoredTensor whole(std::shared_ptr<const Storage> storage, Shape shape) {
  return {std::move(storage), 0, shape, shape.row_major()};
}

}  // namespace

void read(const StoredTensor& t, View into, std::string_view what) {
  if (!(t.shape == into.shape))
    throw_error<DataError>(what, " has shape ", t.shape, " in the file, but ", into.shape, " is needed.");
  MFL_CHECK(into.device.is_cpu() && into.contiguous(), what, ": tensors are read into contiguous host memory");
  const bool same = into.dtype != DType::u8 ? stored_type(into.dtype) == t.type()
                                            : t.type() == StoredType::u8 || t.type() == StoredType::boolean;
  if (!same && (into.dtype == DType::f16 || (is_floating(t.type()) && !is_floating(stored_type(into.dtype)))))
    throw_error<DataError>(what, " is ", t.type(), " in the file and cannot be read as ", into.dtype, ".");
  check_inside(t, what);
  if (t.numel() == 0) return;

  if (t.contiguous()) {
    const std::size_t size = size_of(t.type());
    const std::uint64_t start = static_cast<std::uint64_t>(t.offset) * size;
    if (same) return t.storage->read(start, {static_cast<std::byte*>(into.data), static_cast<std::size_t>(t.bytes())});
    std::vector<std::byte> chunk(std::min<std::size_t>(t.bytes(), std::size_t{1} << 20));
    const auto per_chunk = static_cast<std::int64_t>(chunk.size() / size);
    for (std::int64_t i = 0; i < t.numel(); i += per_chunk) {
      const auto count = static_cast<std::size_t>(std::min(per_chunk, t.numel() - i));
      t.storage->read(start + static_cast<std::uint64_t>(i) * size, std::span(chunk).first(count * size));
      convert(t.type(), chunk.data(), into, i, count, what);
    }
    return;
  }
  if (same) return read_dense(t, static_cast<std::byte*>(into.data));
  std::vector<std::byte> dense(static_cast<std::size_t>(t.bytes()));
  read_dense(t, dense.data());
  convert(t.type(), dense.data(), into, 0, static_cast<std::size_t>(t.numel()), what);
}

void for_each_piece(const StoredTensor& t, std::string_view what,
                    const std::function<void(std::span<const std::byte>)>& take) {
  check_inside(t, what);
  if (t.numel() == 0) return;
  const std::size_t size = size_of(t.type());
  if (!t.contiguous()) {
    std::vector<std::byte> dense(static_cast<std::size_t>(t.bytes()));
    read_dense(t, dense.data());
    return take(dense);
  }
  std::vector<std::byte> piece(std::min<std::size_t>(t.bytes(), std::size_t{4} << 20));
  for (std::uint64_t at = 0; at < t.bytes(); at += piece.size()) {
    const auto part = std::span(piece).first(std::min<std::size_t>(piece.size(), t.bytes() - at));
    t.storage->read(static_cast<std::uint64_t>(t.offset) * size + at, part);
    take(part);
  }
}

Tensor load(const StoredTensor& t, DType dtype, std::string_view what) {
  check_inside(t, what);
  Tensor loaded = Tensor::on_heap(t.shape, dtype, kCpu, {"a tensor from a file"});
  read(t, loaded, what);
  return loaded;
}
Tensor load(const StoredTensor& t, std::string_view what) { return load(t, loaded_type(t.type()), what); }

StoredTensor stored(ConstView v) {
  MFL_CHECK(v.device.is_cpu() && v.contiguous(), "only contiguous host memory can be written to a file");
  return whole(std::make_shared<ViewStorage>(v, Tensor{}), v.shape);
}
StoredTensor stored(const Tensor& t) {
  const ConstView v = t;
  MFL_CHECK(v.device.is_cpu(), "only host memory can be written to a file");
  return whole(std::make_shared<ViewStorage>(v, t), v.shape);
}
StoredTensor stored(StoredType type, Shape shape, std::function<void(std::uint64_t, std::span<std::byte>)> produce) {
  return whole(std::make_shared<ProducedStorage>(type, shape.numel(), std::move(produce)), shape);
}
StoredTensor stored(std::shared_ptr<const std::vector<std::byte>> bytes, StoredType type, Shape shape) {
  MFL_CHECK(bytes->size() == static_cast<std::size_t>(shape.numel()) * size_of(type), bytes->size(), " bytes for ",
            shape, " of ", type);
  return whole(std::make_shared<BytesStorage>(std::move(bytes), type), shape);
}
StoredTensor stored(std::vector<std::byte> bytes, StoredType type, Shape shape) {
  return stored(std::make_shared<const std::vector<std::byte>>(std::move(bytes)), type, shape);
}
StoredTensor stored_scalar(float x) {
  std::vector<std::byte> bytes(sizeof x);
  std::memcpy(bytes.data(), &x, sizeof x);
  return stored(std::move(bytes), StoredType::f32, Shape{});
}
StoredTensor row_major(StoredTensor t) {
  check_inside(t, "a tensor to be written");
  if (t.contiguous() && t.numel() == t.storage->numel()) return t;
  const Shape shape = t.shape;
  return whole(std::make_shared<GatheredStorage>(std::move(t)), shape);
}

}  // namespace mfl::io
