// What the reader and the writer of packed files share: the HDF5 library with lifetimes, under one lock. Internal.
#pragma once

#include <hdf5.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/hdf5_file.h"
#include "data/sha256.h"
#include "runtime/error.h"

namespace mfl::data::h5 {

inline constexpr const char* kFormatName = "mfl-views";
inline constexpr std::int64_t kMaxSide = 16384, kMaxViews = 4096, kMaxSamples = 100'000'000;

// The library is not thread-safe: every call happens under this lock.
inline std::mutex& library() {
  static std::mutex m;
  return m;
}
struct Lock : std::lock_guard<std::mutex> {
  Lock() : lock_guard(library()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }
};

// The library's own words for its last error, innermost first.
inline std::string library_text() {
  std::string found;
  const auto visit = [](unsigned, const H5E_error2_t* e, void* to) -> herr_t {
    if (e->desc) *static_cast<std::string*>(to) = e->desc;
    return 1;   // stops at the first: the innermost
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &found);
  return found.empty() ? "no reason given" : found;
}

class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(Handle&& o) noexcept : id_(std::exchange(o.id_, -1)), close_(o.close_) {}
  Handle& operator=(Handle&& o) noexcept {
    std::swap(id_, o.id_), std::swap(close_, o.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

template <class T> hid_t native_type();
template <> inline hid_t native_type<double>() { return H5T_NATIVE_DOUBLE; }
template <> inline hid_t native_type<float>() { return H5T_NATIVE_FLOAT; }
template <> inline hid_t native_type<std::int64_t>() { return H5T_NATIVE_INT64; }
template <> inline hid_t native_type<std::int32_t>() { return H5T_NATIVE_INT32; }
template <> inline hid_t native_type<std::uint8_t>() { return H5T_NATIVE_UINT8; }
template <class T> hid_t file_type();
template <> inline hid_t file_type<double>() { return H5T_IEEE_F64LE; }
template <> inline hid_t file_type<float>() { return H5T_IEEE_F32LE; }
template <> inline hid_t file_type<std::int64_t>() { return H5T_STD_I64LE; }
template <> inline hid_t file_type<std::int32_t>() { return H5T_STD_I32LE; }
template <> inline hid_t file_type<std::uint8_t>() { return H5T_STD_U8LE; }

using Dims = std::vector<hsize_t>;
inline std::string show(const Dims& d) {
  std::string s = "[";
  for (std::size_t i = 0; i < d.size(); ++i) s += text(i ? ", " : "", d[i]);
  return s + "]";
}
inline hsize_t count(const Dims& d) {
  hsize_t n = 1;
  for (hsize_t v : d) n *= v;
  return n;
}

inline Handle string_type(std::size_t size) {
  Handle t(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(t, std::max<std::size_t>(size, 1));
  H5Tset_strpad(t, H5T_STR_NULLPAD);
  H5Tset_cset(t, H5T_CSET_UTF8);
  return t;
}

// What the content hash covers of one view, in this order. `low`: of a 16-bit view.
inline void hash_view(Sha256& h, const std::string& sample, const std::string& view, const Camera& c, Role role, const Hash& pixels,
                      const Hash* low) {
  h.add(sample).add("\0", 1).add(view).add("\0", 1);
  const double k[4] = {c.fx, c.fy, c.cx, c.cy};
  h.add(k, sizeof k).add(c.w2c.data(), sizeof c.w2c).add(pixels.data(), pixels.size());
  if (low) h.add(low->data(), low->size());
  if (role != Role::both) h.add(name_of(role));
}

}  // namespace mfl::data::h5
