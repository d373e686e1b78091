// Shapes: up to six axes, no heap. Negative indices count from the end.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "runtime/error.h"

namespace mfl {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> axes) : Shape(std::span(axes.begin(), axes.size())) {}
  explicit Shape(std::span<const std::int64_t> axes) {
    MFL_CHECK(axes.size() <= kMaxRank, "a shape has at most ", kMaxRank, " axes, got ", axes.size());
    for (std::int64_t a : axes) axes_[rank_++] = a;
  }

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return axes_[index(axis)]; }
  std::int64_t& operator[](int axis) { return axes_[index(axis)]; }
  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= axes_[i];
    return n;
  }
  // Every axis but the last, flattened. 1 for a scalar.
  std::int64_t rows() const { return rank_ == 0 ? 1 : (axes_[rank_ - 1] == 0 ? 0 : numel() / axes_[rank_ - 1]); }
  // Row-major strides in elements.
  Shape row_major() const {
    Shape s = *this;
    std::int64_t step = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      s.axes_[i] = step;
      step *= axes_[i];
    }
    return s;
  }
  const std::int64_t* begin() const { return axes_.data(); }
  const std::int64_t* end() const { return axes_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a.axes_[i] != b.axes_[i]) return false;
    return true;
  }
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '[';
    for (int i = 0; i < s.rank_; ++i) out << (i ? ", " : "") << s.axes_[i];
    return out << ']';
  }

 private:
  int index(int axis) const {
    const int i = axis < 0 ? axis + rank_ : axis;
    MFL_CHECK(i >= 0 && i < rank_, "axis ", axis, " of a shape with ", rank_, " axes");
    return i;
  }
  std::array<std::int64_t, kMaxRank> axes_{};
  int rank_ = 0;
};

}  // namespace mfl
