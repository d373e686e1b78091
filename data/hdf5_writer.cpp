// The writer of packed files.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <set>

#include "data/deflate.h"
#include "data/hdf5_tools.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/io_remedy.h"
#include "runtime/io/sole_writer.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
using namespace h5;
constexpr int kDeflateLevel = 6;

// All under the lock.

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

std::vector<std::uint8_t> chunk_of(const std::vector<std::uint8_t>& pixels) {
  std::vector<std::uint8_t> bytes = deflate_zlib(pixels, kDeflateLevel);
  const std::uint32_t sum = fletcher32(bytes);
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(sum >> (8 * i)));
  return bytes;
}

// Centroid and box of a mask, where nobody measured them.
void measure(const Image& rgba, ViewStats& s) {
  double mass = 0, x_sum = 0, y_sum = 0;
  int box[4] = {rgba.width, rgba.height, 0, 0};
  for (int y = 0; y < rgba.height; ++y)
    for (int x = 0; x < rgba.width; ++x) {
      const int a = rgba.row(y)[4 * x + 3];
      mass += a, x_sum += a * (x + 0.5), y_sum += a * (y + 0.5);
      if (a < 128) continue;
      box[0] = std::min(box[0], x), box[1] = std::min(box[1], y), box[2] = std::max(box[2], x + 1), box[3] = std::max(box[3], y + 1);
    }
  if (mass > 0 && std::isnan(s.centroid[0]))
    s.centroid[0] = static_cast<float>(x_sum / mass), s.centroid[1] = static_cast<float>(y_sum / mass);
  if (box[2] > 0 && std::isnan(s.box[0])) std::copy_n(box, 4, s.box);
}

struct PackedView {
  Hash hash{}, low_hash{};
  float foreground = 0;
  ViewStats stats;
  std::vector<std::uint8_t> bytes, low_bytes;
};
PackedView pack_view(const View& v) {
  const Image rgba = with_channels(v.image, 4);
  PackedView p;
  p.hash = Sha256().add(rgba.pixels.data(), rgba.pixels.size()).finish();
  p.foreground = static_cast<float>(foreground_share(rgba));
  p.stats = v.stats;
  if (v.image.channels == 4) measure(rgba, p.stats);
  p.bytes = chunk_of(rgba.pixels);
  if (!v.low.empty()) {
    Image low(v.image.width, v.image.height, v.image.channels);
    low.pixels = v.low;
    low = with_channels(low, 4);
    p.low_hash = Sha256().add(low.pixels.data(), low.pixels.size()).finish();
    p.low_bytes = chunk_of(low.pixels);
  }
  return p;
}

}  // namespace


struct ViewWriter::Impl {
  std::string path, part;
  std::unique_ptr<io::SoleWriter> sole;   // nobody else writes this file meanwhile
  PackInfo info;
  Handle file, images, low_images;
  std::int64_t written = 0;
  bool finished = false;
  Sha256 content;
  std::set<std::string> names;

  // One entry a sample, or a view; absent views have zeros. A table that says nothing is not written.
  std::vector<std::string> sample_names, view_names;
  std::vector<std::int64_t> raw_frame;
  std::vector<std::int32_t> view_count, recording, slots;
  std::vector<std::uint8_t> split, has_alpha, role, channels, bits, pixel_hash, low_hash;
  std::vector<double> up, raw_to_world, k, w2c, warp, zoom, raw_k, raw_w2c;
  std::vector<float> foreground, slot_error, centroid, box, clipped, hull_iou, centroid_error;
  bool any_up = false, any_recording = false, any_world = false, any_slot = false, any_role = false, any_zoom = false, any_raw = false,
       any_low = false;

  Handle make_images(const char* name, const char* about) const;
  void put(std::int64_t view, hid_t images, const std::vector<std::uint8_t>& bytes, const Sample&, const View&) const;
};

// Images: one chunk a view.
Handle ViewWriter::Impl::make_images(const char* name, const char* about) const {
  const Dims dims{static_cast<hsize_t>(info.samples), static_cast<hsize_t>(info.max_views), static_cast<hsize_t>(info.height),
                  static_cast<hsize_t>(info.width), 4};
  const Dims chunk{1, 1, dims[2], dims[3], 4};
  const Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(create, 5, chunk.data());
  H5Pset_deflate(create, kDeflateLevel);
  H5Pset_fletcher32(create);
  const Handle space(H5Screate_simple(5, dims.data(), nullptr), H5Sclose);
  Handle images(H5Dcreate2(file, name, H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT), H5Dclose);
  require(images >= 0, part, name);
  write_attribute(images, part, "about", about);
  return images;
}

void ViewWriter::Impl::put(std::int64_t view, hid_t to, const std::vector<std::uint8_t>& bytes, const Sample& s, const View& v) const {
  const hsize_t offset[5] = {static_cast<hsize_t>(written), static_cast<hsize_t>(view), 0, 0, 0};
  if (H5Dwrite_chunk(to, H5P_DEFAULT, 0, offset, bytes.size(), bytes.data()) < 0)
    throw_error<DataError>(part, ": sample ", s.name, ", view ", v.name, " cannot be written: ", library_text(), ". Is the disk full?");
}

ViewWriter::ViewWriter(const std::string& path, PackInfo info, bool overwrite) : impl_(new Impl) {
  Impl& w = *impl_;
  w.path = path, w.part = path + ".part", w.info = std::move(info);
  const PackInfo& i = w.info;
  if (i.samples < 1 || i.max_views < 1) throw_error<DataError>(path, ": there is nothing to pack");
  if (i.width < 1 || i.width > kMaxSide || i.height < 1 || i.height > kMaxSide || i.max_views > kMaxViews)
    throw_error<DataError>(path, ": ", i.max_views, " views of ", i.width, " x ", i.height, " are more than the format holds");
  if (!overwrite && fs::exists(path)) throw_error<DataError>(path, ": exists already. Remove it, or pass --overwrite");
  w.sole = io::SoleWriter::of_file(path, "mfl_data");
  const Lock lock;
  // HDF5 1.10's own format: its metadata have checksums, which the reader insists on.
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
  w.file = Handle(H5Fcreate(w.part.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose);
  require(w.file >= 0, w.part, "the file");
  w.images = w.make_images("images", "RGBA, straight alpha, not composited; views beyond /view_count have no chunk");
}

ViewWriter::~ViewWriter() {
  if (!impl_) return;
  {
    const Lock lock;
    impl_->images = {}, impl_->low_images = {}, impl_->file = {};
  }
  std::error_code ignored;
  if (!impl_->finished) fs::remove(impl_->part, ignored);
}

void ViewWriter::add(const Sample& s) {
  Impl& w = *impl_;
  const int n = static_cast<int>(s.views.size()), most = w.info.max_views;
  const std::string here = text(w.path, ": sample ", s.name);
  if (w.written == w.info.samples) throw_error<DataError>(w.path, ": more samples than the ", w.info.samples, " announced");
  if (n < 1 || n > most) throw_error<DataError>(here, " has ", n, " views; from 1 to ", most, " were announced");
  if (s.name.empty()) throw_error<DataError>(w.path, ": sample ", w.written, " has no name");
  if (!w.names.insert(s.name).second) throw_error<DataError>(here, " comes twice; names must tell samples apart");
  if (s.recording < -1 || s.recording >= static_cast<int>(w.info.recordings.size()))
    throw_error<DataError>(here, " is of recording ", s.recording, ", of ", w.info.recordings.size(), " announced");
  std::set<std::pair<Role, std::string>> view_names;
  for (const View& v : s.views) {
    if (v.image.width != w.info.width || v.image.height != w.info.height)
      throw_error<DataError>(here, ", view ", v.name, ": the image is ", v.image.width, " x ", v.image.height, ", the file holds ",
                             w.info.width, " x ", w.info.height, ". Pack with --image_size to resize");
    MFL_CHECK(v.low.empty() || v.low.size() == v.image.pixels.size(), here, ", view ", v.name, ": ", v.low.size(), " low bytes for ",
              v.image.pixels.size(), " high ones");
    check_camera(v.camera, text(here, ", view ", v.name));
    if (v.name.empty() || !view_names.insert({v.role, v.name}).second)
      throw_error<DataError>(here, ": the view name \"", v.name, "\" is empty or comes twice; names must tell views apart");
  }
  std::vector<PackedView> packed(n);
  std::vector<std::exception_ptr> errors(n);
#pragma omp parallel for schedule(dynamic, 1)
  for (int v = 0; v < n; ++v) {
    try {
      packed[v] = pack_view(s.views[v]);
    } catch (...) {
      errors[v] = std::current_exception();
    }
  }
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);

  const Lock lock;
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), std::begin(from), std::end(from)); };
  bool alpha = false;
  for (int v = 0; v < n; ++v) {
    const View& view = s.views[v];
    const PackedView& p = packed[v];
    const bool wide = !view.low.empty();
    alpha |= view.image.channels == 4;
    hash_view(w.content, s.name, view.name, view.camera, view.role, p.hash, wide ? &p.low_hash : nullptr);
    w.put(v, w.images, p.bytes, s, view);
    if (wide && !w.any_low)
      w.low_images = w.make_images("low_images", "low bytes of 16-bit sources, whose high bytes are /images; a chunk only where /source_bits is 16");
    if (wide) w.any_low = true, w.put(v, w.low_images, p.low_bytes, s, view);
  }
  for (int v = 0; v < most; ++v) {
    static const View kAbsent = [] {
      View none;
      none.zoom = 0;
      none.warp = {};
      return none;
    }();
    static const PackedView kNothing{};
    static const SourceCamera kNoCamera{{}, {}};
    const bool there = v < n;
    const View& view = there ? s.views[v] : kAbsent;
    const PackedView& p = there ? packed[v] : kNothing;
    const Camera& c = view.camera;
    const SourceCamera& raw = view.raw ? *view.raw : kNoCamera;
    w.view_names.push_back(view.name);
    append(w.k, std::array{c.fx, 0.0, c.cx, 0.0, c.fy, c.cy, 0.0, 0.0, there ? 1.0 : 0.0});
    append(w.w2c, c.w2c), append(w.warp, view.warp);
    append(w.raw_k, raw.k), append(w.raw_w2c, raw.w2c);
    w.zoom.push_back(view.zoom);
    w.slots.push_back(view.prompt_slot), w.slot_error.push_back(view.slot_error);
    w.role.push_back(static_cast<std::uint8_t>(view.role));
    w.channels.push_back(static_cast<std::uint8_t>(view.image.channels));
    w.bits.push_back(!there ? 0 : view.low.empty() ? 8 : 16);
    append(w.pixel_hash, p.hash), append(w.low_hash, p.low_hash);
    w.foreground.push_back(p.foreground);
    append(w.centroid, p.stats.centroid), append(w.box, p.stats.box);
    w.clipped.push_back(p.stats.clipped), w.hull_iou.push_back(p.stats.hull_iou), w.centroid_error.push_back(p.stats.centroid_error);
    w.any_slot |= view.prompt_slot >= 0, w.any_role |= view.role != Role::both, w.any_raw |= view.raw.has_value();
    w.any_zoom |= there && view.zoom != 1;
  }
  w.sample_names.push_back(s.name);
  w.view_count.push_back(n);
  w.raw_frame.push_back(s.raw_frame);
  w.recording.push_back(s.recording);
  w.split.push_back(static_cast<std::uint8_t>(s.split));
  w.has_alpha.push_back(alpha);
  append(w.up, s.up.value_or(Vec3{}));
  append(w.raw_to_world, s.raw_to_world.value_or(Mat4{}));
  w.any_up |= s.up.has_value(), w.any_world |= s.raw_to_world.has_value(), w.any_recording |= s.recording >= 0;
  ++w.written;
}

void ViewWriter::finish() {
  Impl& w = *impl_;
  const PackInfo& info = w.info;
  if (w.written != info.samples) throw_error<DataError>(w.path, ": ", w.written, " of ", info.samples, " announced samples were written");
  const hsize_t n = info.samples, v = info.max_views;
  {
    const Lock lock;
    const hid_t f = w.file;
    const std::string& p = w.part;
    const auto known = [](const std::vector<float>& t) { return std::any_of(t.begin(), t.end(), [](float x) { return !std::isnan(x); }); };
    const auto stats = [&](const char* name, const Dims& dims, const std::vector<float>& t, const char* about) {
      if (known(t)) write_table(f, p, name, dims, t, about);
    };
    write_strings(f, p, "sample_name", {n}, w.sample_names, "unique");
    write_strings(f, p, "view_name", {n, v}, w.view_names, "of the source file, without extension");
    write_table(f, p, "view_count", {n}, w.view_count, "views 0 .. view_count-1 of a sample exist");
    if (w.any_role) write_table(f, p, "view_role", {n, v}, w.role, "0: input and target, 1: input only, 2: target only");
    write_table(f, p, "cameras/K", {n, v, 3, 3}, w.k, "pixels of /images; (0, 0) is the corner of the first pixel");
    write_table(f, p, "cameras/w2c", {n, v, 4, 4}, w.w2c, "world to camera, OpenCV axes: x right, y down, z forward");
    if (w.any_up) write_table(f, p, "cameras/up", {n, 3}, w.up, "measured up direction of the rig; 0 0 0: none");
    write_table(f, p, "warp", {n, v, 3, 3}, w.warp, "homography from raw pixels to pixels of /images, corner convention");
    if (w.any_zoom) write_table(f, p, "zoom", {n, v}, w.zoom, "magnification on top of the canonical focal length; K has it already");
    if (w.any_raw) {
      write_table(f, p, "raw/K", {n, v, 3, 3}, w.raw_k, "calibration of the raw frame, corner convention, with skew; zeros: none");
      write_table(f, p, "raw/w2c", {n, v, 4, 4}, w.raw_w2c, "calibration of the raw frame, in the recording's unit; zeros: none");
    }
    if (w.any_world) write_table(f, p, "raw/to_world", {n, 4, 4}, w.raw_to_world, "similarity from the recording's world to that of /cameras");
    write_table(f, p, "raw_frame", {n}, w.raw_frame, "frame number in the recording; -1: none");
    if (w.any_recording) write_table(f, p, "recording", {n}, w.recording, "row of /recordings; -1: none");
    if (const hsize_t r = info.recordings.size()) {
      std::vector<std::string> names;
      std::vector<std::int64_t> frames, jumps;
      std::vector<double> rates;
      for (hsize_t i = 0; i < r; ++i) {
        const RecordingInfo& one = info.recordings[i];
        names.push_back(one.name), frames.push_back(one.frames), rates.push_back(one.rate);
        for (std::int64_t j : one.jumps) jumps.push_back(static_cast<std::int64_t>(i)), jumps.push_back(j);
      }
      write_strings(f, p, "recordings/name", {r}, names, "of each recording");
      write_table(f, p, "recordings/frames", {r}, frames, "length; 0: unknown");
      write_table(f, p, "recordings/rate", {r}, rates, "frames a second; 0: unknown");
      if (!jumps.empty())
        write_table(f, p, "recordings/jumps", {jumps.size() / 2, 2}, jumps, "recording, first frame after a jump in time; ascending");
    }
    write_table(f, p, "split", {n}, w.split, "0 train, 1 val, 2 test, 255 unassigned");
    write_table(f, p, "has_alpha", {n}, w.has_alpha, "0: the source had no alpha, and it is 255 here");
    write_table(f, p, "source_channels", {n, v}, w.channels, "of the source image: 1 grey, 3 RGB, 4 RGBA");
    write_table(f, p, "source_bits", {n, v}, w.bits, "a channel of the source image: 8, or 16 with the low bytes in /low_images");
    write_table(f, p, "pixel_sha256", {n, v, 32}, w.pixel_hash, "SHA-256 of the RGBA bytes of a view in /images");
    if (w.any_low) write_table(f, p, "low_sha256", {n, v, 32}, w.low_hash, "SHA-256 of the RGBA bytes of a view in /low_images");
    write_table(f, p, "stats/foreground", {n, v}, w.foreground, "mean alpha, 0 to 1");
    stats("stats/centroid", {n, v, 2}, w.centroid, "of alpha: x, y in pixels; NaN: not known");
    stats("stats/box", {n, v, 4}, w.box, "of alpha >= 128: left, top, right, bottom in pixels; NaN: not known");
    stats("stats/clipped", {n, v}, w.clipped, "share of the mask's outline on the image's edge; NaN: not known");
    stats("stats/hull_iou", {n, v}, w.hull_iou, "of the visual hull drawn into the view with the mask; NaN: not known");
    stats("stats/centroid_error", {n, v}, w.centroid_error, "pixels from the triangulated mask centroid to the mask's; NaN: not known");
    if (w.any_slot) {
      write_table(f, p, "rig/prompt_slot", {n, v}, w.slots, "multi-view prompt of a view; -1: none");
      stats("rig/slot_error", {n, v}, w.slot_error, "degrees from the camera's direction to its slot's; NaN: not known");
    }
    if (!info.slot_names.empty()) write_strings(f, p, "rig/slot_name", {info.slot_names.size()}, info.slot_names, "of each prompt slot");
    if (!info.ring_order.empty()) {
      const std::vector<std::int32_t> ring(info.ring_order.begin(), info.ring_order.end());
      write_table(f, p, "rig/ring_order", {ring.size()}, ring, "view indices in azimuth order");
    }
    write_strings(f, p, "recipe", {1}, {info.recipe}, "JSON: what made this file, from what, with which options");
    write_attribute(f, p, "format", kFormatName);
    const std::int32_t version = kFormatVersion;
    write_attribute(f, p, "content_sha256", hex(w.content.finish()));
    write_attribute(f, p, "version", H5T_NATIVE_INT32, &version);   // last: a file without it is not complete
    const bool flushed = H5Fflush(f, H5F_SCOPE_GLOBAL) >= 0;
    require(flushed, p, "to disk");
    w.images = {}, w.low_images = {}, w.file = {};
  }
  { const ViewReader check(w.part); }
  io::sync_file(w.part);
  std::error_code error;
  fs::rename(w.part, w.path, error);
  if (error) throw_error<DataError>(w.path, ": the finished file cannot be renamed: ", error.message(), ".", io::io_remedy(error.value()));
  io::sync_folder(fs::path(w.path).has_parent_path() ? fs::path(w.path).parent_path() : fs::path("."));
  w.finished = true;
}

}  // namespace mfl::data
