#include "data/recording.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "data/video_reader.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/pickle.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
using io::Value;

constexpr std::uint64_t kMaxCalibration = 1ull << 30;  // bytes; the real file has 54 MiB
constexpr std::int64_t kMaxCameras = 4096;

// The numbers of one array, in row-major order.
std::vector<double> numbers(const Value& v, const std::string& where) {
  if (!v.is_tensor()) throw_error<DataError>(where, " is ", name_of(v.kind()), "; a NumPy array was expected");
  const io::StoredTensor& t = v.tensor();
  if (t.type() != io::StoredType::f64 && t.type() != io::StoredType::f32)
    throw_error<DataError>(where, " has elements of type ", t.type(), "; float64 or float32 was expected");
  if (t.numel() > 9) throw_error<DataError>(where, " has the shape ", t.shape, "; at most 3 x 3 was expected");
  const Tensor read = io::load(t, DType::f64, where);
  std::vector<double> out(read.data<double>(), read.data<double>() + t.numel());
  for (double x : out)
    if (!std::isfinite(x))
      throw_error<DataError>(where, " holds ", x,
                             "; every number must be finite. Calibrate again, or copy the file again");
  return out;
}
Mat3 matrix(const Value& v, const std::string& where) {
  if (v.is_tensor() && !(v.tensor().shape == Shape{3, 3}))
    throw_error<DataError>(where, " has the shape ", v.tensor().shape, "; [3, 3] was expected");
  const std::vector<double> n = numbers(v, where);
  Mat3 m;
  std::copy(n.begin(), n.end(), m.begin());
  return m;
}
Vec3 vector(const Value& v, const std::string& where) {
  if (v.is_tensor()) {
    const Shape& s = v.tensor().shape;
    if (!(s == Shape{3} || s == Shape{3, 1} || s == Shape{1, 3}))
      throw_error<DataError>(where, " has the shape ", s, "; [3], [3, 1] or [1, 3] was expected");
  }
  const std::vector<double> n = numbers(v, where);
  return {n[0], n[1], n[2]};
}

RawCamera camera(const Value& v, const std::string& where) {
  if (!v.is_dict())
    throw_error<DataError>(where, " is ", name_of(v.kind()), "; a dictionary with K, R and T was expected");
  auto need = [&](const char* key) -> const Value& {
    if (const Value* found = v.find(key)) return *found;
    std::string there;
    for (const auto& [k, _] : v.entries())
      if (k.kind() == Value::Kind::string) there += (there.empty() ? "" : ", ") + k.string().substr(0, 40);
    throw_error<DataError>(where, " has no key ", key, "; it has: ", there.empty() ? "nothing" : there.substr(0, 400));
  };
  RawCamera c;
  c.K = matrix(need("K"), where + ", K");
  c.R = matrix(need("R"), where + ", R");
  c.T = vector(need("T"), where + ", T");
  for (const char* key : {"mapx", "mapy"})
    if (const Value* map = v.find(key)) {
      if (!map->is_tensor() || map->tensor().shape.rank() != 2)
        throw_error<DataError>(where, ", ", key, " is not a NumPy array with two axes");
      const Shape& s = map->tensor().shape;
      if (s[0] < 1 || s[1] < 1 || s[0] > 32768 || s[1] > 32768)
        throw_error<DataError>(where, ", ", key, " has the shape ", s, "; sides from 1 to 32768 were expected");
      if (c.width && (c.width != s[1] || c.height != s[0]))
        throw_error<DataError>(where, ": mapx is ", c.width, " x ", c.height, ", but mapy is ", s[1], " x ", s[0]);
      c.width = static_cast<int>(s[1]), c.height = static_cast<int>(s[0]);
    }
  return c;
}

Projection divide(const Vec3& image, double depth) { return {image[0] / image[2], image[1] / image[2], depth}; }

// The file whose stem is the camera's number.
std::optional<std::string> numbered(const fs::path& folder, std::size_t camera) {
  for (const char* extension : {".mp4", ".avi", ".mov", ".mkv"}) {
    const fs::path p = folder / (std::to_string(camera) + extension);
    std::error_code error;
    if (fs::is_regular_file(p, error)) return p.string();
  }
  return {};
}
std::vector<std::string> all_numbered(const fs::path& folder, std::size_t cameras, const char* what,
                                      const std::string& calibration) {
  std::vector<std::string> paths;
  for (std::size_t c = 0; c < cameras; ++c) {
    const auto p = numbered(folder, c);
    if (!p)
      throw_error<DataError>(folder.string(), ": no ", what, " for camera ", c, " (", c,
                             ".mp4, or avi, mov, mkv), but ", calibration, " has ", cameras,
                             " cameras. Camera k must have the file k.mp4");
    paths.push_back(*p);
  }
  if (const auto more = numbered(folder, cameras))
    throw_error<DataError>(*more, ": a ", what, " of camera ", cameras, ", but ", calibration,
                           " has only the cameras 0 to ", cameras - 1);
  return paths;
}

}  // namespace

Vec3 position(const RawCamera& c) {
  Vec3 p{};
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) p[i] -= c.R[3 * k + i] * c.T[k];
  return p;
}

Projection project(const RawCamera& c, const Vec3& x) {
  Vec3 in_camera{}, image{};
  for (int i = 0; i < 3; ++i) in_camera[i] = c.R[3 * i] * x[0] + c.R[3 * i + 1] * x[1] + c.R[3 * i + 2] * x[2] + c.T[i];
  for (int i = 0; i < 3; ++i)
    image[i] = c.K[3 * i] * in_camera[0] + c.K[3 * i + 1] * in_camera[1] + c.K[3 * i + 2] * in_camera[2];
  return divide(image, in_camera[2]);
}
Projection project(const Camera& c, const Vec3& x) {
  Vec3 p{};
  for (int i = 0; i < 3; ++i)
    p[i] = c.w2c[4 * i] * x[0] + c.w2c[4 * i + 1] * x[1] + c.w2c[4 * i + 2] * x[2] + c.w2c[4 * i + 3];
  return divide({c.fx * p[0] + c.cx * p[2], c.fy * p[1] + c.cy * p[2], p[2]}, p[2]);
}

Mat3 corner_intrinsics(const RawCamera& c) {
  Mat3 k = c.K;
  k[2] += 0.5 * k[8], k[5] += 0.5 * k[8];
  return k;
}

void check_raw_camera(const RawCamera& c, const std::string& where) {
  const Mat3 &k = c.K, &r = c.R;
  if (!(k[0] > 0 && k[4] > 0))
    throw_error<DataError>(where, ": focal lengths ", k[0], " and ", k[4], " pixels; both must be positive");
  if (k[3] != 0 || k[6] != 0 || k[7] != 0 || std::abs(k[8] - 1) > 1e-9)
    throw_error<DataError>(where, ": K must be [fx s cx; 0 fy cy; 0 0 1], but below the diagonal it has ", k[3], ", ",
                           k[6], ", ", k[7], " and in the corner ", k[8],
                           k[6] != 0 || k[7] != 0 ? "; it looks transposed" : "");
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j <= i; ++j) {
      const double dot = r[3 * i] * r[3 * j] + r[3 * i + 1] * r[3 * j + 1] + r[3 * i + 2] * r[3 * j + 2];
      if (!(std::abs(dot - (i == j)) <= 1e-3))
        throw_error<DataError>(where, ": R is no rotation: rows ", j, " and ", i, " have the product ", dot,
                               ", which must be ", i == j ? 1 : 0, " within 0.001");
    }
  const double det =
      r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]);
  if (!(det > 0)) throw_error<DataError>(where, ": det R = ", det, ", a mirror image; a camera's rotation has det +1");
}

std::vector<RawCamera> parse_new_cam(std::span<const std::byte> pickle, std::string_view source) {
  const std::string name(source);
  const Value root = io::unpickle(pickle, source).value;
  std::vector<const Value*> found;
  if (root.is_sequence()) {
    for (const Value& v : root.items()) found.push_back(&v);
  } else if (root.is_dict()) {
    if (root.find("K")) throw_error<DataError>(name, ": one camera on its own; a list of cameras was expected");
    for (std::size_t i = 0; i < root.entries().size(); ++i) {
      const auto number = static_cast<std::int64_t>(i);
      const Value *as_integer = root.find(number), *as_text = root.find(std::to_string(i));
      if ((as_integer != nullptr) == (as_text != nullptr))
        throw_error<DataError>(name, ": a dictionary of ", root.entries().size(), " entries needs the keys 0 to ",
                               root.entries().size() - 1, " once each, as integers or as text; ", i,
                               as_integer ? " is there twice" : " is missing");
      found.push_back(as_integer ? as_integer : as_text);
    }
  } else {
    throw_error<DataError>(name, ": holds ", name_of(root.kind()),
                           "; a list of cameras {K, R, T}, or a dictionary of them, was expected");
  }
  if (found.empty() || static_cast<std::int64_t>(found.size()) > kMaxCameras)
    throw_error<DataError>(name, ": ", found.size(), " cameras; from 1 to ", kMaxCameras, " were expected");
  std::vector<RawCamera> cameras;
  for (std::size_t i = 0; i < found.size(); ++i) cameras.push_back(camera(*found[i], text(name, ", camera ", i)));
  return cameras;
}

std::vector<RawCamera> read_new_cam(const std::string& path) {
  const io::Source file = io::open_file(path);
  if (file->size() > kMaxCalibration)
    throw_error<DataError>(path, ": ", file->size(), " bytes; a calibration has at most ", kMaxCalibration,
                           ". Is it another file?");
  return parse_new_cam(file->read(0, file->size()), path);
}

void write_new_cam(const std::string& path, const std::vector<RawCamera>& cameras) {
  auto array = [](const double* n, std::size_t count, const Shape& shape) {
    const auto bytes = std::as_bytes(std::span(n, count));
    return Value(io::stored(std::vector<std::byte>(bytes.begin(), bytes.end()), io::StoredType::f64, shape));
  };
  Value list = Value::list();
  for (const RawCamera& c : cameras) {
    Value one = Value::dict();
    one.set("K", array(c.K.data(), 9, Shape{3, 3}));
    one.set("R", array(c.R.data(), 9, Shape{3, 3}));
    one.set("T", array(c.T.data(), 3, Shape{3}));
    list.push(std::move(one));
  }
  io::AtomicFile file(path);
  file.write(io::pickle_arrays(list));
  file.commit();
}

bool is_recording(const std::string& folder) {
  std::error_code error;
  return fs::is_regular_file(fs::path(folder) / kCalibrationFile, error) &&
         fs::is_directory(fs::path(folder) / kVideoFolder, error);
}

Recording open_recording(const std::string& video_dir, const std::string& meta_dir) {
  const fs::path meta = meta_dir.empty() ? video_dir : meta_dir;
  std::error_code error;
  for (const fs::path& folder : {fs::path(video_dir), meta})
    if (!fs::is_directory(folder, error)) throw_error<DataError>(folder.string(), ": the folder does not exist");
  fs::path colour = fs::path(video_dir) / kVideoFolder;
  if (!fs::is_directory(colour, error)) colour = video_dir;
  Recording r;
  r.calibration = (meta / kCalibrationFile).string();
  if (!fs::is_regular_file(r.calibration, error))
    throw_error<DataError>(r.calibration, ": the calibration does not exist. --meta_dir must be the folder with ",
                           kCalibrationFile, " and ", kMaskFolder);
  r.cameras = read_new_cam(r.calibration);
  r.videos = all_numbered(colour, r.cameras.size(), "video", r.calibration);
  r.masks = all_numbered(meta / kMaskFolder, r.cameras.size(), "mask video", r.calibration);

  for (std::size_t c = 0; c < r.cameras.size(); ++c) {
    RawCamera& camera = r.cameras[c];
    const VideoReader video(r.videos[c]), mask(r.masks[c]);
    if (camera.width && (camera.width != video.width() || camera.height != video.height()))
      throw_error<DataError>(r.videos[c], ": ", video.width(), " x ", video.height(),
                             " pixels, but the remap tables in ", r.calibration, " are for ", camera.width, " x ",
                             camera.height, "; K is true only at the size that was calibrated");
    camera.width = video.width(), camera.height = video.height();
    if (mask.width() != video.width() || mask.height() != video.height())
      throw_error<DataError>(r.masks[c], ": ", mask.width(), " x ", mask.height(), " pixels, but ", r.videos[c],
                             " has ", video.width(), " x ", video.height());
    if (c == 0) r.frames = video.frames(), r.frames_per_second = video.frames_per_second();
    for (const VideoReader* v : {&video, &mask})
      if (v->frames() != r.frames)
        throw_error<DataError>(v->path(), ": ", v->frames(), " frames, but ", r.videos[0], " has ", r.frames,
                               "; frame n of all files must be one moment, so all must have the same number");
    if (std::abs(video.frames_per_second() - r.frames_per_second) > 1e-3 * r.frames_per_second)
      throw_error<DataError>(video.path(), ": ", video.frames_per_second(), " frames/s, but ", r.videos[0], " has ",
                             r.frames_per_second);
  }
  return r;
}

}  // namespace mfl::data
