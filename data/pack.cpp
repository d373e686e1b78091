#include "data/pack.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "data/list_file.h"
#include "data/doctor/statistics.h"
#include "data/recipe.h"
#include "data/sha256.h"
#include "data/vertical_lines.h"
#include "runtime/io/atomic_file.h"
#include "runtime/log.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;

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
    v.low.clear();   // resampling is 8-bit
    v.stats = {.clipped = v.stats.clipped, .hull_iou = v.stats.hull_iou, .centroid_error = v.stats.centroid_error * static_cast<float>(x)};
  }
  return s;
}

// The nearest folder above a sample that has a dataset.json, of the three above it; else the one above.
std::string set_folder_of(const SampleFolder& s) {
  const fs::path start = (fs::absolute(s.path).lexically_normal() / "..").lexically_normal();
  std::error_code error;
  for (fs::path p = start; const int level : {0, 1, 2}) {
    if (fs::exists(p / kSetFile, error)) return p.string();
    p = (p / (level < 2 ? ".." : ".")).lexically_normal();
  }
  return start.string();
}

// What the sets say that the samples come from, together.
SetInfo merged_set(const std::vector<SampleFolder>& samples) {
  SetInfo all;
  std::vector<std::string> recipes;
  std::set<std::string> seen;
  bool first = true;
  for (const SampleFolder& s : samples) {
    const std::string parent = set_folder_of(s);
    if (!seen.insert(parent).second) continue;
    const SetInfo one = read_set_file(parent);
    const auto merge = [&](auto& to, const auto& from, const char* what) {
      if (first) to = from;
      if (to == from) return;
      log_warning(parent, ": its ", what, " differs from that of the other folders; the packed file will not have one");
      to.clear();
    };
    merge(all.ring_order, one.ring_order, "ring order");
    merge(all.slot_names, one.slot_names, "table of prompt slots");
    first = false;
    for (const RecordingInfo& r : one.recordings) {
      const auto same = std::find_if(all.recordings.begin(), all.recordings.end(), [&](const RecordingInfo& o) { return o.name == r.name; });
      if (same == all.recordings.end()) all.recordings.push_back(r);
      else if (!(*same == r))
        throw_error<DataError>((fs::path(parent) / kSetFile).string(), ": the recording ", r.name, " has other frames or jumps than one of the same name in "
                               "another folder. Names tell recordings apart: rename one");
    }
    recipes.push_back(one.recipe);
  }
  all.recipe = recipes_together(recipes);
  return all;
}

// Input views of a sample come from the folder of the same name.
class InputSource {
 public:
  explicit InputSource(const std::string& list_or_folder) {
    if (list_or_folder.empty()) return;
    for (SampleFolder& f : find_samples(list_or_folder)) folders_.emplace(f.name, f);
    where_ = list_or_folder;
  }
  explicit operator bool() const { return !where_.empty(); }
  const SampleFolder& of(const SampleFolder& target) const {
    const auto it = folders_.find(target.name);
    if (it == folders_.end())
      throw_error<DataError>("sample ", target.name, ": ", where_, " has no sample of this name, so it has no input views");
    return it->second;
  }

 private:
  std::string where_;
  std::map<std::string, SampleFolder> folders_;
};

std::size_t views_of(const SampleFolder& f, std::vector<RecordingInfo>& recordings) {
  const fs::path path = fs::path(f.path) / kCameraFile;
  std::error_code error;
  if (!fs::exists(path, error)) throw_error<DataError>(path.string(), " does not exist. A sample folder holds it and its images");
  return read_sample_file(path.string(), recordings).images.size();
}

// A sample with the views of `inputs` as inputs and its own as targets.
Sample with_inputs(Sample s, Sample inputs) {
  for (View& v : s.views)
    if (v.role == Role::both) v.role = Role::target;
  for (View& v : inputs.views) {
    v.role = Role::input;
    s.views.push_back(std::move(v));
  }
  return s;
}

}  // namespace

PackResult pack(const std::vector<SampleFolder>& folders, const std::string& output, const PackOptions& o) {
  PackResult result;
  const auto leave_out = [&](const SampleFolder& f, const std::exception& e) {
    log_warning("left out: ", f.name, ": ", e.what());
    result.left_out.push_back(f.name);
  };

  const InputSource inputs(o.inputs);
  // The number of samples and views must be known before the file is made. A sample that turns out to be broken later (its
  // images) starts the packing again without it.
  std::vector<SampleFolder> good = folders;
  for (;;) {
    PackInfo info;
    static_cast<SetInfo&>(info) = merged_set(good);
    std::vector<SampleFolder> readable;
    for (const SampleFolder& f : good) {
      try {
        const std::size_t views = views_of(f, info.recordings) + (inputs ? views_of(inputs.of(f), info.recordings) : 0);
        info.max_views = std::max(info.max_views, static_cast<int>(views));
        readable.push_back(f);
      } catch (const DataError& e) {
        if (!o.skip_broken) throw_error<DataError>("sample ", f.name, ": ", e.what());
        leave_out(f, e);
      }
    }
    if (readable.empty()) throw_error<DataError>("no sample is left to pack into ", output);
    info.samples = static_cast<std::int64_t>(readable.size());
    PackRecipe recipe{o.image_size, o.inputs, {}, result.left_out, info.recipe};
    for (const SampleFolder& f : readable) recipe.sources.push_back(f.path);
    info.recipe = recipe_of(recipe);

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
          std::vector<RecordingInfo> recordings = info.recordings;   // all are known: the copy does not grow
          block[i] = read_sample(readable[first + i], recordings);
          if (inputs) block[i] = with_inputs(std::move(block[i]), read_sample(inputs.of(readable[first + i]), recordings));
          if (o.image_size > 0) block[i] = scaled_sample(std::move(block[i]), o.image_size);
          doctor::measure(block[i]);
        } catch (...) {
          errors[i] = std::current_exception();
        }
      }
      for (int i = 0; i < n; ++i) {
        try {
          if (errors[i]) std::rethrow_exception(errors[i]);
          if (o.split != Split::unassigned) block[i].split = o.split;
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

void unpack(const std::string& file, const std::string& folder) {
  const ViewReader reader(file);
  if (reader.files() != 1) throw_error<DataError>(file, ": is a list of ", reader.files(), " packed files; unpack them one by one");
  fs::create_directories(folder);
  const SetInfo& set = reader.file(0);
  write_set_file(folder, set);
  std::map<std::string, std::ofstream> lists;
  const auto list = [&](const char* name, const std::string& sample) {
    auto& out = lists[name];
    if (!out.is_open()) out.open(fs::path(folder) / name);
    out << sample << '\n';
  };
  for (std::int64_t s = 0; s < reader.size(); ++s) {
    const std::string& name = reader.sample_name(s);
    const fs::path to(name);
    if (to.is_absolute() || name.find('\0') != std::string::npos || std::any_of(to.begin(), to.end(), [](const fs::path& p) { return p == ".."; }))
      throw_error<DataError>(file, ": the sample name \"", name, "\" leads out of ", folder);
    write_sample((fs::path(folder) / to).string(), reader.sample(s), set.recordings);
    list("data_all.txt", name);
    const Split split = reader.split(s);
    list(split == Split::val ? "data_val.txt" : split == Split::test ? "data_test.txt" : "data_train.txt", name);
  }
  for (auto& [name, out] : lists) {
    out.close();
    if (!out) throw_error<DataError>((fs::path(folder) / name).string(), ": cannot be written");
  }
}

namespace {

bool is_packed_name(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  return extension == ".h5" || extension == ".hdf5";
}

// Splits "path#val" into "path" and "#val".
std::pair<std::string, std::string> split_off(const std::string& given) {
  for (const std::string suffix : {"#train", "#val", "#test"})
    if (given.ends_with(suffix)) return {given.substr(0, given.size() - suffix.size()), suffix};
  return {given, ""};
}

// Packs folders once, under a name that follows from their content.
std::string packed_once(const std::vector<SampleFolder>& samples, const std::string& what, const std::string& cache_dir, int image_size) {
  std::error_code error;
  Sha256 hash;
  hash.add(text("mfl-views ", kFormatVersion, " image_size ", image_size, '\n'));
  std::set<std::string> parents, sets;
  std::vector<RecordingInfo> ignored;
  for (const SampleFolder& s : samples) {
    hash.add(s.name).add("\n");
    const fs::path cameras = fs::path(s.path) / kCameraFile, parent = (fs::path(s.path) / "..").lexically_normal();
    if (!fs::exists(cameras, error)) throw_error<DataError>("sample ", s.name, ": ", cameras.string(), " does not exist");
    const std::string json = read_text(cameras);
    hash.add(json);
    if (parents.insert(parent.string()).second)
      if (const auto up = read_up_direction((parent / "vertical_lines.npz").string())) hash.add(up->data(), sizeof *up);
    const fs::path set = fs::path(set_folder_of(s)) / kSetFile;
    if (sets.insert(set.string()).second && fs::exists(set, error)) hash.add(read_text(set));
    for (const std::string& file : parse_sample_file(json, cameras.string(), ignored).images) {
      const fs::path image = fs::path(s.path) / file;
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
    log_info(what, ": using its packed form ", packed.string());
    return packed.string();
  }
  log_info(what, ": packing ", samples.size(), " samples once into ", packed.string(), " at ", image_size, " x ", image_size);
  PackOptions options;
  options.image_size = image_size;
  pack(samples, packed.string(), options);
  return packed.string();
}

}  // namespace

void check_packed_from(const std::string& packed_path, const std::string& list_path) {
  const std::string packed = split_off(packed_path).first, list = split_off(list_path).first;
  std::error_code error;
  if (packed == list || !is_list_file(list) || !fs::is_regular_file(list, error)) return;
  std::vector<SampleFolder> listed;
  for (const ListEntry& e : read_list_file(list)) {
    if (is_packed_name(split_off(e.path).first)) return;
    listed.push_back({e.entry, e.path});
  }
  name_samples(listed);
  const ViewReader reader(packed);
  std::set<std::string> there;
  for (std::int64_t s = 0; s < reader.size(); ++s) there.insert(reader.stored_name(s));
  for (const std::string& name : left_out_of(reader.recipe())) there.insert(name);
  const fs::file_time_type made = fs::last_write_time(packed);
  std::vector<std::string> missing, newer;
  for (const SampleFolder& f : listed) {
    if (!there.erase(f.name)) missing.push_back(f.name);
    const auto written = fs::last_write_time(fs::path(f.path) / kCameraFile, error);
    if (!error && written > made) newer.push_back(f.name);
  }
  const std::string remedy = text("Pack it again (mfl_data pack ", list, " --overwrite), or remove it, or name the one that is meant as dataset_path");
  if (!missing.empty() || !there.empty())
    throw_error<DataError>(packed, ": is used in place of ", list, ", but holds other samples: ", missing.size(), " of the list are not in it",
                           missing.empty() ? "" : " (" + missing[0] + ")", ", ", there.size(), " in it are not in the list",
                           there.empty() ? "" : " (" + *there.begin() + ")", ". ", remedy);
  if (!newer.empty())
    log_warning(packed, ": is used in place of ", list, ", but the cameras of ", newer.size(), " samples (", newer[0],
                ") were written after it. If the samples have changed since: ", remedy);
}

std::string ensure_packed(const std::string& dataset_path, const std::string& cache_dir, int image_size) {
  const auto [path, suffix] = split_off(dataset_path);
  if (is_packed_name(path)) return dataset_path;
  std::error_code error;
  if (!is_list_file(path) || fs::is_directory(path, error) || !fs::exists(path, error))
    return packed_once(find_samples(path), path, cache_dir, image_size) + suffix;

  // A list: packed files stay what they are, folders go into one packed file.
  std::vector<SampleFolder> folders;
  std::vector<std::string> files;
  for (const ListEntry& e : read_list_file(path)) {
    const auto [target, own] = split_off(e.path);
    if (is_packed_name(target)) {
      files.push_back(fs::absolute(target).lexically_normal().string() + own);
      continue;
    }
    if (!own.empty()) throw_error<ConfigError>(path, ", line ", e.line, ": ", e.entry, ": only a packed file has splits; this is a folder");
    if (fs::is_directory(target, error) && !fs::exists(fs::path(target) / kCameraFile, error)) {
      for (SampleFolder& f : find_samples(target)) folders.push_back(std::move(f));
    } else {
      folders.push_back({e.entry, target});
    }
  }
  if (folders.empty()) return dataset_path;
  name_samples(folders);
  const std::string packed = packed_once(folders, path, cache_dir, image_size);
  if (files.empty()) return packed + suffix;
  std::string list = fs::absolute(packed).lexically_normal().string() + "\n";
  for (const std::string& f : files) list += f + "\n";
  const fs::path out = fs::path(cache_dir) / text("set_", hex(Sha256().add(list).finish()).substr(0, 16), ".txt");
  io::AtomicFile file(out);
  file.write(list);
  file.commit();
  return out.string() + suffix;
}

}  // namespace mfl::data
