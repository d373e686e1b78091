// The reader of packed files, and of lists of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "data/deflate.h"
#include "data/hdf5_tools.h"
#include "data/list_file.h"
#include "data/recipe.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
using namespace h5;

// Images stored one chunk a view.
struct Plane {
  Handle images;
  std::vector<H5Z_filter_t> filters;
};

// One file, opened and checked. Everything but the pixels is in memory.
struct OpenFile : PackedFile {
  Handle file;
  Plane high, low;
  std::vector<std::string> sample_names, view_names;
  std::vector<Camera> cameras;
  std::vector<std::int64_t> raw_frame;
  std::vector<std::int32_t> view_count, slots, recording;
  std::vector<std::uint8_t> split, has_alpha, role, channels, bits;
  std::vector<double> warp, up, zoom, raw_k, raw_w2c, raw_to_world;
  std::vector<float> foreground, slot_error, centroid, box, clipped, hull_iou, centroid_error;
  std::vector<Hash> hashes, low_hashes;

  explicit OpenFile(const std::string& path);   // under the lock
  ~OpenFile() {                                 // the last use of a reader may be anywhere: takes the lock
    const Lock lock;
    close();
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  std::int64_t cell(std::int64_t row, int view) const {
    if (view < 0 || view >= view_count[row])
      throw_error<DataError>(path, ": sample ", sample_names[row], " has ", view_count[row], " views; view ", view, " does not exist");
    return row * max_views + view;
  }
  std::string where(std::int64_t row, std::int64_t view) const {
    return text(path, ": sample ", sample_names[row], ", view ", view, " (", view_names[row * max_views + view], ")");
  }
  void read_raw(const Plane&, std::int64_t row, int view, RawView& raw) const;
  void decode(const Plane&, std::int64_t row, int view, const RawView& raw, std::span<std::uint8_t> pixels) const;
  std::size_t view_bytes() const { return std::size_t{4} * width * height; }

 private:
  void close() { high.images = {}, low.images = {}, file = {}; }
  void open();
  Plane open_plane(const char* name, bool first);
  void read_tables();
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
  // Length of a table of one row an entry, 0 where there is none; -1: not a table.
  std::int64_t rows(const char* name, std::int64_t most) const {
    const Handle d(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
    if (d < 0) return 0;
    const Handle space(H5Dget_space(d), H5Sclose);
    hsize_t dims[H5S_MAX_RANK] = {};
    if (H5Sget_simple_extent_ndims(space) < 1) throw_error<DataError>(path, ": /", name, " must be a table. Pack the data again");
    H5Sget_simple_extent_dims(space, dims, nullptr);
    if (dims[0] > static_cast<hsize_t>(most))
      throw_error<DataError>(path, ": /", name, " must have at most ", most, " rows, got ", dims[0], ". Pack the data again");
    return static_cast<std::int64_t>(dims[0]);
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
};

// The byte after the signature, at 0 or behind a user block of 512, 1024, 2048, ... bytes; -1: no HDF5 file.
int superblock_version(const std::string& path) {
  static constexpr char kSignature[] = "\x89HDF\r\n\x1a\n";
  std::ifstream in(path, std::ios::binary);
  char head[9];
  for (std::int64_t at = 0; in.seekg(at).read(head, sizeof head); at = at ? 2 * at : 512)
    if (std::memcmp(head, kSignature, 8) == 0) return static_cast<std::uint8_t>(head[8]);
  return -1;
}

void OpenFile::open() {
  std::error_code error;
  if (!fs::exists(path, error)) {
    const std::string text(path), file = text.substr(0, text.rfind('#'));
    if (file != text && fs::exists(file, error)) throw_error<DataError>(path, ": a split is #train, #val or #test");
    throw_error<DataError>(path, ": does not exist. Make it with mfl_data pack");
  }
  if (fs::is_directory(path, error))
    throw_error<DataError>(path, ": is a folder, not a packed file. Pack it: mfl_data pack ", path, " --output FILE.h5");
  if (H5Fis_hdf5(path.c_str()) <= 0)
    throw_error<DataError>(path, ": is no HDF5 file, or cannot be read. Pack the data with mfl_data pack");
  // Before the library parses anything: files of the older layout carry no checksums over their structure, and the library
  // reads beyond its buffers on damaged ones.
  if (superblock_version(path) < 2)
    throw_error<DataError>(path, ": is in the layout of HDF5 before 1.8, without checksums over its structure. If it is a packed data set, convert it: h5repack -L ", path,
                           " NEW.h5 (from Python: h5py.File(..., libver=\"latest\"))");
  file = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (file < 0) throw_error<DataError>(path, ": cannot be opened: ", library_text(), ". Copy or pack the file again");
  const auto format = text_attribute("format");
  if (!format || *format != kFormatName)
    throw_error<DataError>(path, ": is an HDF5 file, but not a packed data set (attribute \"format\" is not \"", kFormatName,
                           "\"). Pack the data with mfl_data pack");
  if (H5Aexists(file, "version") <= 0)
    throw_error<DataError>(path, ": has no attribute \"version\": packing did not end. Pack the data again");
  std::int32_t stored = 0;
  const Handle a(H5Aopen(file, "version", H5P_DEFAULT), H5Aclose);
  const Handle vspace(H5Aget_space(a), H5Sclose);
  if (H5Sget_simple_extent_npoints(vspace) != 1 || H5Aread(a, H5T_NATIVE_INT32, &stored) < 0)
    throw_error<DataError>(path, ": the attribute \"version\" cannot be read: ", library_text());
  version = stored;
  if (version < 1 || version > kFormatVersion)
    throw_error<DataError>(path, ": has format version ", version, "; this program reads versions 1 to ", kFormatVersion,
                           ". Pack the data again with this program, or use the program that made it");
  high = open_plane("images", true);
  if (H5Lexists(file, "low_images", H5P_DEFAULT) > 0) low = open_plane("low_images", false);
  read_tables();
}

Plane OpenFile::open_plane(const char* name, bool first) {
  Plane plane;
  Handle& images = plane.images;
  images = Handle(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
  if (images < 0) throw_error<DataError>(path, ": the data set /", name, " is missing. Pack the data again");
  const Handle space(H5Dget_space(images), H5Sclose);
  hsize_t dims[5] = {}, chunk[5] = {};
  if (H5Sget_simple_extent_ndims(space) != 5)
    throw_error<DataError>(path, ": /", name, " must have the axes sample, view, row, column, RGBA. Pack the data again");
  H5Sget_simple_extent_dims(space, dims, nullptr);
  const Handle type(H5Dget_type(images), H5Tclose);
  if (H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) != 1 || dims[4] != 4 || dims[0] < 1 ||
      dims[0] > static_cast<hsize_t>(kMaxSamples) || dims[1] < 1 || dims[1] > static_cast<hsize_t>(kMaxViews) || dims[2] < 1 ||
      dims[2] > static_cast<hsize_t>(kMaxSide) || dims[3] < 1 || dims[3] > static_cast<hsize_t>(kMaxSide))
    throw_error<DataError>(path, ": /", name, " must hold bytes [sample, view, row, column, 4], got ",
                           show(Dims(dims, dims + 5)), ". Pack the data again");
  if (first) {
    samples = static_cast<std::int64_t>(dims[0]), max_views = static_cast<int>(dims[1]);
    height = static_cast<int>(dims[2]), width = static_cast<int>(dims[3]);
  } else if (Dims(dims, dims + 5) != Dims{static_cast<hsize_t>(samples), static_cast<hsize_t>(max_views), static_cast<hsize_t>(height),
                                          static_cast<hsize_t>(width), 4}) {
    throw_error<DataError>(path, ": /", name, " must have the shape of /images. Pack the data again");
  }
  const Handle create(H5Dget_create_plist(images), H5Pclose);
  if (H5Pget_layout(create) != H5D_CHUNKED || H5Pget_chunk(create, 5, chunk) != 5 || chunk[0] != 1 || chunk[1] != 1 ||
      chunk[2] != dims[2] || chunk[3] != dims[3] || chunk[4] != 4)
    throw_error<DataError>(path, ": /", name, " must have one chunk a view, [1, 1, ", height, ", ", width,
                           ", 4]. Restore it with h5repack, or pack the data again");
  for (int i = 0; i < H5Pget_nfilters(create); ++i) {
    unsigned flags = 0, config = 0;
    std::size_t none = 0;
    const H5Z_filter_t id = H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &none, nullptr, 0, nullptr, &config);
    if (id != H5Z_FILTER_DEFLATE && id != H5Z_FILTER_FLETCHER32 && id != H5Z_FILTER_SHUFFLE)
      throw_error<DataError>(path, ": /", name, " is stored with HDF5 filter ", id,
                             "; only deflate, shuffle and fletcher32 are read. Restore it with h5repack");
    plane.filters.push_back(id);   // shuffle does nothing to single bytes
  }
  return plane;
}

void OpenFile::read_tables() {
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
  if (version >= 2) {
    channels = table<std::uint8_t>("source_channels", {n, v});
    bits = table<std::uint8_t>("source_bits", {n, v});
  }
  const auto optional = [&]<class T>(std::vector<T>& to, const char* group, const char* name, const Dims& dims) {
    if (has(group, name)) to = table<T>(name, dims);
  };
  optional(role, "view_role", "view_role", {n, v});
  optional(up, "cameras", "cameras/up", {n, 3});
  optional(zoom, "zoom", "zoom", {n, v});
  optional(raw_k, "raw", "raw/K", {n, v, 3, 3});
  optional(raw_w2c, "raw", "raw/w2c", {n, v, 4, 4});
  optional(raw_to_world, "raw", "raw/to_world", {n, 4, 4});
  optional(slots, "rig", "rig/prompt_slot", {n, v});
  optional(slot_error, "rig", "rig/slot_error", {n, v});
  optional(centroid, "stats", "stats/centroid", {n, v, 2});
  optional(box, "stats", "stats/box", {n, v, 4});
  optional(clipped, "stats", "stats/clipped", {n, v});
  optional(hull_iou, "stats", "stats/hull_iou", {n, v});
  optional(centroid_error, "stats", "stats/centroid_error", {n, v});
  optional(recording, "recording", "recording", {n});
  if (raw_k.empty() != raw_w2c.empty()) throw_error<DataError>(path, ": of /raw/K and /raw/w2c one is missing. Pack the data again");

  if (has("rig", "rig/ring_order"))
    for (std::int32_t i : table<std::int32_t>("rig/ring_order", {static_cast<hsize_t>(rows("rig/ring_order", max_views))})) {
      if (i < 0 || i >= max_views) throw_error<DataError>(path, ": /rig/ring_order names view ", i, " of ", max_views);
      ring_order.push_back(i);
    }
  if (has("rig", "rig/slot_name")) slot_names = strings("rig/slot_name", {static_cast<hsize_t>(rows("rig/slot_name", kMaxViews))});
  if (has("recordings", "recordings/name")) {
    const hsize_t r = static_cast<hsize_t>(rows("recordings/name", 1'000'000));
    const auto names = strings("recordings/name", {r});
    const auto frames = table<std::int64_t>("recordings/frames", {r});
    const auto rates = table<double>("recordings/rate", {r});
    for (hsize_t i = 0; i < r; ++i) recordings.push_back({names[i], frames[i], rates[i], {}});
    if (has("recordings", "recordings/jumps")) {
      const hsize_t j = static_cast<hsize_t>(rows("recordings/jumps", 10'000'000));
      const auto jumps = table<std::int64_t>("recordings/jumps", {j, 2});
      for (hsize_t i = 0; i < j; ++i) {
        const std::int64_t of = jumps[2 * i], frame = jumps[2 * i + 1];
        if (of < 0 || of >= static_cast<std::int64_t>(r) || (!recordings[of].jumps.empty() && recordings[of].jumps.back() >= frame))
          throw_error<DataError>(path, ": /recordings/jumps must name recordings 0 to ", r, " and ascending frames; row ", i, " is wrong");
        recordings[of].jumps.push_back(frame);
      }
    }
  }
  for (std::int32_t r : recording)
    if (r < -1 || r >= static_cast<std::int32_t>(recordings.size()))
      throw_error<DataError>(path, ": /recording names recording ", r, " of ", recordings.size(), ". Pack the data again");
  recipe = strings("recipe", {1})[0];
  content_hash = text_attribute("content_sha256").value_or("");
  if (content_hash.size() != 64) throw_error<DataError>(path, ": the attribute \"content_sha256\" is missing. Pack the data again");

  cameras.resize(n * v), hashes.resize(n * v);
  bool wide = false;
  std::set<std::string> names;
  for (std::int64_t s = 0; s < samples; ++s) {
    if (!names.insert(sample_names[s]).second)
      throw_error<DataError>(path, ": the sample name ", sample_names[s], " comes twice. Pack the data again");
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
      if (!role.empty() && role[at] > 2) throw_error<DataError>(where(s, i), ": the role must be 0, 1 or 2, got ", int{role[at]});
      if (version < 2) continue;
      if ((channels[at] != 1 && channels[at] != 3 && channels[at] != 4) || (bits[at] != 8 && bits[at] != 16))
        throw_error<DataError>(where(s, i), ": the source had ", int{channels[at]}, " channels of ", int{bits[at]},
                               " bits; 1, 3 or 4 of 8 or 16 are possible. Pack the data again");
      wide |= bits[at] == 16;
    }
  }
  if (wide) {
    if (low.images < 0) throw_error<DataError>(path, ": the data set /low_images is missing. Pack the data again");
    const auto bytes = table<std::uint8_t>("low_sha256", {n, v, 32});
    low_hashes.resize(n * v);
    for (std::size_t i = 0; i < low_hashes.size(); ++i) std::copy_n(&bytes[32 * i], 32, low_hashes[i].begin());
  }
}

OpenFile::OpenFile(const std::string& given) {
  path = given;
  try {
    open();
  } catch (...) {
    close();   // while the lock is held
    throw;
  }
}

void OpenFile::read_raw(const Plane& plane, std::int64_t row, int view, RawView& raw) const {
  const hsize_t offset[5] = {static_cast<hsize_t>(row), static_cast<hsize_t>(view), 0, 0, 0};
  const hsize_t plain = hsize_t{4} * width * height;
  const Lock lock;
  hsize_t bytes = 0;
  if (H5Dget_chunk_storage_size(plane.images, offset, &bytes) < 0)
    throw_error<DataError>(where(row, view), ": cannot be found: ", library_text(), ". The file is damaged: copy or pack it again");
  if (bytes == 0) throw_error<DataError>(where(row, view), ": the image is missing. Pack the data again");
  if (bytes > plain + plain / 8 + 1024)
    throw_error<DataError>(where(row, view), ": claims ", bytes, " bytes, more than its pixels need. The file is damaged: copy or pack it again");
  raw.bytes.resize(bytes);
  if (H5Dread_chunk(plane.images, H5P_DEFAULT, offset, &raw.filter_mask, raw.bytes.data()) < 0)
    throw_error<DataError>(where(row, view), ": cannot be read: ", library_text(),
                           ". The file is cut short or damaged: copy or pack it again");
}

void OpenFile::decode(const Plane& plane, std::int64_t row, int view, const RawView& raw, std::span<std::uint8_t> pixels) const {
  const auto damaged = [&](const char* why) {
    throw_error<DataError>(where(row, view), ": ", why, ". The file is damaged: copy or pack it again; mfl_data verify checks all of it");
  };
  MFL_CHECK(pixels.size() == view_bytes(), path, ": room for ", pixels.size(), " bytes of ", view_bytes());
  const auto applied = [&](std::size_t i) { return (raw.filter_mask >> i & 1) == 0; };
  std::span<const std::uint8_t> bytes = raw.bytes;
  std::vector<std::uint8_t> between;
  bool inflated = false;
  for (std::size_t i = plane.filters.size(); i-- > 0;) {
    if (!applied(i)) continue;
    if (plane.filters[i] == H5Z_FILTER_FLETCHER32) {
      if (bytes.size() < 4) damaged("the image is too short for its checksum");
      const auto tail = bytes.last(4);
      bytes = bytes.first(bytes.size() - 4);
      const std::uint32_t stored = tail[0] | tail[1] << 8 | tail[2] << 16 | std::uint32_t{tail[3]} << 24;
      if (fletcher32(bytes) != stored) damaged("the image's checksum is wrong");
    } else if (plane.filters[i] == H5Z_FILTER_DEFLATE) {
      if (inflated) damaged("the image is compressed twice");
      std::size_t size = pixels.size();
      for (std::size_t j = 0; j < i; ++j)
        if (plane.filters[j] == H5Z_FILTER_FLETCHER32 && applied(j)) size += 4;
      if (size != pixels.size()) between.resize(size);
      const std::span<std::uint8_t> out = between.empty() ? pixels : std::span(between);
      if (!inflate_zlib(bytes, out)) damaged("the image's compressed bytes are wrong");
      bytes = out, inflated = true;
    }
  }
  if (bytes.size() != pixels.size()) damaged("the image has the wrong number of bytes");
  if (bytes.data() != pixels.data()) std::copy(bytes.begin(), bytes.end(), pixels.begin());
}

// Which file and row a sample is.
struct Place {
  int file = 0;
  std::int64_t row = 0;
};

constexpr std::pair<const char*, Split> kSplits[] = {{"#train", Split::train}, {"#val", Split::val}, {"#test", Split::test}};

// `path` without its #split, which goes to `split`.
std::string without_split(const std::string& given, std::optional<Split>& split) {
  for (const auto& [suffix, value] : kSplits)
    if (given.ends_with(suffix)) {
      split = value;
      return given.substr(0, given.size() - std::strlen(suffix));
    }
  return given;
}

}  // namespace

struct ViewReader::Impl {
  std::string given, content_hash;
  std::vector<std::unique_ptr<OpenFile>> files;
  std::vector<std::int64_t> first;    // of each file: number of samples of those before it
  std::vector<Place> chosen;
  std::vector<std::string> names;     // of the chosen
  int max_views = 0;
  bool separate = false;

  const Place& place(std::int64_t sample) const {
    MFL_CHECK(sample >= 0 && sample < static_cast<std::int64_t>(chosen.size()), given, ": sample ", sample, " of ", chosen.size());
    return chosen[sample];
  }
  const OpenFile& of(std::int64_t sample) const { return *files[place(sample).file]; }
  std::int64_t row(std::int64_t sample) const { return place(sample).row; }
  std::int64_t cell(std::int64_t sample, int view) const { return of(sample).cell(row(sample), view); }

  void add(const std::string& path, std::optional<Split> wanted);
  void name_samples();
  void find_roles();
};

// The samples of one file, or of one split of it; the file is opened once.
void ViewReader::Impl::add(const std::string& path, std::optional<Split> wanted) {
  int f = 0;
  while (f < static_cast<int>(files.size()) && files[f]->path != path) ++f;
  if (f == static_cast<int>(files.size())) {
    first.push_back(files.empty() ? 0 : first.back() + files.back()->samples);
    const Lock lock;
    files.push_back(std::make_unique<OpenFile>(path));
  }
  const OpenFile& file = *files[f];
  for (std::int64_t s = 0; s < file.samples; ++s)
    if (!wanted || file.split[s] == static_cast<std::uint8_t>(*wanted)) chosen.push_back({f, s});
}

// Short names where they tell all samples apart, else FILE/NAME, with as much of the path as is needed.
void ViewReader::Impl::name_samples() {
  std::set<std::string> seen;
  bool unique = true;
  for (const Place& p : chosen) unique &= seen.insert(files[p.file]->sample_names[p.row]).second;
  std::vector<std::string> prefix(files.size());
  if (!unique) {
    std::vector<fs::path> stems;
    for (const auto& f : files) stems.push_back(fs::path(f->path).lexically_normal().replace_extension());
    for (std::size_t f = 0; f < files.size(); ++f) {
      const auto last = [](const fs::path& p, std::size_t parts) {
        const std::vector<fs::path> all(p.begin(), p.end());
        fs::path out;
        for (std::size_t i = all.size() > parts ? all.size() - parts : 0; i < all.size(); ++i) out /= all[i].relative_path();
        return out.string();
      };
      for (std::size_t parts = 1; parts < 64; ++parts) {
        prefix[f] = last(stems[f], parts) + "/";
        std::size_t same = 0;
        for (const fs::path& other : stems) same += last(other, parts) + "/" == prefix[f];
        if (same == 1) break;
      }
    }
  }
  std::set<std::pair<int, std::int64_t>> places;
  for (const Place& p : chosen) {
    names.push_back(prefix[p.file] + files[p.file]->sample_names[p.row]);
    if (!places.insert({p.file, p.row}).second)
      throw_error<DataError>(given, ": sample ", files[p.file]->sample_names[p.row], " of ", files[p.file]->path,
                             " is named twice. A list names each file, or each split of it, once");
  }
}

// Views that are only inputs: in every sample, or in none.
void ViewReader::Impl::find_roles() {
  std::int64_t with = -1, without = -1;
  for (std::int64_t s = 0; s < static_cast<std::int64_t>(chosen.size()); ++s) {
    const OpenFile& f = of(s);
    bool input = false, target = false;
    for (int v = 0; v < f.view_count[row(s)]; ++v) {
      const Role r = f.role.empty() ? Role::both : static_cast<Role>(f.role[f.cell(row(s), v)]);
      input |= r == Role::input, target |= r != Role::input;
    }
    if (!target) throw_error<DataError>(f.path, ": sample ", f.sample_names[row(s)], " has only input views; a sample needs targets. Pack it with both");
    (input ? with : without) = s;
  }
  separate = with >= 0;
  if (with >= 0 && without >= 0)
    throw_error<DataError>(given, ": sample ", names[with], " has separate input views, sample ", names[without],
                           " has none. Train on sets of one kind: pack all samples with --inputs, or none");
}

ViewReader::ViewReader(const std::string& given) : impl_(new Impl) {
  Impl& r = *impl_;
  r.given = given;
  std::optional<Split> wanted;
  const std::string path = without_split(given, wanted);
  if (is_list_file(path)) {
    const std::vector<ListEntry> entries = read_list_file(path);
    for (std::size_t e = 0; e < entries.size(); ++e) {
      std::optional<Split> own = wanted;
      const std::string file = without_split(entries[e].path, own);
      const std::size_t before = r.chosen.size();
      try {
        r.add(file, own);
      } catch (const DataError& error) {
        throw_error<DataError>(path, ", line ", entries[e].line, ": ", error.what());
      }
      if (r.chosen.size() == before && file != entries[e].path)
        throw_error<DataError>(path, ", line ", entries[e].line, ": ", entries[e].path, ": no sample belongs to this split. mfl_data info ",
                               file, " shows the splits");
    }
  } else {
    r.add(path, wanted);
  }
  if (r.chosen.empty())
    throw_error<DataError>(given, ": no sample belongs to this split. mfl_data info ", path, " shows the splits");
  r.name_samples();
  r.find_roles();
  for (const Place& p : r.chosen) r.max_views = std::max<int>(r.max_views, r.files[p.file]->max_views);
  if (r.files.size() == 1) {
    r.content_hash = r.files[0]->content_hash;
  } else {
    Sha256 all;
    for (const Place& p : r.chosen) all.add(r.files[p.file]->content_hash).add(&p.row, sizeof p.row);
    r.content_hash = hex(all.finish());
  }
}
ViewReader::~ViewReader() = default;

const std::string& ViewReader::path() const { return impl_->given; }
int ViewReader::files() const { return static_cast<int>(impl_->files.size()); }
const PackedFile& ViewReader::file(int i) const {
  MFL_CHECK(i >= 0 && i < files(), path(), ": file ", i, " of ", files());
  return *impl_->files[i];
}
const std::string& ViewReader::content_hash() const { return impl_->content_hash; }
std::string ViewReader::recipe() const {
  if (files() == 1) return file(0).recipe;
  std::vector<FileRecipe> all;
  for (const auto& f : impl_->files) all.push_back({f->path, f->content_hash, f->recipe});
  return recipe_of(all);
}
std::int64_t ViewReader::size() const { return static_cast<std::int64_t>(impl_->chosen.size()); }
int ViewReader::max_views() const { return impl_->max_views; }
bool ViewReader::separate_inputs() const { return impl_->separate; }
int ViewReader::file_of(std::int64_t s) const { return impl_->place(s).file; }
int ViewReader::width(std::int64_t s) const { return impl_->of(s).width; }
int ViewReader::height(std::int64_t s) const { return impl_->of(s).height; }
const std::string& ViewReader::sample_name(std::int64_t s) const {
  impl_->place(s);
  return impl_->names[s];
}
const std::string& ViewReader::stored_name(std::int64_t s) const { return impl_->of(s).sample_names[impl_->row(s)]; }
std::int64_t ViewReader::file_index(std::int64_t s) const { return impl_->first[impl_->place(s).file] + impl_->row(s); }
std::int64_t ViewReader::raw_frame(std::int64_t s) const { return impl_->of(s).raw_frame[impl_->row(s)]; }
int ViewReader::recording(std::int64_t s) const { return impl_->of(s).recording.empty() ? -1 : impl_->of(s).recording[impl_->row(s)]; }
Split ViewReader::split(std::int64_t s) const { return static_cast<Split>(impl_->of(s).split[impl_->row(s)]); }
std::optional<Vec3> ViewReader::up(std::int64_t s) const {
  const OpenFile& f = impl_->of(s);
  if (f.up.empty()) return {};
  const double* u = &f.up[3 * impl_->row(s)];
  if (u[0] == 0 && u[1] == 0 && u[2] == 0) return {};
  return Vec3{u[0], u[1], u[2]};
}
std::optional<Mat4> ViewReader::raw_to_world(std::int64_t s) const {
  const OpenFile& f = impl_->of(s);
  if (f.raw_to_world.empty()) return {};
  Mat4 m;
  std::copy_n(&f.raw_to_world[16 * impl_->row(s)], 16, m.begin());
  return m == Mat4{} ? std::nullopt : std::optional(m);
}
bool ViewReader::has_alpha(std::int64_t s) const { return impl_->of(s).has_alpha[impl_->row(s)] != 0; }

int ViewReader::views(std::int64_t s) const { return impl_->of(s).view_count[impl_->row(s)]; }
const std::string& ViewReader::view_name(std::int64_t s, int v) const { return impl_->of(s).view_names[impl_->cell(s, v)]; }
const Camera& ViewReader::camera(std::int64_t s, int v) const { return impl_->of(s).cameras[impl_->cell(s, v)]; }
Role ViewReader::role(std::int64_t s, int v) const {
  const OpenFile& f = impl_->of(s);
  return f.role.empty() ? Role::both : static_cast<Role>(f.role[impl_->cell(s, v)]);
}
int ViewReader::channels(std::int64_t s, int v) const {
  const OpenFile& f = impl_->of(s);
  return f.channels.empty() ? (has_alpha(s) ? 4 : 3) : f.channels[impl_->cell(s, v)];
}
int ViewReader::bits(std::int64_t s, int v) const { return impl_->of(s).bits.empty() ? 8 : impl_->of(s).bits[impl_->cell(s, v)]; }
int ViewReader::prompt_slot(std::int64_t s, int v) const { return impl_->of(s).slots.empty() ? -1 : impl_->of(s).slots[impl_->cell(s, v)]; }
float ViewReader::slot_error(std::int64_t s, int v) const {
  return impl_->of(s).slot_error.empty() ? kUnknown : impl_->of(s).slot_error[impl_->cell(s, v)];
}
std::array<double, 9> ViewReader::warp(std::int64_t s, int v) const {
  std::array<double, 9> h;
  std::copy_n(&impl_->of(s).warp[9 * impl_->cell(s, v)], 9, h.begin());
  return h;
}
double ViewReader::zoom(std::int64_t s, int v) const { return impl_->of(s).zoom.empty() ? 1 : impl_->of(s).zoom[impl_->cell(s, v)]; }
std::optional<SourceCamera> ViewReader::raw_camera(std::int64_t s, int v) const {
  const OpenFile& f = impl_->of(s);
  if (f.raw_k.empty()) return {};
  SourceCamera c;
  std::copy_n(&f.raw_k[9 * impl_->cell(s, v)], 9, c.k.begin());
  std::copy_n(&f.raw_w2c[16 * impl_->cell(s, v)], 16, c.w2c.begin());
  return c.k[8] == 0 ? std::nullopt : std::optional(c);
}
float ViewReader::foreground(std::int64_t s, int v) const { return impl_->of(s).foreground[impl_->cell(s, v)]; }
ViewStats ViewReader::stats(std::int64_t s, int v) const {
  const OpenFile& f = impl_->of(s);
  const std::int64_t at = impl_->cell(s, v);
  ViewStats out;
  const auto get = [&](const std::vector<float>& t, float* to, int n) {
    if (!t.empty()) std::copy_n(&t[n * at], n, to);
  };
  get(f.centroid, out.centroid, 2), get(f.box, out.box, 4), get(f.clipped, &out.clipped, 1);
  get(f.hull_iou, &out.hull_iou, 1), get(f.centroid_error, &out.centroid_error, 1);
  return out;
}
const Hash& ViewReader::pixel_hash(std::int64_t s, int v) const { return impl_->of(s).hashes[impl_->cell(s, v)]; }
const Hash& ViewReader::low_hash(std::int64_t s, int v) const {
  MFL_CHECK(bits(s, v) == 16, "low_hash of an 8-bit view");
  return impl_->of(s).low_hashes[impl_->cell(s, v)];
}

void ViewReader::read_raw(std::int64_t s, int view, RawView& raw) const {
  impl_->cell(s, view);
  impl_->of(s).read_raw(impl_->of(s).high, impl_->row(s), view, raw);
}
Image ViewReader::decode(std::int64_t s, int view, const RawView& raw) const {
  const OpenFile& f = impl_->of(s);
  Image image(f.width, f.height, 4);
  f.decode(f.high, impl_->row(s), view, raw, image.pixels);
  return image;
}
void ViewReader::decode(std::int64_t s, int view, const RawView& raw, std::span<std::uint8_t> rgba) const {
  const OpenFile& f = impl_->of(s);
  f.decode(f.high, impl_->row(s), view, raw, rgba);
}
Image ViewReader::read(std::int64_t sample, int view) const {
  RawView raw;
  read_raw(sample, view, raw);
  return decode(sample, view, raw);
}
std::vector<std::uint8_t> ViewReader::read_low(std::int64_t s, int view) const {
  if (bits(s, view) != 16) return {};
  const OpenFile& f = impl_->of(s);
  RawView raw;
  f.read_raw(f.low, impl_->row(s), view, raw);
  std::vector<std::uint8_t> bytes(f.view_bytes());
  f.decode(f.low, impl_->row(s), view, raw, bytes);
  return bytes;
}

Sample ViewReader::sample(std::int64_t index) const {
  Sample s;
  s.name = sample_name(index);
  s.raw_frame = raw_frame(index), s.recording = recording(index), s.split = split(index), s.up = up(index);
  s.raw_to_world = raw_to_world(index);
  // The channels of the source again: dropped ones were made up when packing.
  const auto as_it_was = [](Image im, int channels) {
    if (channels == 4) return im;
    Image out(im.width, im.height, channels);
    for (std::size_t i = 0, n = im.pixels.size() / 4; i < n; ++i)
      for (int c = 0; c < channels; ++c) out.pixels[i * channels + c] = im.pixels[4 * i + c];
    return out;
  };
  for (int v = 0; v < views(index); ++v) {
    View view;
    view.name = view_name(index, v), view.camera = camera(index, v), view.role = role(index, v), view.warp = warp(index, v);
    view.zoom = zoom(index, v), view.prompt_slot = prompt_slot(index, v), view.slot_error = slot_error(index, v);
    view.raw = raw_camera(index, v), view.stats = stats(index, v);
    view.image = as_it_was(read(index, v), channels(index, v));
    if (bits(index, v) == 16) {
      Image low(view.image.width, view.image.height, 4);
      low.pixels = read_low(index, v);
      view.low = as_it_was(std::move(low), channels(index, v)).pixels;
    }
    s.views.push_back(std::move(view));
  }
  return s;
}

Verified verify_file(const std::string& given, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  std::optional<Split> ignored;
  const ViewReader reader(without_split(given, ignored));
  Verified result;
  std::vector<Sha256> content(reader.files());
  std::vector<bool> whole(reader.files(), true);   // false: a broken view, or not all samples chosen
  std::vector<std::int64_t> seen(reader.files());
  for (std::int64_t s = 0; s < reader.size(); ++s) {
    const int n = reader.views(s), f = reader.file_of(s);
    std::vector<std::string> errors(n);
    std::vector<Hash> low(n);
#pragma omp parallel for schedule(dynamic, 1)
    for (int v = 0; v < n; ++v) {
      try {
        const Image image = reader.read(s, v);
        const auto changed = [&](const char* what) {
          throw_error<DataError>(reader.file(f).path, ": sample ", reader.sample_name(s), ", view ", v, " (", reader.view_name(s, v), "): the ",
                                 what, " are not those that were packed. Pack the data again");
        };
        if (Sha256().add(image.pixels.data(), image.pixels.size()).finish() != reader.pixel_hash(s, v)) changed("pixels");
        if (reader.bits(s, v) == 16) {
          const std::vector<std::uint8_t> bytes = reader.read_low(s, v);
          low[v] = Sha256().add(bytes.data(), bytes.size()).finish();
          if (low[v] != reader.low_hash(s, v)) changed("low bytes of the pixels");
        }
      } catch (const std::exception& e) {
        errors[v] = e.what();
      }
    }
    const std::string& name = reader.stored_name(s);
    for (int v = 0; v < n; ++v) {
      if (!errors[v].empty()) whole[f] = false, result.broken.push_back(errors[v]);
      h5::hash_view(content[f], name, reader.view_name(s, v), reader.camera(s, v), reader.role(s, v), reader.pixel_hash(s, v),
                    reader.bits(s, v) == 16 ? &low[v] : nullptr);
    }
    result.views += n;
    ++seen[f];
    if (progress) progress(s + 1, reader.size());
  }
  for (int f = 0; f < reader.files(); ++f)
    if (whole[f] && seen[f] == reader.file(f).samples && hex(content[f].finish()) != reader.file(f).content_hash)
      result.broken.push_back(reader.file(f).path + ": names, cameras or pixels are not those that were packed (content hash). Pack the data again");
  return result;
}

}  // namespace mfl::data
