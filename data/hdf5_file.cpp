#include "data/hdf5_file.h"

#include <hdf5.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <mutex>
#include <utility>

#include "data/deflate.h"
#include "data/sha256.h"
#include "runtime/log.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFormatName = "mfl-views";
constexpr int kDeflateLevel = 6;
constexpr std::int64_t kMaxSide = 16384, kMaxViews = 4096, kMaxSamples = 100'000'000;

// The library is not thread-safe: every call happens under this lock.
std::mutex& library() {
  static std::mutex m;
  return m;
}
struct Lock : std::lock_guard<std::mutex> {
  Lock() : lock_guard(library()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }
};

// The library's own words for its last error, innermost first.
std::string library_text() {
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
template <> hid_t native_type<double>() { return H5T_NATIVE_DOUBLE; }
template <> hid_t native_type<float>() { return H5T_NATIVE_FLOAT; }
template <> hid_t native_type<std::int64_t>() { return H5T_NATIVE_INT64; }
template <> hid_t native_type<std::int32_t>() { return H5T_NATIVE_INT32; }
template <> hid_t native_type<std::uint8_t>() { return H5T_NATIVE_UINT8; }
template <class T> hid_t file_type();
template <> hid_t file_type<double>() { return H5T_IEEE_F64LE; }
template <> hid_t file_type<float>() { return H5T_IEEE_F32LE; }
template <> hid_t file_type<std::int64_t>() { return H5T_STD_I64LE; }
template <> hid_t file_type<std::int32_t>() { return H5T_STD_I32LE; }
template <> hid_t file_type<std::uint8_t>() { return H5T_STD_U8LE; }

using Dims = std::vector<hsize_t>;
std::string show(const Dims& d) {
  std::string s = "[";
  for (std::size_t i = 0; i < d.size(); ++i) s += text(i ? ", " : "", d[i]);
  return s + "]";
}
hsize_t count(const Dims& d) {
  hsize_t n = 1;
  for (hsize_t v : d) n *= v;
  return n;
}

Handle string_type(std::size_t size) {
  Handle t(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(t, std::max<std::size_t>(size, 1));
  H5Tset_strpad(t, H5T_STR_NULLPAD);
  H5Tset_cset(t, H5T_CSET_UTF8);
  return t;
}

// ---- writing; all under the lock ----

void require(bool good, const std::string& path, const char* what) {
  if (!good) throw_error<DataError>(path, ": cannot write ", what, ": ", library_text());
}

void write_attribute(hid_t object, const std::string& path, const char* name, hid_t type, const void* value) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle a(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  require(a >= 0 && H5Awrite(a, type, value) >= 0, path, name);
}
void write_attribute(hid_t object, const std::string& path, const char* name, const std::string& value) {
  write_attribute(object, path, name, string_type(value.size()), value.empty() ? "" : value.data());
}

// Tables are chunked by rows, deflated and checksummed.
void write_dataset(hid_t file, const std::string& path, const char* name, const Dims& dims, hid_t type, hid_t memory,
                   const void* data, const char* about) {
  const Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  Dims chunk = dims;
  const hsize_t row = count(dims) / dims[0] * H5Tget_size(type);
  chunk[0] = std::clamp<hsize_t>((1 << 20) / row, 1, dims[0]);
  H5Pset_chunk(create, static_cast<int>(chunk.size()), chunk.data());
  H5Pset_deflate(create, kDeflateLevel);
  H5Pset_fletcher32(create);
  const Handle link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(link, 1);
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  const Handle d(H5Dcreate2(file, name, type, space, link, create, H5P_DEFAULT), H5Dclose);
  require(d >= 0 && H5Dwrite(d, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, path, name);
  write_attribute(d, path, "about", about);
}
template <class T>
void write_table(hid_t file, const std::string& path, const char* name, const Dims& dims, const std::vector<T>& data,
                 const char* about) {
  MFL_CHECK(count(dims) == data.size(), name, ": ", data.size(), " values for ", show(dims));
  write_dataset(file, path, name, dims, file_type<T>(), native_type<T>(), data.data(), about);
}
void write_strings(hid_t file, const std::string& path, const char* name, const Dims& dims, const std::vector<std::string>& data,
                   const char* about) {
  MFL_CHECK(count(dims) == data.size(), name, ": ", data.size(), " texts for ", show(dims));
  std::size_t size = 1;
  for (const std::string& s : data) size = std::max(size, s.size());
  std::vector<char> flat(size * data.size(), 0);
  for (std::size_t i = 0; i < data.size(); ++i) std::memcpy(&flat[i * size], data[i].data(), data[i].size());
  const Handle type = string_type(size);
  write_dataset(file, path, name, dims, type, type, flat.data(), about);
}

// What the content hash covers of one view, in this order.
void hash_view(Sha256& h, const std::string& sample, const std::string& view, const Camera& c, const Hash& pixels) {
  h.add(sample).add("\0", 1).add(view).add("\0", 1);
  const double k[4] = {c.fx, c.fy, c.cx, c.cy};
  h.add(k, sizeof k).add(c.w2c.data(), sizeof c.w2c).add(pixels.data(), pixels.size());
}

struct PackedView {
  Hash hash;
  float foreground;
  std::vector<std::uint8_t> bytes;
};
PackedView pack_view(const Image& image) {
  const Image rgba = with_channels(image, 4);
  PackedView p;
  p.hash = Sha256().add(rgba.pixels.data(), rgba.pixels.size()).finish();
  p.foreground = static_cast<float>(foreground_share(rgba));
  p.bytes = deflate_zlib(rgba.pixels, kDeflateLevel);
  const std::uint32_t sum = fletcher32(p.bytes);
  for (int i = 0; i < 4; ++i) p.bytes.push_back(static_cast<std::uint8_t>(sum >> (8 * i)));
  return p;
}

}  // namespace

// ================================================================ writer

struct ViewWriter::Impl {
  std::string path, part;
  PackInfo info;
  Handle file, images;
  std::int64_t written = 0;
  bool finished = false, any_up = false, any_slot = false;
  Sha256 content;
  std::vector<std::string> sample_names, view_names;
  std::vector<double> k, w2c, warp, up;
  std::vector<std::int32_t> view_count, slots;
  std::vector<std::int64_t> raw_frame;
  std::vector<std::uint8_t> split, has_alpha, pixel_hash;
  std::vector<float> foreground;
};

ViewWriter::ViewWriter(const std::string& path, PackInfo info, bool overwrite) : impl_(new Impl) {
  Impl& w = *impl_;
  w.path = path, w.part = path + ".part", w.info = std::move(info);
  const PackInfo& i = w.info;
  if (i.samples < 1 || i.max_views < 1) throw_error<DataError>(path, ": there is nothing to pack");
  if (i.width < 1 || i.width > kMaxSide || i.height < 1 || i.height > kMaxSide || i.max_views > kMaxViews)
    throw_error<DataError>(path, ": ", i.max_views, " views of ", i.width, " x ", i.height, " are more than the format holds");
  if (!overwrite && fs::exists(path)) throw_error<DataError>(path, ": exists already. Remove it, or pass --overwrite");
  const Lock lock;
  w.file = Handle(H5Fcreate(w.part.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  require(w.file >= 0, w.part, "the file");
  const Dims dims{static_cast<hsize_t>(i.samples), static_cast<hsize_t>(i.max_views), static_cast<hsize_t>(i.height),
                  static_cast<hsize_t>(i.width), 4};
  const Dims chunk{1, 1, dims[2], dims[3], 4};
  const Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(create, 5, chunk.data());
  H5Pset_deflate(create, kDeflateLevel);
  H5Pset_fletcher32(create);
  const Handle space(H5Screate_simple(5, dims.data(), nullptr), H5Sclose);
  w.images = Handle(H5Dcreate2(w.file, "images", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT), H5Dclose);
  require(w.images >= 0, w.part, "/images");
  write_attribute(w.images, w.part, "about", "RGBA, straight alpha, not composited; views beyond /view_count have no chunk");
}

ViewWriter::~ViewWriter() {
  if (!impl_) return;
  {
    const Lock lock;
    impl_->images = {}, impl_->file = {};
  }
  std::error_code ignored;
  if (!impl_->finished) fs::remove(impl_->part, ignored);
}

void ViewWriter::add(const Sample& s) {
  Impl& w = *impl_;
  const int n = static_cast<int>(s.views.size()), most = w.info.max_views;
  if (w.written == w.info.samples) throw_error<DataError>(w.path, ": more samples than the ", w.info.samples, " announced");
  if (n < 1 || n > most)
    throw_error<DataError>(w.path, ": sample ", s.name, " has ", n, " views; from 1 to ", most, " were announced");
  for (const View& v : s.views) {
    if (v.image.width != w.info.width || v.image.height != w.info.height)
      throw_error<DataError>(w.path, ": sample ", s.name, ", view ", v.name, ": the image is ", v.image.width, " x ", v.image.height,
                             ", the file holds ", w.info.width, " x ", w.info.height, ". Pack with --image_size to resize");
    check_camera(v.camera, text(w.path, ": sample ", s.name, ", view ", v.name));
  }
  std::vector<PackedView> packed(n);
  std::vector<std::exception_ptr> errors(n);
#pragma omp parallel for schedule(dynamic, 1)
  for (int v = 0; v < n; ++v) {
    try {
      packed[v] = pack_view(s.views[v].image);
    } catch (...) {
      errors[v] = std::current_exception();
    }
  }
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);

  const Lock lock;
  bool alpha = false;
  for (int v = 0; v < most; ++v) {
    static const View kAbsent{};
    const View& view = v < n ? s.views[v] : kAbsent;
    const Camera& c = view.camera;
    w.view_names.push_back(view.name);
    w.k.insert(w.k.end(), {c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, v < n ? 1.0 : 0.0});
    w.w2c.insert(w.w2c.end(), c.w2c.begin(), c.w2c.end());
    w.warp.insert(w.warp.end(), view.warp.begin(), view.warp.end());
    w.slots.push_back(view.prompt_slot);
    w.any_slot |= view.prompt_slot >= 0;
    const Hash none{};
    const Hash& hash = v < n ? packed[v].hash : none;
    w.pixel_hash.insert(w.pixel_hash.end(), hash.begin(), hash.end());
    w.foreground.push_back(v < n ? packed[v].foreground : 0);
    if (v >= n) continue;
    alpha |= view.image.channels == 4;
    hash_view(w.content, s.name, view.name, c, hash);
    const hsize_t offset[5] = {static_cast<hsize_t>(w.written), static_cast<hsize_t>(v), 0, 0, 0};
    if (H5Dwrite_chunk(w.images, H5P_DEFAULT, 0, offset, packed[v].bytes.size(), packed[v].bytes.data()) < 0)
      throw_error<DataError>(w.part, ": sample ", s.name, ", view ", view.name, " cannot be written: ", library_text(),
                             ". Is the disk full?");
  }
  w.sample_names.push_back(s.name);
  w.view_count.push_back(n);
  w.raw_frame.push_back(s.raw_frame);
  w.split.push_back(static_cast<std::uint8_t>(s.split));
  w.has_alpha.push_back(alpha);
  w.any_up |= s.up.has_value();
  const Vec3 up = s.up.value_or(Vec3{});
  w.up.insert(w.up.end(), up.begin(), up.end());
  ++w.written;
}

void ViewWriter::finish() {
  Impl& w = *impl_;
  if (w.written != w.info.samples)
    throw_error<DataError>(w.path, ": ", w.written, " of ", w.info.samples, " announced samples were written");
  const hsize_t n = w.info.samples, v = w.info.max_views;
  {
    const Lock lock;
    const hid_t f = w.file;
    const std::string& p = w.part;
    write_strings(f, p, "sample_name", {n}, w.sample_names, "unique");
    write_strings(f, p, "view_name", {n, v}, w.view_names, "of the source file, without extension");
    write_table(f, p, "view_count", {n}, w.view_count, "views 0 .. view_count-1 of a sample exist");
    write_table(f, p, "cameras/K", {n, v, 3, 3}, w.k, "pixels of /images; (0, 0) is the corner of the first pixel");
    write_table(f, p, "cameras/w2c", {n, v, 4, 4}, w.w2c, "world to camera, OpenCV axes: x right, y down, z forward");
    write_table(f, p, "warp", {n, v, 3, 3}, w.warp, "homography from raw pixels to pixels of /images, corner convention");
    write_table(f, p, "raw_frame", {n}, w.raw_frame, "frame number in the recording; -1: none");
    write_table(f, p, "split", {n}, w.split, "0 train, 1 val, 2 test, 255 unassigned");
    write_table(f, p, "has_alpha", {n}, w.has_alpha, "0: the source had no alpha, and it is 255 here");
    write_table(f, p, "stats/foreground", {n, v}, w.foreground, "mean alpha, 0 to 1");
    write_table(f, p, "pixel_sha256", {n, v, 32}, w.pixel_hash, "SHA-256 of the RGBA bytes of a view");
    if (w.any_up) write_table(f, p, "cameras/up", {n, 3}, w.up, "measured up direction of the rig; 0 0 0: none");
    if (w.any_slot) write_table(f, p, "rig/prompt_slot", {n, v}, w.slots, "multi-view prompt of a view; -1: none");
    if (!w.info.ring_order.empty()) {
      const std::vector<std::int32_t> ring(w.info.ring_order.begin(), w.info.ring_order.end());
      write_table(f, p, "rig/ring_order", {ring.size()}, ring, "view indices in azimuth order");
    }
    write_strings(f, p, "recipe", {1}, {w.info.recipe}, "JSON: what made this file, from what, with which options");
    write_attribute(f, p, "format", kFormatName);
    const std::int32_t version = kFormatVersion;
    write_attribute(f, p, "content_sha256", hex(w.content.finish()));
    write_attribute(f, p, "version", H5T_NATIVE_INT32, &version);   // last: a file without it is not complete
    const bool flushed = H5Fflush(f, H5F_SCOPE_GLOBAL) >= 0;
    require(flushed, p, "to disk");
    w.images = {}, w.file = {};
  }
  { const ViewReader check(w.part); }
  std::error_code error;
  fs::rename(w.part, w.path, error);
  if (error) throw_error<DataError>(w.path, ": the finished file cannot be renamed: ", error.message());
  w.finished = true;
}

// ================================================================ reader

struct ViewReader::Impl {
  std::string given, path;
  Handle file, images;
  std::vector<H5Z_filter_t> filters;
  std::int64_t samples = 0;
  int max_views = 0, width = 0, height = 0;
  std::string recipe, content_hash;
  std::vector<int> ring_order;
  std::vector<std::int64_t> chosen;   // of the split: index in the file
  std::vector<std::string> sample_names, view_names;
  std::vector<Camera> cameras;
  std::vector<double> warp, up;
  std::vector<std::int32_t> view_count, slots;
  std::vector<std::int64_t> raw_frame;
  std::vector<std::uint8_t> split, has_alpha;
  std::vector<Hash> hashes;
  std::vector<float> foreground;

  std::int64_t row(std::int64_t sample) const {
    MFL_CHECK(sample >= 0 && sample < static_cast<std::int64_t>(chosen.size()), path, ": sample ", sample, " of ", chosen.size());
    return chosen[sample];
  }
  std::int64_t cell(std::int64_t sample, int view) const {
    const std::int64_t r = row(sample);
    if (view < 0 || view >= view_count[r])
      throw_error<DataError>(path, ": sample ", sample_names[r], " has ", view_count[r], " views; view ", view, " does not exist");
    return r * max_views + view;
  }
  std::string where(std::int64_t row, std::int64_t view) const {
    return text(path, ": sample ", sample_names[row], ", view ", view, " (", view_names[row * max_views + view], ")");
  }

  Handle open_table(const char* name, const Dims& dims) const {
    Handle d(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
    if (d < 0) throw_error<DataError>(path, ": the data set /", name, " is missing. Pack the data again");
    const Handle space(H5Dget_space(d), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space);
    Dims got(std::max(rank, 0));
    if (rank > 0) H5Sget_simple_extent_dims(space, got.data(), nullptr);
    if (got != dims) throw_error<DataError>(path, ": /", name, " must have the shape ", show(dims), ", got ", show(got));
    return d;
  }
  template <class T>
  std::vector<T> table(const char* name, const Dims& dims) const {
    const Handle d = open_table(name, dims);
    const Handle type(H5Dget_type(d), H5Tclose);
    const H5T_class_t kind = H5Tget_class(type), want = std::is_floating_point_v<T> ? H5T_FLOAT : H5T_INTEGER;
    if (kind != want) throw_error<DataError>(path, ": /", name, " holds the wrong type of value. Pack the data again");
    std::vector<T> v(count(dims));
    if (H5Dread(d, native_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, v.data()) < 0)
      throw_error<DataError>(path, ": /", name, " cannot be read: ", library_text(), ". The file is damaged: copy or pack it again");
    return v;
  }
  std::vector<std::string> strings(const char* name, const Dims& dims) const {
    const Handle d = open_table(name, dims);
    const Handle type(H5Dget_type(d), H5Tclose);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0)
      throw_error<DataError>(path, ": /", name, " must hold texts of fixed length. Pack the data again");
    const std::size_t size = H5Tget_size(type);
    if (size > (std::size_t{1} << 28) / std::max<hsize_t>(count(dims), 1) + (1 << 16))
      throw_error<DataError>(path, ": /", name, " is too large to be true. The file is damaged: copy or pack it again");
    std::vector<char> flat(size * count(dims));
    const Handle memory = string_type(size);
    if (H5Dread(d, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data()) < 0)
      throw_error<DataError>(path, ": /", name, " cannot be read: ", library_text(), ". The file is damaged: copy or pack it again");
    std::vector<std::string> v(count(dims));
    for (std::size_t i = 0; i < v.size(); ++i) v[i].assign(&flat[i * size], strnlen(&flat[i * size], size));
    return v;
  }
  bool has(const char* group, const char* name) const {
    return H5Lexists(file, group, H5P_DEFAULT) > 0 && H5Lexists(file, name, H5P_DEFAULT) > 0;
  }
  std::optional<std::string> text_attribute(const char* name) const {
    if (H5Aexists(file, name) <= 0) return {};
    const Handle a(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
    const Handle type(H5Aget_type(a), H5Tclose);
    const Handle space(H5Aget_space(a), H5Sclose);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || H5Sget_simple_extent_npoints(space) != 1) return {};
    std::string s(H5Tget_size(type), 0);
    if (s.size() > 4096 || H5Aread(a, string_type(s.size()), s.data()) < 0) return {};
    s.resize(strnlen(s.data(), s.size()));
    return s;
  }
  void open();
  void read_tables();
};

void ViewReader::Impl::open() {
  std::error_code error;
  if (!fs::exists(path, error)) throw_error<DataError>(path, ": does not exist. Make it with mfl_data pack");
  if (fs::is_directory(path, error))
    throw_error<DataError>(path, ": is a folder, not a packed file. Pack it: mfl_data pack ", path, " --output FILE.h5");
  if (H5Fis_hdf5(path.c_str()) <= 0)
    throw_error<DataError>(path, ": is no HDF5 file, or cannot be read. Pack the data with mfl_data pack");
  file = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (file < 0) throw_error<DataError>(path, ": cannot be opened: ", library_text(), ". Copy or pack the file again");
  const auto format = text_attribute("format");
  if (!format || *format != kFormatName)
    throw_error<DataError>(path, ": is an HDF5 file, but not a packed data set (attribute \"format\" is not \"", kFormatName,
                           "\"). Pack the data with mfl_data pack");
  if (H5Aexists(file, "version") <= 0)
    throw_error<DataError>(path, ": has no attribute \"version\": packing did not end. Pack the data again");
  std::int32_t version = 0;
  const Handle a(H5Aopen(file, "version", H5P_DEFAULT), H5Aclose);
  const Handle vspace(H5Aget_space(a), H5Sclose);
  if (H5Sget_simple_extent_npoints(vspace) != 1 || H5Aread(a, H5T_NATIVE_INT32, &version) < 0)
    throw_error<DataError>(path, ": the attribute \"version\" cannot be read: ", library_text());
  if (version != kFormatVersion)
    throw_error<DataError>(path, ": has format version ", version, "; this program reads version ", kFormatVersion,
                           ". Pack the data again with this program, or use the program that made it");
  if (has("input_images", "input_images"))
    throw_error<DataError>(path, ": holds separate input images, which this version does not train on");

  images = Handle(H5Dopen2(file, "images", H5P_DEFAULT), H5Dclose);
  if (images < 0) throw_error<DataError>(path, ": the data set /images is missing. Pack the data again");
  const Handle space(H5Dget_space(images), H5Sclose);
  hsize_t dims[5] = {}, chunk[5] = {};
  if (H5Sget_simple_extent_ndims(space) != 5)
    throw_error<DataError>(path, ": /images must have the axes sample, view, row, column, RGBA. Pack the data again");
  H5Sget_simple_extent_dims(space, dims, nullptr);
  const Handle type(H5Dget_type(images), H5Tclose);
  if (H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) != 1 || dims[4] != 4 || dims[0] < 1 ||
      dims[0] > static_cast<hsize_t>(kMaxSamples) || dims[1] < 1 || dims[1] > static_cast<hsize_t>(kMaxViews) || dims[2] < 1 ||
      dims[2] > static_cast<hsize_t>(kMaxSide) || dims[3] < 1 || dims[3] > static_cast<hsize_t>(kMaxSide))
    throw_error<DataError>(path, ": /images must hold bytes [sample, view, row, column, 4], got ",
                           show(Dims(dims, dims + 5)), ". Pack the data again");
  samples = static_cast<std::int64_t>(dims[0]), max_views = static_cast<int>(dims[1]);
  height = static_cast<int>(dims[2]), width = static_cast<int>(dims[3]);
  const Handle create(H5Dget_create_plist(images), H5Pclose);
  if (H5Pget_layout(create) != H5D_CHUNKED || H5Pget_chunk(create, 5, chunk) != 5 || chunk[0] != 1 || chunk[1] != 1 ||
      chunk[2] != dims[2] || chunk[3] != dims[3] || chunk[4] != 4)
    throw_error<DataError>(path, ": /images must have one chunk a view, [1, 1, ", height, ", ", width,
                           ", 4]. Restore it with h5repack, or pack the data again");
  for (int i = 0; i < H5Pget_nfilters(create); ++i) {
    unsigned flags = 0, config = 0;
    std::size_t none = 0;
    const H5Z_filter_t id = H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &none, nullptr, 0, nullptr, &config);
    if (id != H5Z_FILTER_DEFLATE && id != H5Z_FILTER_FLETCHER32 && id != H5Z_FILTER_SHUFFLE)
      throw_error<DataError>(path, ": /images is stored with HDF5 filter ", id,
                             "; only deflate, shuffle and fletcher32 are read. Restore it with h5repack");
    filters.push_back(id);   // shuffle does nothing to single bytes
  }
  read_tables();
}

void ViewReader::Impl::read_tables() {
  const hsize_t n = samples, v = max_views;
  sample_names = strings("sample_name", {n});
  view_names = strings("view_name", {n, v});
  view_count = table<std::int32_t>("view_count", {n});
  const auto k = table<double>("cameras/K", {n, v, 3, 3}), w2c = table<double>("cameras/w2c", {n, v, 4, 4});
  warp = table<double>("warp", {n, v, 3, 3});
  raw_frame = table<std::int64_t>("raw_frame", {n});
  split = table<std::uint8_t>("split", {n});
  has_alpha = table<std::uint8_t>("has_alpha", {n});
  foreground = table<float>("stats/foreground", {n, v});
  const auto hash_bytes = table<std::uint8_t>("pixel_sha256", {n, v, 32});
  if (has("cameras", "cameras/up")) up = table<double>("cameras/up", {n, 3});
  if (has("rig", "rig/prompt_slot")) slots = table<std::int32_t>("rig/prompt_slot", {n, v});
  if (has("rig", "rig/ring_order")) {
    const Handle d(H5Dopen2(file, "rig/ring_order", H5P_DEFAULT), H5Dclose);
    const Handle space(H5Dget_space(d), H5Sclose);
    const hssize_t length = H5Sget_simple_extent_npoints(space);
    if (length < 1 || length > max_views) throw_error<DataError>(path, ": /rig/ring_order must hold at most ", max_views, " views");
    for (std::int32_t i : table<std::int32_t>("rig/ring_order", {static_cast<hsize_t>(length)})) ring_order.push_back(i);
  }
  recipe = strings("recipe", {1})[0];
  content_hash = text_attribute("content_sha256").value_or("");
  if (content_hash.size() != 64) throw_error<DataError>(path, ": the attribute \"content_sha256\" is missing. Pack the data again");

  cameras.resize(n * v), hashes.resize(n * v);
  for (std::int64_t s = 0; s < samples; ++s) {
    if (view_count[s] < 1 || view_count[s] > max_views)
      throw_error<DataError>(path, ": sample ", sample_names[s], " claims ", view_count[s], " views; the file has room for ",
                             max_views, ". Pack the data again");
    for (int i = 0; i < view_count[s]; ++i) {
      const std::int64_t at = s * max_views + i;
      Camera& c = cameras[at];
      const double* m = &k[9 * at];
      c.width = width, c.height = height;
      c.fx = m[0], c.cx = m[2], c.fy = m[4], c.cy = m[5];
      std::copy_n(&w2c[16 * at], 16, c.w2c.begin());
      if (m[1] != 0 || m[3] != 0 || m[6] != 0 || m[7] != 0 || m[8] != 1)
        throw_error<DataError>(where(s, i), ": K must be fx 0 cx, 0 fy cy, 0 0 1; a skew must be removed by warping the image");
      check_camera(c, where(s, i));
      std::copy_n(&hash_bytes[32 * at], 32, hashes[at].begin());
    }
  }
}

ViewReader::ViewReader(const std::string& given) : impl_(new Impl) {
  Impl& r = *impl_;
  r.given = r.path = given;
  std::optional<Split> wanted;
  for (const auto& [suffix, split] : {std::pair{"#train", Split::train}, std::pair{"#val", Split::val}, std::pair{"#test", Split::test}})
    if (given.ends_with(suffix)) r.path = given.substr(0, given.size() - std::strlen(suffix)), wanted = split;
  const Lock lock;
  try {
    r.open();
  } catch (...) {
    r.images = {}, r.file = {};   // while the lock is held
    throw;
  }
  for (std::int64_t s = 0; s < r.samples; ++s)
    if (!wanted || r.split[s] == static_cast<std::uint8_t>(*wanted)) r.chosen.push_back(s);
  if (r.chosen.empty())
    throw_error<DataError>(given, ": no sample belongs to this split. mfl_data info ", r.path, " shows the splits");
}
ViewReader::~ViewReader() {
  const Lock lock;
  impl_->images = {}, impl_->file = {};
}

const std::string& ViewReader::path() const { return impl_->given; }
std::int64_t ViewReader::size() const { return static_cast<std::int64_t>(impl_->chosen.size()); }
int ViewReader::max_views() const { return impl_->max_views; }
int ViewReader::width() const { return impl_->width; }
int ViewReader::height() const { return impl_->height; }
const std::vector<int>& ViewReader::ring_order() const { return impl_->ring_order; }
const std::string& ViewReader::recipe() const { return impl_->recipe; }
const std::string& ViewReader::content_hash() const { return impl_->content_hash; }
const std::string& ViewReader::sample_name(std::int64_t s) const { return impl_->sample_names[impl_->row(s)]; }
int ViewReader::views(std::int64_t s) const { return impl_->view_count[impl_->row(s)]; }
const std::string& ViewReader::view_name(std::int64_t s, int v) const { return impl_->view_names[impl_->cell(s, v)]; }
const Camera& ViewReader::camera(std::int64_t s, int v) const { return impl_->cameras[impl_->cell(s, v)]; }
bool ViewReader::has_alpha(std::int64_t s) const { return impl_->has_alpha[impl_->row(s)] != 0; }
std::int64_t ViewReader::file_index(std::int64_t s) const { return impl_->row(s); }
std::int64_t ViewReader::raw_frame(std::int64_t s) const { return impl_->raw_frame[impl_->row(s)]; }
Split ViewReader::split(std::int64_t s) const { return static_cast<Split>(impl_->split[impl_->row(s)]); }
std::optional<Vec3> ViewReader::up(std::int64_t s) const {
  if (impl_->up.empty()) return {};
  const double* u = &impl_->up[3 * impl_->row(s)];
  if (u[0] == 0 && u[1] == 0 && u[2] == 0) return {};
  return Vec3{u[0], u[1], u[2]};
}
int ViewReader::prompt_slot(std::int64_t s, int v) const { return impl_->slots.empty() ? -1 : impl_->slots[impl_->cell(s, v)]; }
std::array<double, 9> ViewReader::warp(std::int64_t s, int v) const {
  std::array<double, 9> h;
  std::copy_n(&impl_->warp[9 * impl_->cell(s, v)], 9, h.begin());
  return h;
}
float ViewReader::foreground(std::int64_t s, int v) const { return impl_->foreground[impl_->cell(s, v)]; }
const Hash& ViewReader::pixel_hash(std::int64_t s, int v) const { return impl_->hashes[impl_->cell(s, v)]; }

void ViewReader::read_raw(std::int64_t sample, int view, RawView& raw) const {
  const Impl& r = *impl_;
  r.cell(sample, view);
  const std::int64_t row = r.row(sample);
  const hsize_t offset[5] = {static_cast<hsize_t>(row), static_cast<hsize_t>(view), 0, 0, 0};
  const hsize_t plain = hsize_t{4} * r.width * r.height;
  const Lock lock;
  hsize_t bytes = 0;
  if (H5Dget_chunk_storage_size(r.images, offset, &bytes) < 0)
    throw_error<DataError>(r.where(row, view), ": cannot be found: ", library_text(), ". The file is damaged: copy or pack it again");
  if (bytes == 0) throw_error<DataError>(r.where(row, view), ": the image is missing. Pack the data again");
  if (bytes > plain + plain / 8 + 1024)
    throw_error<DataError>(r.where(row, view), ": claims ", bytes, " bytes, more than its pixels need. The file is damaged: copy or pack it again");
  raw.bytes.resize(bytes);
  if (H5Dread_chunk(r.images, H5P_DEFAULT, offset, &raw.filter_mask, raw.bytes.data()) < 0)
    throw_error<DataError>(r.where(row, view), ": cannot be read: ", library_text(),
                           ". The file is cut short or damaged: copy or pack it again");
}

Image ViewReader::decode(std::int64_t sample, int view, const RawView& raw) const {
  const Impl& r = *impl_;
  const std::int64_t row = r.row(sample);
  const auto damaged = [&](const char* why) {
    throw_error<DataError>(r.where(row, view), ": ", why, ". The file is damaged: copy or pack it again; mfl_data verify checks all of it");
  };
  Image image(r.width, r.height, 4);
  const auto applied = [&](std::size_t i) { return (raw.filter_mask >> i & 1) == 0; };
  std::span<const std::uint8_t> bytes = raw.bytes;
  std::vector<std::uint8_t> between;
  bool inflated = false;
  for (std::size_t i = r.filters.size(); i-- > 0;) {
    if (!applied(i)) continue;
    if (r.filters[i] == H5Z_FILTER_FLETCHER32) {
      if (bytes.size() < 4) damaged("the image is too short for its checksum");
      const auto tail = bytes.last(4);
      bytes = bytes.first(bytes.size() - 4);
      const std::uint32_t stored = tail[0] | tail[1] << 8 | tail[2] << 16 | std::uint32_t{tail[3]} << 24;
      if (fletcher32(bytes) != stored) damaged("the image's checksum is wrong");
    } else if (r.filters[i] == H5Z_FILTER_DEFLATE) {
      if (inflated) damaged("the image is compressed twice");
      std::size_t size = image.pixels.size();
      for (std::size_t j = 0; j < i; ++j)
        if (r.filters[j] == H5Z_FILTER_FLETCHER32 && applied(j)) size += 4;
      if (size != image.pixels.size()) between.resize(size);
      const std::span<std::uint8_t> out = between.empty() ? std::span(image.pixels) : std::span(between);
      if (!inflate_zlib(bytes, out)) damaged("the image's compressed bytes are wrong");
      bytes = out, inflated = true;
    }
  }
  if (bytes.size() != image.pixels.size()) damaged("the image has the wrong number of bytes");
  if (bytes.data() != image.pixels.data()) std::copy(bytes.begin(), bytes.end(), image.pixels.begin());
  return image;
}

Image ViewReader::read(std::int64_t sample, int view) const {
  RawView raw;
  read_raw(sample, view, raw);
  return decode(sample, view, raw);
}

Sample ViewReader::sample(std::int64_t index) const {
  Sample s;
  s.name = sample_name(index);
  s.raw_frame = raw_frame(index), s.split = split(index), s.up = up(index);
  for (int v = 0; v < views(index); ++v) {
    View view;
    view.name = view_name(index, v), view.camera = camera(index, v), view.warp = warp(index, v);
    view.prompt_slot = prompt_slot(index, v);
    view.image = read(index, v);
    if (!has_alpha(index)) view.image = with_channels(view.image, 3);
    s.views.push_back(std::move(view));
  }
  return s;
}

std::int64_t verify_file(const std::string& path, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const ViewReader reader(path);
  Sha256 content;
  std::int64_t views = 0;
  std::vector<RawView> raw(reader.max_views());
  for (std::int64_t s = 0; s < reader.size(); ++s) {
    const int n = reader.views(s);
    for (int v = 0; v < n; ++v) reader.read_raw(s, v, raw[v]);
    std::vector<std::exception_ptr> errors(n);
#pragma omp parallel for schedule(dynamic, 1)
    for (int v = 0; v < n; ++v) {
      try {
        const Image image = reader.decode(s, v, raw[v]);
        if (Sha256().add(image.pixels.data(), image.pixels.size()).finish() != reader.pixel_hash(s, v))
          throw_error<DataError>(path, ": sample ", reader.sample_name(s), ", view ", v, " (", reader.view_name(s, v),
                                 "): the pixels are not those that were packed. Pack the data again");
      } catch (...) {
        errors[v] = std::current_exception();
      }
    }
    for (int v = 0; v < n; ++v) {
      if (errors[v]) std::rethrow_exception(errors[v]);
      hash_view(content, reader.sample_name(s), reader.view_name(s, v), reader.camera(s, v), reader.pixel_hash(s, v));
    }
    views += n;
    if (progress) progress(s + 1, reader.size());
  }
  if (hex(content.finish()) != reader.content_hash())
    throw_error<DataError>(path, ": names, cameras or pixels are not those that were packed (content hash). Pack the data again");
  return views;
}

}  // namespace mfl::data
