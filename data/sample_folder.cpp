#include "data/sample_folder.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "data/image_file.h"
#include "data/list_file.h"
#include "data/vertical_lines.h"
#include "runtime/error.h"
#include "runtime/io/atomic_file.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw_error<DataError>(path.string(), ": cannot be opened. A sample folder holds ", kCameraFile, " and its images");
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string last_component(const fs::path& p) {
  const fs::path clean = p.lexically_normal();
  return (clean.has_filename() ? clean.filename() : clean.parent_path().filename()).string();
}

}  // namespace

void name_samples(std::vector<SampleFolder>& samples) {
  std::vector<fs::path> full;
  std::map<std::string, int> uses;
  std::set<fs::path> seen;
  for (const SampleFolder& s : samples) {
    full.push_back(fs::absolute(s.path).lexically_normal());
    if (!full.back().has_filename()) full.back() = full.back().parent_path();   // a slash at the end
    ++uses[last_component(full.back())];
    if (!seen.insert(full.back()).second)
      throw_error<DataError>("the sample ", s.path, " is listed twice; a list names each sample once");
  }
  // What all paths have in front of what tells them apart.
  std::vector<fs::path> common(full.empty() ? fs::path().begin() : full[0].begin(), full.empty() ? fs::path().end() : full[0].end());
  for (const fs::path& p : full) {
    const std::vector<fs::path> parts(p.begin(), p.end());
    std::size_t same = 0;
    while (same < common.size() && same + 1 < parts.size() && common[same] == parts[same]) ++same;
    common.resize(same);
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i].name = last_component(full[i]);
    if (uses[samples[i].name] == 1) continue;
    fs::path rest;
    std::size_t k = 0;
    for (const fs::path& part : full[i])
      if (k++ >= common.size()) rest /= part;
    samples[i].name = rest.string();
  }
}

std::vector<SampleFolder> find_samples(const std::string& given) {
  std::error_code error;
  std::vector<SampleFolder> found;
  if (fs::is_directory(given, error)) {
    if (fs::exists(fs::path(given) / kCameraFile)) {
      found.push_back({given, given});
    } else {
      for (const auto& e : fs::directory_iterator(given))
        if (e.is_directory() && fs::exists(e.path() / kCameraFile)) found.push_back({e.path().filename().string(), e.path().string()});
      std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    }
    if (found.empty()) throw_error<DataError>(given, ": neither the folder nor a folder in it holds ", kCameraFile);
  } else {
    if (!fs::exists(given, error))
      throw_error<DataError>(given, ": does not exist. Give a list file (one sample folder a line) or a folder of samples");
    for (const ListEntry& e : read_list_file(given)) found.push_back({e.entry, e.path});
  }
  name_samples(found);
  return found;
}

SampleFile read_sample_file(const std::string& path, std::vector<RecordingInfo>& recordings, Check check) {
  return parse_sample_file(read_text(path), path, recordings, check);
}
SampleFile read_sample_file(const std::string& path, Check check) {
  std::vector<RecordingInfo> ignored;
  return read_sample_file(path, ignored, check);
}

Sample read_sample(const SampleFolder& folder, std::vector<RecordingInfo>& recordings) {
  const fs::path base = folder.path;
  const std::string where = text("sample ", folder.name);
  std::error_code error;
  if (!fs::is_directory(base, error)) throw_error<DataError>(where, ": the folder ", folder.path, " does not exist");
  SampleFile file;
  try {
    file = read_sample_file((base / kCameraFile).string(), recordings);
  } catch (const DataError& e) {
    throw_error<DataError>(where, ": ", e.what());
  }
  Sample s = std::move(file.sample);
  s.name = folder.name;
  if (!s.up) s.up = read_up_direction((base / ".." / "vertical_lines.npz").lexically_normal().string());
  for (std::size_t i = 0; i < s.views.size(); ++i) {
    View& v = s.views[i];
    const std::string image = (base / file.images[i]).string(), view = text(where, ", view ", i);
    try {
      v.image = read_image(image, &v.low);
    } catch (const DataError& e) {
      throw_error<DataError>(view, ": ", e.what());
    }
    const int w = v.camera.width ? v.camera.width : v.image.width, h = v.camera.height ? v.camera.height : v.image.height;
    if (w != v.image.width || h != v.image.height)
      throw_error<DataError>(view, ": ", image, " is ", v.image.width, " x ", v.image.height,
                             ", but the camera's intrinsics are for ", w, " x ", h, " (\"w\", \"h\"). One of the two is wrong");
    v.camera.width = w, v.camera.height = h;
  }
  return s;
}

Sample read_sample(const SampleFolder& folder) {
  std::vector<RecordingInfo> ignored;
  return read_sample(folder, ignored);
}

void write_sample(const std::string& folder, const Sample& s, const std::vector<RecordingInfo>& recordings) {
  std::vector<std::string> images;
  for (const View& v : s.views) {
    if (v.name.empty() || v.name.find('/') != std::string::npos || v.name.find('\0') != std::string::npos)
      throw_error<DataError>(folder, ": the view name \"", v.name, "\" can be no file's name");
    images.push_back((v.role == Role::input ? "inputs/" : "images/") + v.name + ".png");
    const fs::path image = fs::path(folder) / images.back();
    fs::create_directories(image.parent_path());
    write_png(image.string(), v.image, v.low);
  }
  const std::string path = (fs::path(folder) / kCameraFile).string();
  std::ofstream out(path, std::ios::binary);
  out << sample_json(s, images, recordings);
  out.close();
  if (!out) throw_error<DataError>(path, ": cannot be written");
}

SetInfo read_set_file(const std::string& folder) {
  const fs::path path = fs::path(folder) / kSetFile;
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  return parse_set_file(read_text(path), path.string());
}

void write_set_file(const std::string& folder, const SetInfo& info) {
  io::write_text_file(fs::path(folder) / kSetFile, set_json(info));
}

}  // namespace mfl::data
