#include "data/doctor/subject.h"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "data/image_file.h"
#include "data/list_file.h"
#include "data/sample_folder.h"
#include "data/sha256.h"

namespace mfl::data::doctor {
namespace {

namespace fs = std::filesystem;
constexpr const char* kCameras = kCameraFile;

// Bits a channel of a PNG, from its header; 8 for everything else.
int bits_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::array<char, 25> head{};
  in.read(head.data(), head.size());
  return in && std::string_view(head.data(), 8) == std::string_view("\x89PNG\r\n\x1a\n", 8) && head[24] == 16 ? 16 : 8;
}

std::string hash_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return hex(Sha256().add(all.str()).finish());
}

Split split_of(const std::string& list) {
  const std::string name = fs::path(list).filename().string();
  if (name.find("train") != std::string::npos) return Split::train;
  if (name.find("val") != std::string::npos) return Split::val;
  return name.find("test") != std::string::npos ? Split::test : Split::unassigned;
}

// A list and its brothers: the lists beside it whose names differ in train, val or test only; for a folder the lists in
// it.
std::vector<std::string> lists_of(const std::string& path) {
  std::vector<std::string> lists;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    for (const auto& e : fs::directory_iterator(path))
      if (e.path().extension() == ".txt" && split_of(e.path().string()) != Split::unassigned)
        lists.push_back(e.path().string());
    std::sort(lists.begin(), lists.end());
    return lists;
  }
  lists.push_back(path);
  const std::string name = fs::path(path).filename().string();
  for (const std::string from : {"train", "val", "test"})
    for (const std::string to : {"train", "val", "test"}) {
      const auto at = name.find(from);
      if (from == to || at == std::string::npos) continue;
      std::string other = name;
      other.replace(at, from.size(), to);
      if (const fs::path brother = fs::path(path).parent_path() / other; fs::exists(brother, error))
        lists.push_back(brother.string());
    }
  return lists;
}

struct FolderSample {
  SampleFolder folder;
  Split split;
  bool asked_for = true;  // else it is only in a brother of the list, and matters for the splits
};

std::vector<FolderSample> folders_of(const std::string& path, Findings& problems) {
  std::vector<FolderSample> all;
  std::error_code error;
  const auto add = [&](const std::string& from, Split split, bool asked_for) {
    for (SampleFolder& f : find_samples(from)) all.push_back({std::move(f), split, asked_for});
  };
  if (fs::is_directory(path, error)) {
    const auto lists = lists_of(path);
    const auto in_folder = [&] {
      if (fs::exists(fs::path(path) / kCameras)) return true;
      for (const auto& e : fs::directory_iterator(path))
        if (e.is_directory() && fs::exists(e.path() / kCameras)) return true;
      return false;
    }();
    if (in_folder) add(path, Split::unassigned, true);
    std::map<std::string, Split> split_by_path;
    for (const std::string& list : lists) {
      try {
        for (SampleFolder& f : find_samples(list)) {
          const std::string key = fs::weakly_canonical(f.path, error).string();
          if (!in_folder) all.push_back({f, split_of(list)});
          const auto [at, fresh] = split_by_path.emplace(key, split_of(list));
          if (!fresh && at->second != split_of(list))
            problems.push_back(
                {Severity::warning, "a sample is in two splits", text(f.name, ", again in ", list), "", "",
                 "Keep each sample in one list: what a model was trained on says nothing about how well it does"});
        }
      } catch (const DataError& e) {
        problems.push_back({Severity::warning, text("the list ", list, " cannot be used"), "", "", e.what(), ""});
      }
    }
    for (FolderSample& f : all)
      if (const auto at = split_by_path.find(fs::weakly_canonical(f.folder.path, error).string());
          at != split_by_path.end())
        f.split = at->second;
    if (all.empty())
      throw_error<DataError>(path, ": neither a recording (new_cam.pkl and videos_undist/), nor a folder of samples (",
                             kCameras, "), nor a folder with list files");
    return all;
  }
  for (const std::string& list : lists_of(path)) {
    if (list == path) {
      add(list, split_of(list), true);
      continue;
    }
    try {
      add(list, split_of(list), false);
    } catch (const DataError&) {  // a brother that is no list
    }
  }
  return all;
}

ViewPixels read_pixels(const fs::path& path) {
  ViewPixels p;
  p.bits = bits_of(path);
  Image im = read_image(path.string());
  p.has_alpha = im.channels == 4;
  p.outline = silhouette(im.channels == 1 ? with_channels(im, 3) : im);
  p.image = with_channels(im, 4);
  return p;
}

Subject open_folders(const std::string& path, const SubjectOptions& o) {
  Subject subject;
  subject.kind = SubjectKind::folders, subject.path = path;
  const std::vector<FolderSample> folders = folders_of(path, subject.problems);
  std::vector<std::vector<std::string>> images;  // [readable sample][view]
  std::vector<std::size_t> asked_for;
  int unreadable = 0;
  std::map<std::string, std::vector<std::size_t>> by_size;
  for (const FolderSample& f : folders) {
    SampleRecord record;
    record.name = f.folder.name, record.split = f.split;
    subject.total += f.asked_for;
    std::vector<std::string> paths;
    std::string sizes;
    try {
      if (!fs::is_directory(f.folder.path)) throw_error<DataError>("the folder ", f.folder.path, " does not exist");
      const SampleFile file = read_sample_file((fs::path(f.folder.path) / kCameras).string(), Check::form);
      record.raw_frame = file.sample.raw_frame;
      for (std::size_t v = 0; v < file.images.size(); ++v) {
        const View& view = file.sample.views[v];
        if (file.images[v].empty()) throw_error<DataError>("frame ", v, " of ", kCameras, " names no image (\"file_path\")");
        if (view.role == Role::input) continue;
        const fs::path image = fs::path(f.folder.path) / file.images[v];
        std::error_code error;
        const auto bytes = fs::file_size(image, error);
        if (error) throw_error<DataError>("the image ", image.string(), " does not exist");
        sizes += text(bytes, ' ');
        paths.push_back(image.string());
        record.views.push_back({image.stem().string(), pinhole(view.camera), view.prompt_slot});
      }
    } catch (const std::exception& e) {
      if (++unreadable <= 5)
        subject.problems.push_back({Severity::error, "a sample cannot be read", f.folder.name, "", e.what(),
                                    "Mend or remove it; mfl_data pack --skip-broken leaves it out"});
      continue;
    }
    by_size[sizes].push_back(subject.samples.size());
    if (f.asked_for) asked_for.push_back(subject.samples.size());
    images.push_back(std::move(paths));
    subject.samples.push_back(std::move(record));
  }
  if (unreadable > 5)
    subject.problems.push_back({Severity::error, text(unreadable - 5, " more samples cannot be read"), "", "", "", ""});
  // Only samples whose files have equal sizes can be equal.
  std::map<std::string, std::string> hashes;
  for (const auto& [sizes, same] : by_size)
    if (same.size() > 1)
      for (std::size_t s : same)
        for (const std::string& image : images[s]) {
          std::string& hash = hashes[image];
          if (hash.empty()) hash = hash_of(image);
          subject.samples[s].fingerprint += hash;
        }

  std::vector<std::size_t> chosen;
  for (std::int64_t i : spread(static_cast<std::int64_t>(asked_for.size()), o.samples))
    chosen.push_back(asked_for[static_cast<std::size_t>(i)]);
  std::vector<std::optional<SamplePixels>> read(chosen.size());
  std::vector<std::pair<std::size_t, std::size_t>> work;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::size_t s = chosen[i];
    read[i].emplace(SamplePixels{s, std::vector<ViewPixels>(images[s].size())});
    for (std::size_t v = 0; v < images[s].size(); ++v) work.push_back({i, v});
  }
  std::vector<std::string> errors(work.size());
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t w = 0; w < work.size(); ++w) {
    const auto [i, v] = work[w];
    try {
      read[i]->views[v] = read_pixels(images[read[i]->sample][v]);
    } catch (const std::exception& e) {
      errors[w] = e.what();
    }
  }
  for (std::size_t w = 0; w < work.size(); ++w) {
    const auto [i, v] = work[w];
    if (!read[i]) continue;
    SampleRecord& record = subject.samples[read[i]->sample];
    const std::string where = text("sample ", record.name, ", view ", v);
    if (!errors[w].empty()) {
      subject.problems.push_back({Severity::error, "an image cannot be read", where, "", errors[w], "Write it again"});
      read[i].reset();
      continue;
    }
    Pinhole& c = record.views[v].camera;
    const Image& im = read[i]->views[v].image;
    if (c.width && c.height && (c.width != im.width || c.height != im.height)) {
      subject.problems.push_back({Severity::error, "the intrinsics are for another image size", where,
                                  text(im.width, " x ", im.height, " (the image)"),
                                  text(c.width, " x ", c.height, " (\"w\", \"h\" in ", kCameras, ')'),
                                  "Scale fx, fy, cx, cy with the image"});
      read[i].reset();
      continue;
    }
    c.width = im.width, c.height = im.height;
  }
  for (auto& r : read)
    if (r) subject.examined.push_back(std::move(*r));
  // Where the file does not say the size, it is that of the examined images.
  if (!subject.examined.empty()) {
    const Image& im = subject.examined[0].views[0].image;
    for (SampleRecord& s : subject.samples)
      for (ViewRecord& v : s.views)
        if (!v.camera.width || !v.camera.height) v.camera.width = im.width, v.camera.height = im.height;
  }
  return subject;
}

}  // namespace

const char* name_of(SubjectKind k) {
  return k == SubjectKind::recording ? "raw recording" : k == SubjectKind::packed ? "packed file" : "sample folders";
}

std::vector<std::int64_t> spread(std::int64_t total, int n) {
  std::vector<std::int64_t> chosen;
  const std::int64_t count = std::min<std::int64_t>(total, n);
  for (std::int64_t i = 0; i < count; ++i) chosen.push_back((2 * i + 1) * total / (2 * count));
  return chosen;
}

// Views that are only inputs (generated ones, say) need not agree with anything: they are not looked at.
Subject subject_of(const ViewReader& reader, const SubjectOptions& o) {
  Subject subject;
  subject.kind = SubjectKind::packed, subject.path = reader.path(), subject.recipe = reader.recipe();
  subject.total = reader.size();
  const auto views_of = [&](std::int64_t s) {
    std::vector<int> views;
    for (int v = 0; v < reader.views(s); ++v)
      if (reader.role(s, v) != Role::input) views.push_back(v);
    return views;
  };
  for (std::int64_t s = 0; s < reader.size(); ++s) {
    SampleRecord record;
    record.name = reader.sample_name(s), record.raw_frame = reader.raw_frame(s), record.split = reader.split(s);
    for (int v : views_of(s)) {
      record.views.push_back({reader.view_name(s, v), pinhole(reader.camera(s, v)), reader.prompt_slot(s, v)});
      const Hash& h = reader.pixel_hash(s, v);
      record.fingerprint.append(reinterpret_cast<const char*>(h.data()), h.size());
    }
    subject.samples.push_back(std::move(record));
  }
  for (std::int64_t s : spread(reader.size(), o.samples)) {
    SamplePixels pixels;
    pixels.sample = static_cast<std::size_t>(s);
    const std::vector<int> views = views_of(s);
    pixels.views.resize(views.size());
    std::vector<std::string> errors(pixels.views.size());
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t v = 0; v < pixels.views.size(); ++v) {
      try {
        ViewPixels& p = pixels.views[v];
        p.image = reader.read(s, views[v]);
        p.has_alpha = reader.channels(s, views[v]) == 4, p.bits = reader.bits(s, views[v]);
        p.outline = silhouette(p.has_alpha ? p.image : with_channels(p.image, 3));
      } catch (const std::exception& e) {
        errors[v] = e.what();
      }
    }
    const auto bad = std::find_if(errors.begin(), errors.end(), [](const std::string& e) { return !e.empty(); });
    if (bad == errors.end())
      subject.examined.push_back(std::move(pixels));
    else
      subject.problems.push_back({Severity::error, "a view cannot be read", text("sample ", reader.sample_name(s)), "",
                                  *bad, "Pack the data again"});
  }
  return subject;
}

Subject open_subject(const std::string& path, const SubjectOptions& o) {
  std::error_code error;
  const std::string file = path.substr(0, path.find('#'));
  const auto packed = [](const std::string& name) {
    const std::string end = fs::path(name.substr(0, name.find('#'))).extension().string();
    return end == ".h5" || end == ".hdf5";
  };
  if (packed(path) || (is_list_file(file) && fs::is_regular_file(file, error) && packed(read_list_file(file)[0].entry)))
    return subject_of(ViewReader(path), o);
  if (!fs::exists(path, error))
    throw_error<DataError>(path, ": does not exist. Give a recording, sample folders, a list file, or a packed .h5");
  if (fs::is_directory(path, error) && fs::exists(fs::path(path) / "new_cam.pkl"))
    return open_recording_subject(path, o);
  return open_folders(path, o);
}

}  // namespace mfl::data::doctor
