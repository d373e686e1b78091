#include "data/pack.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "data/image_file.h"
#include "data/sha256.h"
#include "data/vertical_lines.h"
#include "runtime/log.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
constexpr const char* kCameras = "opencv_cameras.json";

std::string trimmed(const std::string& s) {
  const char* blank = " \t\r\n";
  const auto first = s.find_first_not_of(blank);
  return first == std::string::npos ? "" : s.substr(first, s.find_last_not_of(blank) - first + 1);
}

std::string last_component(const fs::path& p) {
  const fs::path clean = p.lexically_normal();
  return (clean.has_filename() ? clean.filename() : clean.parent_path().filename()).string();
}

// Names must tell samples apart: short where that is enough, else the whole entry.
void name_samples(std::vector<SampleFolder>& samples) {
  std::multiset<std::string> all;
  for (const SampleFolder& s : samples) all.insert(last_component(s.path));
  for (SampleFolder& s : samples)
    if (const std::string short_name = last_component(s.path); all.count(short_name) == 1) s.name = short_name;
  std::set<std::string> seen;
  for (const SampleFolder& s : samples)
    if (!seen.insert(s.name).second) throw_error<DataError>("the sample ", s.path, " is listed twice; a list names each sample once");
}

std::string up_file(const std::string& sample) { return (fs::path(sample) / ".." / "vertical_lines.npz").lexically_normal().string(); }

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw_error<DataError>(path.string(), ": cannot be opened");
  return {std::istreambuf_iterator<char>(in), {}};
}

Sample scaled_sample(Sample s, int size) {
  for (View& v : s.views) {
    if (v.image.width == size && v.image.height == size) continue;
    const double x = static_cast<double>(size) / v.image.width, y = static_cast<double>(size) / v.image.height;
    v.camera = scaled(v.camera, v.image.width, v.image.height, size, size);
    v.image = resize_lanczos(v.image, size, size);
    for (int c = 0; c < 3; ++c) v.warp[c] *= x, v.warp[3 + c] *= y;
  }
  return s;
}

}  // namespace

std::vector<SampleFolder> find_samples(const std::string& given) {
  std::error_code error;
  std::vector<SampleFolder> found;
  if (fs::is_directory(given, error)) {
    if (fs::exists(fs::path(given) / kCameras)) {
      found.push_back({given, given});
    } else {
      for (const auto& e : fs::directory_iterator(given))
        if (e.is_directory() && fs::exists(e.path() / kCameras)) found.push_back({e.path().filename().string(), e.path().string()});
      std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    }
    if (found.empty()) throw_error<DataError>(given, ": neither the folder nor a folder in it holds ", kCameras);
  } else {
    if (!fs::exists(given, error))
      throw_error<DataError>(given, ": does not exist. Give a list file (one sample folder a line) or a folder of samples");
    std::istringstream lines(read_text(given));
    for (std::string line; std::getline(lines, line);) {
      const std::string entry = trimmed(line);
      if (entry.empty()) continue;
      fs::path path = fs::path(given).parent_path() / entry;   // an absolute entry replaces the folder
      if (!fs::exists(path, error) && fs::exists(entry, error)) path = entry;
      found.push_back({entry, path.string()});
    }
    if (found.empty()) throw_error<DataError>(given, ": the list names no sample; it holds one sample folder a line");
  }
  name_samples(found);
  return found;
}

Sample read_sample(const SampleFolder& folder) {
  const fs::path base = folder.path;
  const std::string where = text("sample ", folder.name);
  if (!fs::is_directory(base)) throw_error<DataError>(where, ": the folder ", folder.path, " does not exist");
  const CameraFile file = read_camera_file((base / kCameras).string());
  Sample s;
  s.name = folder.name;
  s.up = read_up_direction(up_file(folder.path));
  for (std::size_t i = 0; i < file.frames.size(); ++i) {
    const CameraFrame& f = file.frames[i];
    const std::string view = text(where, ", view ", i);
    if (f.file_path.empty())
      throw_error<DataError>(view, ": ", (base / kCameras).string(), " names no image (\"file_path\" of frame ", i, ")");
    View v;
    v.name = fs::path(f.file_path).stem().string();
    try {
      v.image = read_image((base / f.file_path).string());
    } catch (const DataError& e) {
      throw_error<DataError>(view, ": ", e.what());
    }
    if (v.image.channels == 1) v.image = with_channels(v.image, 3);
    v.camera = f.camera;
    const int w = v.camera.width ? v.camera.width : v.image.width, h = v.camera.height ? v.camera.height : v.image.height;
    if (w != v.image.width || h != v.image.height)
      throw_error<DataError>(view, ": ", (base / f.file_path).string(), " is ", v.image.width, " x ", v.image.height,
                             ", but the camera's intrinsics are for ", w, " x ", h, " (\"w\", \"h\"). One of the two is wrong");
    v.camera.width = w, v.camera.height = h;
    if (f.raw_frame) s.raw_frame = *f.raw_frame;
    s.views.push_back(std::move(v));
  }
  return s;
}

void write_sample(const std::string& folder, const Sample& s) {
  fs::create_directories(fs::path(folder) / "images");
  CameraFile file;
  file.id = s.name;
  for (const View& v : s.views) {
    CameraFrame f;
    f.camera = v.camera, f.file_path = "images/" + v.name + ".png";
    if (s.raw_frame >= 0) f.raw_frame = s.raw_frame;
    write_png((fs::path(folder) / f.file_path).string(), v.image);
    file.frames.push_back(std::move(f));
  }
  write_camera_file((fs::path(folder) / kCameras).string(), file);
}

PackResult pack(const std::vector<SampleFolder>& folders, const std::string& output, const PackOptions& o) {
  PackResult result;
  const auto leave_out = [&](const SampleFolder& f, const std::exception& e) {
    log_warning("left out: ", f.name, ": ", e.what());
    result.left_out.push_back(f.name);
  };

  // The number of samples and views must be known before the file is made. A sample that turns out to be broken later (its
  // images) starts the packing again without it.
  std::vector<SampleFolder> good = folders;
  for (;;) {
    PackInfo info;
    std::vector<SampleFolder> readable;
    for (const SampleFolder& f : good) {
      try {
        const CameraFile cameras = read_camera_file((fs::path(f.path) / kCameras).string());
        info.max_views = std::max(info.max_views, static_cast<int>(cameras.frames.size()));
        readable.push_back(f);
      } catch (const DataError& e) {
        if (!o.skip_broken) throw_error<DataError>("sample ", f.name, ": ", e.what());
        leave_out(f, e);
      }
    }
    if (readable.empty()) throw_error<DataError>("no sample is left to pack into ", output);
    info.samples = static_cast<std::int64_t>(readable.size());
    nlohmann::json recipe{{"tool", "mfl_data pack"}, {"image_size", o.image_size}, {"resample", "lanczos3 of 8-bit premultiplied RGBA"},
                          {"left_out", result.left_out}, {"sources", nlohmann::json::array()}};
    for (const SampleFolder& f : readable) recipe["sources"].push_back(f.path);
    info.recipe = recipe.dump();

    std::unique_ptr<ViewWriter> writer;
    std::vector<SampleFolder> broken;
    constexpr int kBlock = 8;   // samples decoded at once
    for (std::size_t first = 0; first < readable.size(); first += kBlock) {
      const int n = static_cast<int>(std::min<std::size_t>(kBlock, readable.size() - first));
      std::vector<Sample> block(n);
      std::vector<std::exception_ptr> errors(n);
#pragma omp parallel for schedule(dynamic, 1)
      for (int i = 0; i < n; ++i) {
        try {
          block[i] = read_sample(readable[first + i]);
          if (o.image_size > 0) block[i] = scaled_sample(std::move(block[i]), o.image_size);
        } catch (...) {
          errors[i] = std::current_exception();
        }
      }
      for (int i = 0; i < n; ++i) {
        try {
          if (errors[i]) std::rethrow_exception(errors[i]);
          block[i].split = o.split;
          if (!writer) {
            info.width = block[i].views[0].image.width, info.height = block[i].views[0].image.height;
            writer = std::make_unique<ViewWriter>(output, info, o.overwrite);
          }
          if (broken.empty()) writer->add(block[i]);
        } catch (const DataError& e) {
          if (!o.skip_broken) throw;
          leave_out(readable[first + i], e);
          broken.push_back(readable[first + i]);
        }
      }
      if (o.progress) o.progress(static_cast<std::int64_t>(first) + n, info.samples);
    }
    if (broken.empty()) {
      writer->finish();
      result.packed = info.samples;
      return result;
    }
    good.clear();
    for (const SampleFolder& f : readable)
      if (std::none_of(broken.begin(), broken.end(), [&](const SampleFolder& b) { return b.path == f.path; })) good.push_back(f);
  }
}

void unpack(const std::string& file, const std::string& folder, const std::string& list_name) {
  const ViewReader reader(file);
  fs::create_directories(folder);
  std::ofstream list(fs::path(folder) / list_name);
  for (std::int64_t s = 0; s < reader.size(); ++s) {
    write_sample((fs::path(folder) / reader.sample_name(s)).string(), reader.sample(s));
    list << reader.sample_name(s) << '\n';
  }
  list.close();
  if (!list) throw_error<DataError>((fs::path(folder) / list_name).string(), ": cannot be written");
}

std::string ensure_packed(const std::string& dataset_path, const std::string& cache_dir, int image_size) {
  std::string file = dataset_path;
  bool names_split = false;
  for (const std::string suffix : {"#train", "#val", "#test"})
    if (file.ends_with(suffix)) file.resize(file.size() - suffix.size()), names_split = true;
  const std::string extension = fs::path(file).extension().string();
  if (extension == ".h5" || extension == ".hdf5") return dataset_path;
  if (names_split) throw_error<ConfigError>(dataset_path, ": only a packed file has splits; ", file, " is a list or a folder");
  std::error_code error;
  const std::vector<SampleFolder> samples = find_samples(file);

  Sha256 hash;
  hash.add(text("mfl-views ", kFormatVersion, " image_size ", image_size, '\n'));
  for (const SampleFolder& s : samples) {
    hash.add(s.name).add("\n");
    const fs::path cameras = fs::path(s.path) / kCameras;
    if (!fs::exists(cameras, error)) throw_error<DataError>("sample ", s.name, ": ", cameras.string(), " does not exist");
    const std::string json = read_text(cameras);
    hash.add(json);
    if (const auto up = read_up_direction(up_file(s.path))) hash.add(up->data(), sizeof *up);
    for (const CameraFrame& f : parse_camera_file(json, cameras.string()).frames) {
      const fs::path image = fs::path(s.path) / f.file_path;
      const auto bytes = fs::file_size(image, error);
      if (error) throw_error<DataError>("sample ", s.name, ": the image ", image.string(), " does not exist");
      hash.add(text(bytes, ' ', fs::last_write_time(image).time_since_epoch().count(), '\n'));
    }
  }
  fs::create_directories(cache_dir);
  const fs::path packed = fs::path(cache_dir) / text("views_", hex(hash.finish()).substr(0, 16), ".h5");

  // One process packs, the others of this host wait for it.
  const std::string lock_path = packed.string() + ".lock";
  const int lock = ::open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (lock < 0) throw_error<DataError>(lock_path, ": cannot be made: ", std::strerror(errno));
  struct Unlock {
    int fd;
    ~Unlock() { ::close(fd); }
  } const unlock{lock};
  if (::flock(lock, LOCK_EX) != 0) log_warning(lock_path, ": cannot be locked (", std::strerror(errno), ")");
  if (fs::exists(packed)) {
    log_info(dataset_path, ": using its packed form ", packed.string());
    return packed.string();
  }
  log_info(dataset_path, ": packing ", samples.size(), " samples once into ", packed.string(), " at ", image_size, " x ", image_size);
  PackOptions options;
  options.image_size = image_size;
  pack(samples, packed.string(), options);
  return packed.string();
}

}  // namespace mfl::data
