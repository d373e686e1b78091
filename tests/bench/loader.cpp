#include "tests/bench/loader.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "data/loader.h"
#include "data/scenes.h"
#include "data/sha256.h"
#include "runtime/rng.h"

namespace mfl::bench {
namespace {

namespace fs = std::filesystem;
using namespace mfl::data;
using Json = nlohmann::ordered_json;

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return s(u.ru_utime) + s(u.ru_stime);
}
double wall_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Scenes as a camera would see them: noise of a few levels on the subject, nothing around it. At least `bytes` in the file.
std::string make_file(const fs::path& folder, const LoaderOptions& o, std::int64_t bytes) {
  SceneOptions scene;
  scene.views = o.views, scene.image_size = o.image_size, scene.elevation_degrees = 10;
  constexpr int kScenes = 4;
  std::vector<Sample> scenes;
  for (int i = 0; i < kScenes; ++i) {
    scenes.push_back(make_scene(scene, i));
    for (data::View& v : scenes.back().views) {
      Rng rng(1, Draw::test, static_cast<std::uint64_t>(&v - scenes.back().views.data()) + 100 * static_cast<std::uint64_t>(i));
      for (std::size_t p = 0; p < v.image.pixels.size(); p += 4)
        for (int c = 0; c < 3 && v.image.pixels[p + 3]; ++c)
          v.image.pixels[p + c] = static_cast<std::uint8_t>(std::clamp(v.image.pixels[p + c] + static_cast<int>(rng.below(9)) - 4, 0, 255));
    }
  }
  const auto write = [&](const std::string& path, std::int64_t samples) {
    PackInfo info;
    info.width = info.height = o.image_size, info.samples = samples, info.max_views = o.views;
    ViewWriter w(path, info, true);
    for (std::int64_t i = 0; i < samples; ++i) {
      Sample s = scenes[i % kScenes];
      s.name = text("sample_", i);
      w.add(s);
    }
    w.finish();
    return static_cast<std::int64_t>(fs::file_size(path));
  };
  const std::string path = (folder / "loader.h5").string();
  const std::int64_t samples = 4 * kScenes, size = write(path, samples);
  if (size < bytes) write(path, bytes * samples / size + kScenes);
  return path;
}

// A control group with a limit on memory, page cache included; this process is in it until the end. Version 2 or 1.
class MemoryLimit {
 public:
  explicit MemoryLimit(std::int64_t bytes) {
    const std::string name = text("mfl_bench_", getpid());
    std::string wrong = "no control groups at /sys/fs/cgroup";
    for (const auto& [root, limit, used] : {std::array{"/sys/fs/cgroup", "memory.max", "memory.peak"},
                                            std::array{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"}}) {
      if (!fs::exists(fs::path(root) / "cgroup.procs")) continue;
      std::error_code error;
      group_ = fs::path(root) / name, root_ = root, used_ = used;
      fs::create_directory(group_, error);
      if (!error && put(fs::path(root) / "cgroup.subtree_control", "+memory", true) && put(group_ / limit, std::to_string(bytes)) &&
          put(group_ / "cgroup.procs", std::to_string(getpid())))
        return;
      wrong = text(group_.string(), " cannot be made or given a limit", error ? ": " + error.message() : "");
      fs::remove(group_, error);
    }
    throw_error<ConfigError>("--memory-limit: ", wrong, ". Run it as root, or: systemd-run --user --scope -p MemoryMax=", bytes,
                             " mfl_bench loader --data FILE");
  }
  ~MemoryLimit() {
    put(root_ / "cgroup.procs", std::to_string(getpid()));
    std::error_code ignored;
    fs::remove(group_, ignored);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  std::int64_t peak() const {
    std::int64_t v = 0;
    std::ifstream(group_ / used_) >> v;
    return v;
  }

 private:
  static bool put(const fs::path& file, const std::string& value, bool only_if_there = false) {
    if (only_if_there && !fs::exists(file)) return true;
    std::ofstream out(file);
    out << value << std::flush;
    return out.good();
  }
  fs::path root_, group_, used_;
};

void drop_from_cache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

std::string hash_of(const Batch& b) {
  Sha256 h;
  for (const Tensor* t : {&b.image, &b.c2w, &b.fxfycxcy, &b.index, &b.background})
    h.add(t->view().data, t->bytes());
  return hex(h.finish());
}

}  // namespace

std::vector<Json> bench_loader(const LoaderOptions& o) {
  const std::int64_t limit = o.memory_limit << 20;
  struct Folder {
    fs::path path;
    ~Folder() {
      std::error_code ignored;
      if (!path.empty()) fs::remove_all(path, ignored);
    }
  } folder;
  std::string path = o.data;
  if (path.empty()) {
    std::string name = (fs::temp_directory_path() / "mfl_bench_XXXXXX").string();
    if (!mkdtemp(name.data())) throw_error<DataError>(name, ": cannot be made");
    folder.path = name;
    path = make_file(name, o, 2 * limit);
  }
  const auto reader = std::make_shared<const ViewReader>(path);
  std::int64_t bytes = 0;
  for (int f = 0; f < reader->files(); ++f) bytes += static_cast<std::int64_t>(fs::file_size(reader->file(f).path));
  if (limit && bytes <= limit)
    throw_error<ConfigError>(path, ": has ", bytes >> 20, " MiB, which fit into the memory limit of ", o.memory_limit, " MiB; there is nothing to measure");

  DatasetOptions d;
  d.image_size = o.image_size, d.num_views = o.views, d.num_input_views = std::min(o.views, 4);
  const auto dataset = std::make_shared<const Dataset>(reader, d);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<int> workers = o.workers;
  if (workers.empty())
    for (int w = 0; w <= cores; ++w) workers.push_back(w);

  std::vector<std::string> first;
  for (int w : workers) {
    Loader loader(dataset, {.batch = o.batch}, {.workers = w});
    std::vector<std::string> hashes;
    for (int i = 0; i < 4; ++i) hashes.push_back(hash_of(loader.next()));
    if (first.empty()) first = hashes;
    if (hashes != first) throw_error<Error>("the batches of ", w, " workers are not those of ", workers[0]);
  }
  std::printf("%s: %.1f MiB, %lld samples; batches of %d x %d views at %d x %d are the same for every number of workers\n", path.c_str(),
              static_cast<double>(bytes) / (1 << 20), static_cast<long long>(reader->size()), o.batch, o.views, o.image_size, o.image_size);

  std::unique_ptr<MemoryLimit> group;
  if (limit) group = std::make_unique<MemoryLimit>(limit);
  std::vector<Json> records;
  for (int w : workers) {
    if (limit)
      for (int f = 0; f < reader->files(); ++f) drop_from_cache(reader->file(f).path);
    Loader loader(dataset, {.batch = o.batch}, {.workers = w});
    for (int i = 0; i < 3; ++i) loader.next();   // buffers are touched once
    const double wall = wall_seconds(), cpu = cpu_seconds();
    std::int64_t images = 0;
    double took = 0;
    do {
      images += loader.next().size() * o.views;
      took = wall_seconds() - wall;
    } while (took < o.seconds);
    const double busy = cpu_seconds() - cpu;
    Json j = {{"kind", "loader"},
              {"workers", w},
              {"image_size", o.image_size},
              {"images_per_s", static_cast<double>(images) / took},
              {"images_per_cpu_s", static_cast<double>(images) / busy},
              {"cores_busy", busy / took},
              {"file_mib", static_cast<double>(bytes) / (1 << 20)}};
    if (limit) j["memory_limit_mib"] = o.memory_limit, j["memory_peak_mib"] = static_cast<double>(group->peak()) / (1 << 20);
    std::printf("%2d workers: %7.1f images/s, %7.1f a CPU second, %.2f cores busy%s\n", w, static_cast<double>(images) / took,
                static_cast<double>(images) / busy, busy / took,
                limit ? text(", at most ", group->peak() >> 20, " MiB in memory").c_str() : "");
    std::fflush(stdout);
    records.push_back(std::move(j));
  }
  return records;
}

}  // namespace mfl::bench
