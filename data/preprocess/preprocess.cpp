#include "data/preprocess/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "data/pack.h"
#include "data/preprocess/compat_facelift.h"
#include "data/preprocess/linear.h"
#include "data/preprocess/mask.h"
#include "data/preprocess/rig.h"
#include "data/preprocess/visual_hull.h"
#include "data/preprocess/warp.h"
#include "data/recording.h"
#include "data/sha256.h"
#include "data/video_reader.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/byte_source.h"
#include "runtime/log.h"

namespace mfl::data::preprocess {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kStateFile = "preprocess.json";
constexpr const char* kListFiles[] = {"data_mouse_train.txt", "data_mouse_val.txt", "data_mouse_test.txt"};  // by Split

// f(0) ... f(n - 1) on all cores; the first failure is thrown.
template <class F>
void in_parallel(std::size_t n, const F& f) {
  std::vector<std::exception_ptr> failed(n);
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < n; ++i) {
    try {
      f(i);
    } catch (...) {
      failed[i] = std::current_exception();
    }
  }
  for (const std::exception_ptr& e : failed)
    if (e) std::rethrow_exception(e);
}

std::string frame_name(std::int64_t frame) {
  char name[32];
  std::snprintf(name, sizeof name, "frame_%06lld", static_cast<long long>(frame));
  return name;
}
std::string view_name(int camera) {
  char name[32];
  std::snprintf(name, sizeof name, "cam_%03d", camera);
  return name;
}

// A file by its size and the SHA-256 of its first and last MiB: enough to notice another one, however large it is.
Json fingerprint(const std::string& path) {
  const io::Source file = io::open_file(path);
  constexpr std::uint64_t kPart = 1 << 20;
  const std::uint64_t n = std::min<std::uint64_t>(kPart, file->size());
  const auto first = file->read(0, n), last = file->read(file->size() - n, n);
  return {{"file", fs::path(path).filename().string()},
          {"bytes", file->size()},
          {"sha256_of_ends", hex(Sha256().add(first.data(), first.size()).add(last.data(), last.size()).finish())}};
}

// What is the same for all samples.
struct Job {
  Options o;
  Recording recording;
  std::vector<RawCamera> cameras;  // of the views
  std::vector<int> numbers;        // camera number of each view
  int reference = 0;               // a view
  FramePlan plan;
  Mat3 rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
  std::optional<Vec3> centre;  // one for all samples, or found in each
  std::vector<int> ring;
  SlotTable slots;
  double compat_distance = 0;
  std::vector<RecordingInfo> infos;
  std::string where(std::int64_t frame, std::size_t view) const {
    return text("frame ", frame, ", camera ", numbers[view]);
  }
};

// One sample's frames; reused.
struct Frame {
  std::vector<Image> colour, luma;  // [view]
  std::vector<Mask> masks;
};

struct Readers {
  std::vector<VideoReader> colour, masks;  // [view]
  explicit Readers(const Job& job, bool with_colour = true) {
    for (int k : job.numbers) {
      if (with_colour) colour.emplace_back(job.recording.videos[static_cast<std::size_t>(k)]);
      masks.emplace_back(job.recording.masks[static_cast<std::size_t>(k)]);
    }
  }
  void read(std::int64_t frame, Frame& f) {
    f.colour.resize(colour.size()), f.luma.resize(masks.size()), f.masks.resize(masks.size());
    in_parallel(masks.size(), [&](std::size_t v) {
      if (!colour.empty()) {
        while (colour[v].position() < frame) colour[v].skip();
        colour[v].read(f.colour[v]);
      }
      while (masks[v].position() < frame) masks[v].skip();
      masks[v].read_grey(f.luma[v]);
      find_mask(f.luma[v], f.masks[v]);
    });
  }
};

// Why this frame cannot be a sample; empty: it can.
std::string what_is_missing(const Job& job, const Frame& f) {
  for (std::size_t v = 0; v < f.masks.size(); ++v) {
    if (!f.masks[v].area) return text("camera ", job.numbers[v], " sees no animal: nothing in its mask is above 127");
    if (f.masks[v].on_border && !job.o.allow_clipped)
      return text("camera ", job.numbers[v], " sees the animal cut off by the border of its frame");
  }
  return {};
}

Meeting centroid_meeting(const Job& job, const Frame& f, std::int64_t frame) {
  std::vector<Vec3> origins, directions;
  for (std::size_t v = 0; v < f.masks.size(); ++v) {
    origins.push_back(position(job.cameras[v]));
    directions.push_back(ray(job.cameras[v], f.masks[v].u, f.masks[v].v));
  }
  return meet(origins, directions, text("frame ", frame));
}

void refuse(const Job& job, std::int64_t frame, const std::string& reason) {
  if (!job.o.skip_broken)
    throw_error<DataError>(job.o.video_dir, ", frame ", frame, ": ", reason,
                           ". --skip_broken leaves such frames out and names them",
                           reason.find("cut off") != reason.npos ? "; --allow_clipped keeps them" : "");
  log_warning("left out: frame ", frame, ": ", reason);
}

// Median over the samples, from a pass over the mask videos alone.
Vec3 sequence_centre(const Job& job) {
  Readers readers(job, false);
  Frame f;
  std::vector<double> along[3];
  std::int64_t done = 0;
  for (const PlannedFrame& p : job.plan.frames) {
    readers.read(p.raw_frame, f);
    if (what_is_missing(job, f).empty()) {
      const Vec3 c = centroid_meeting(job, f, p.raw_frame).point;
      for (int i = 0; i < 3; ++i) along[i].push_back(c[i]);
    }
    if (job.o.progress) job.o.progress(++done, static_cast<std::int64_t>(job.plan.frames.size()), 0);
  }
  if (along[0].empty())
    throw_error<DataError>(
        job.o.video_dir,
        ": in no frame do all cameras see the whole animal, so --center sequence has nothing to go by");
  Vec3 centre;
  for (int i = 0; i < 3; ++i) {
    const auto middle = along[i].begin() + static_cast<std::ptrdiff_t>(along[i].size() / 2);
    std::nth_element(along[i].begin(), middle, along[i].end());
    centre[i] = *middle;
  }
  return centre;
}

struct Made {
  Sample sample;
  std::string refused;  // empty: good
  double miss = 0, foreground = 0;
  double reach = 0;  // of alpha from the image centre, as a share of half the image, over the views
};

Made make_sample(const Job& job, const Frame& f, const PlannedFrame& planned) {
  const std::size_t n = job.cameras.size();
  const std::int64_t frame = planned.raw_frame;
  Made made;
  if (made.refused = what_is_missing(job, f); !made.refused.empty()) return made;
  const Meeting meeting = centroid_meeting(job, f, frame);
  made.miss = meeting.rms;
  Vec3 centre = job.centre.value_or(meeting.point);
  if (job.o.center == Center::hull && !job.o.compat_facelift) {
    std::vector<const Mask*> masks;
    for (const Mask& m : f.masks) masks.push_back(&m);
    centre = hull_centre(job.cameras, masks, meeting.point, text(job.o.video_dir, ", frame ", frame));
  }
  Similarity similarity = facelift_similarity(job.cameras, job.rotation, centre);
  if (job.o.compat_facelift)
    similarity = {kCanonicalRadius / job.compat_distance, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {0, 0, 0}};

  Sample& s = made.sample;
  s.name = frame_name(frame), s.raw_frame = frame, s.recording = 0, s.split = planned.split;
  s.raw_to_world = matrix(similarity);
  s.up = product(similarity.rotation, rig_up(job.cameras));
  s.views.resize(n);
  std::vector<double> reach(n);
  in_parallel(n, [&](std::size_t i) {
    const RawCamera& raw = job.cameras[i];
    View& v = s.views[i];
    const std::string where = text(job.o.video_dir, ", ", job.where(frame, i));
    const Vec3 to_centre = minus(centre, position(raw));
    if (!job.o.compat_facelift && !(dot(row(raw.R, 2), to_centre) > 0))
      throw_error<DataError>(
          where, ": the animal would be behind the camera. mfl_data doctor says what is wrong with the calibration");
    v.name = view_name(job.numbers[i]);
    if (job.o.compat_facelift) {
      v.camera = compat_camera(raw, job.compat_distance, job.o.image_size), v.warp = compat_warp(raw, job.o.image_size);
    } else {
      const VirtualView virtual_camera =
          virtual_view(raw, similarity, job.o.aim == Aim::center ? std::optional(to_centre) : std::nullopt,
                       job.o.image_size, job.o.zoom, where);
      v.camera = virtual_camera.camera, v.warp = virtual_camera.warp, v.zoom = job.o.zoom;
      v.prompt_slot = job.slots.slot[i];
      if (v.prompt_slot >= 0) v.slot_error = static_cast<float>(job.slots.error[i]);
    }
    SourceCamera source;
    source.k = corner_intrinsics(raw);
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < 3; ++c) source.w2c[4 * r + c] = raw.R[3 * r + c];
      source.w2c[4 * r + 3] = raw.T[r];
    }
    v.raw = source;
    v.image = warp_masked(f.colour[i], f.masks[i], v.warp, job.o.image_size);
    const int size = job.o.image_size;
    for (int y = 0; y < size; ++y)
      for (int x = 0; x < size; ++x)
        if (v.image.row(y)[4 * x + 3]) {
          const double dx = std::max(size / 2.0 - x, x + 1 - size / 2.0),
                       dy = std::max(size / 2.0 - y, y + 1 - size / 2.0);
          reach[i] = std::max({reach[i], dx / (size / 2.0), dy / (size / 2.0)});
        }
  });
  for (std::size_t i = 0; i < n; ++i) {
    const double share = foreground_share(s.views[i].image);
    made.foreground += share / static_cast<double>(n);
    made.reach = std::max(made.reach, reach[i]);
    if (share == 0) made.refused = text("camera ", job.numbers[i], " has nothing of the animal inside its new image");
    // Alpha in the outermost pixels: the animal goes on outside.
    if (made.refused.empty() && reach[i] >= 1 && !job.o.allow_clipped)
      made.refused = text("camera ", job.numbers[i], " has the animal cut off by the border of its new image (zoom ",
                          job.o.zoom, ")");
  }
  return made;
}

// ---- options ----
Json describe(const Job& job) {
  const Options& o = job.o;
  Json views = Json::array();
  for (int k : job.numbers) views.push_back(k);
  Json options{{"num_samples", o.num_samples},
               {"interval", o.interval},
               {"split", o.split == SplitMode::time ? "time" : "random"},
               {"val_ratio", o.val_ratio},
               {"test_ratio", o.test_ratio},
               {"guard_seconds", o.guard_seconds},
               {"seed", o.seed},
               {"image_size", o.image_size},
               {"views", views},
               {"zoom", o.zoom},
               {"aim", o.aim == Aim::center ? "center" : "keep"},
               {"reference", job.numbers[static_cast<std::size_t>(job.reference)]},
               {"jumps", o.jumps},
               {"skip_broken", o.skip_broken},
               {"allow_clipped", o.allow_clipped},
               {"compat", o.compat_facelift ? "facelift" : "none"}};
  if (o.center == Center::fixed)
    options["center"] = o.fixed_center;
  else
    options["center"] = o.center == Center::centroids ? "centroids" : o.center == Center::hull ? "hull" : "sequence";
  Json sources = Json::array({fingerprint(job.recording.calibration)});
  for (int k : job.numbers) {
    sources.push_back(fingerprint(job.recording.videos[static_cast<std::size_t>(k)]));
    sources.push_back(fingerprint(job.recording.masks[static_cast<std::size_t>(k)]));
  }
  return {{"tool", "mfl_data preprocess"}, {"options", options}, {"sources", sources}};
}

// The state of an earlier run in this folder must be of the same recording and options.
Json earlier_state(const fs::path& folder, const Json& now) {
  std::ifstream in(folder / kStateFile);
  if (!in) return {};
  const Json before = Json::parse(in, nullptr, false);
  const std::string file = (folder / kStateFile).string();
  if (!before.is_object() || !before.contains("options") || !before["options"].is_object() ||
      !before.contains("sources"))
    throw_error<DataError>(file, ": not what mfl_data preprocess wrote there. --overwrite starts anew");
  // These two decide which frames stop the run, not what a sample holds: an answer to a stop must not mean starting
  // anew.
  const auto harmless = [](const std::string& key) { return key == "skip_broken" || key == "allow_clipped"; };
  for (const auto& [key, value] : now["options"].items())
    if (!harmless(key) && (!before["options"].contains(key) || before["options"][key] != value))
      throw_error<ConfigError>(file, ": the samples there were made with ", key, " = ",
                               before["options"].contains(key) ? before["options"][key].dump() : "nothing",
                               ", now it is ", value.dump(),
                               ". Choose another --output_dir, or replace them with --overwrite");
  if (before["sources"] != now["sources"])
    throw_error<DataError>(file,
                           ": the samples there were made from other videos or another calibration. Choose another "
                           "--output_dir, or replace them with --overwrite");
  return before;
}

void remove_samples(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& e : fs::directory_iterator(folder, error)) {
    const std::string name = e.path().filename().string();
    if (e.is_directory() && (name.starts_with("frame_") || name.starts_with(".frame_")) &&
        fs::exists(e.path() / kCameraFile))
      old.push_back(e.path());
  }
  for (const fs::path& p : old) fs::remove_all(p, error);
  for (const char* name : kListFiles) fs::remove(folder / name, error);
  fs::remove(folder / kStateFile, error);
}

Job prepare(const Options& o) {
  if (o.output_dir.empty() && o.pack.empty())
    throw_error<ConfigError>("mfl_data preprocess needs --output_dir DIR, --pack FILE.h5, or both");
  if (o.image_size < 8 || o.image_size > 8192)
    throw_error<ConfigError>("--image_size must be from 8 to 8192, got ", o.image_size);
  if (!(o.zoom > 0 && o.zoom < 100)) throw_error<ConfigError>("--zoom must be positive and below 100, got ", o.zoom);
  std::error_code error;
  if (!o.pack.empty() && fs::exists(o.pack, error) && !o.overwrite)
    throw_error<DataError>(o.pack, ": exists already; --overwrite replaces it");
  Job job;
  job.o = o;
  job.recording = open_recording(o.video_dir, o.meta_dir);
  const Recording& r = job.recording;
  const int there = static_cast<int>(r.cameras.size());
  job.numbers = o.views;
  if (o.views.empty())
    for (int k = 0; k < there; ++k) job.numbers.push_back(k);
  for (std::size_t i = 0; i < job.numbers.size(); ++i) {
    const int k = job.numbers[i];
    if (k < 0 || k >= there)
      throw_error<ConfigError>("--views: there is no camera ", k, "; ", r.calibration, " has the cameras 0 to ",
                               there - 1);
    if (std::find(job.numbers.begin(), job.numbers.begin() + static_cast<std::ptrdiff_t>(i), k) !=
        job.numbers.begin() + static_cast<std::ptrdiff_t>(i))
      throw_error<ConfigError>("--views names camera ", k, " twice");
    check_raw_camera(r.cameras[static_cast<std::size_t>(k)], text(r.calibration, ", camera ", k));
    job.cameras.push_back(r.cameras[static_cast<std::size_t>(k)]);
  }
  if (job.cameras.size() < 2)
    throw_error<ConfigError>("at least two views are needed to find the animal in space, got ", job.cameras.size());
  if (o.reference >= 0) {
    const auto at = std::find(job.numbers.begin(), job.numbers.end(), o.reference);
    if (at == job.numbers.end()) throw_error<ConfigError>("--reference ", o.reference, " is none of the views");
    job.reference = static_cast<int>(at - job.numbers.begin());
  }
  std::int64_t last = 0;
  for (std::int64_t jump : o.jumps) {
    if (jump <= last || jump >= r.frames)
      throw_error<ConfigError>("--jumps must be ascending frame numbers between 1 and ", r.frames - 1, ", got ", jump);
    last = jump;
  }
  FramePlanOptions p;
  p.frames = r.frames, p.frames_per_second = r.frames_per_second, p.num_samples = o.num_samples,
  p.interval = o.interval;
  p.split = o.split, p.val_ratio = o.val_ratio, p.test_ratio = o.test_ratio, p.guard_seconds = o.guard_seconds,
  p.seed = o.seed;
  if (o.compat_facelift) p.split = SplitMode::random, p.test_ratio = 0, p.interval = 0;
  job.o.split = p.split;
  job.plan = plan_frames(p);
  if (o.compat_facelift) {
    // The script's own frames; the split is drawn over as many samples.
    const std::vector<std::int64_t> frames = compat_frames(r.frames, o.num_samples);
    if (frames.empty()) throw_error<ConfigError>("--compat facelift: no frame is left of ", r.frames);
    p.frames = static_cast<std::int64_t>(frames.size());
    job.plan = plan_frames(p);
    for (std::size_t i = 0; i < frames.size(); ++i) job.plan.frames[i].raw_frame = frames[i];
    job.compat_distance = compat_mean_distance(job.cameras);
  }
  job.rotation = room_rotation(job.cameras, job.reference);
  const std::vector<double> azimuths =
      relative_azimuths(job.cameras, optical_axes_meeting(job.cameras).point, job.reference);
  job.ring = ring_order(azimuths, job.reference);
  job.slots = assign_slots(azimuths, job.reference);
  RecordingInfo info;
  info.name = fs::path(o.video_dir).lexically_normal().filename().string();
  if (info.name.empty()) info.name = fs::path(o.video_dir).lexically_normal().parent_path().filename().string();
  info.frames = r.frames, info.rate = r.frames_per_second, info.jumps = o.jumps;
  job.infos = {info};
  return job;
}

}  // namespace

Result run(const Options& options) {
  Job job = prepare(options);
  const Options& o = job.o;
  const fs::path folder = o.output_dir.empty() ? fs::path(o.pack + ".parts") : fs::path(o.output_dir);
  fs::create_directories(folder);
  if (o.overwrite) remove_samples(folder);
  Json recipe = describe(job);
  Json state = earlier_state(folder, recipe);
  if (o.center == Center::fixed) job.centre = o.fixed_center;
  if (o.center == Center::sequence && !o.compat_facelift)
    job.centre = state.contains("sequence_center") ? state["sequence_center"].get<Vec3>() : sequence_centre(job);
  if (job.centre) recipe["sequence_center"] = *job.centre;
  io::write_text_file(folder / kStateFile, recipe.dump(1) + "\n");

  Result result;
  result.plan = job.plan;
  result.ring_order = job.ring, result.prompt_slot = job.slots.slot;
  result.slot_error.assign(job.slots.error.begin(), job.slots.error.end());
  Readers readers(job);
  Frame frame;
  std::future<void> writing;
  double reach = 0;
  std::int64_t done = 0, made_now = 0;
  std::vector<std::string> lists(3);
  for (const PlannedFrame& planned : job.plan.frames) {
    const std::string name = frame_name(planned.raw_frame);
    if (fs::exists(folder / name / kCameraFile)) {
      ++result.already;
    } else {
      readers.read(planned.raw_frame, frame);
      Made made = make_sample(job, frame, planned);
      if (!made.refused.empty()) {
        refuse(job, planned.raw_frame, made.refused);
        result.left_out.emplace_back(planned.raw_frame, made.refused);
        if (o.progress) o.progress(++done, static_cast<std::int64_t>(job.plan.frames.size()), result.already);
        continue;
      }
      ++made_now;
      result.centroid_miss += made.miss, result.foreground += made.foreground, reach = std::max(reach, made.reach);
      if (writing.valid()) writing.get();
      writing = std::async(std::launch::async, [&job, folder, name, sample = std::move(made.sample)] {
        const fs::path part = folder / ("." + name);
        std::error_code error;
        fs::remove_all(part, error);
        write_sample(part.string(), sample, job.infos);
        fs::rename(part, folder / name, error);
        if (error) throw_error<DataError>((folder / name).string(), ": cannot be written: ", error.message());
      });
      ++result.written;
    }
    lists[static_cast<std::size_t>(planned.split)] += name + "\n";
    if (o.progress) o.progress(++done, static_cast<std::int64_t>(job.plan.frames.size()), result.already);
  }
  if (writing.valid()) writing.get();
  if (made_now)
    result.centroid_miss /= static_cast<double>(made_now), result.foreground /= static_cast<double>(made_now);
  if (reach > 0 && !o.compat_facelift) result.largest_zoom = o.zoom / reach;
  if (result.written + result.already == 0)
    throw_error<DataError>(o.video_dir, ": every frame was left out; the first because ",
                           result.left_out.front().second);

  SetInfo set;
  set.ring_order = job.ring;
  if (!o.compat_facelift) set.slot_names.assign(std::begin(kSlotNames), std::end(kSlotNames));
  set.recordings = job.infos;
  recipe["left_out"] = Json::array();
  for (const auto& [f, reason] : result.left_out) recipe["left_out"].push_back({{"frame", f}, {"reason", reason}});
  recipe["guarded"] = job.plan.guarded;
  recipe["canonical_focal"] = canonical_focal(o.image_size);
  recipe["rotation"] = o.compat_facelift ? Mat3{1, 0, 0, 0, 1, 0, 0, 0, 1} : job.rotation;
  recipe["resample"] = "mean over the pixel of the bilinear, mask-premultiplied raw frame";
  recipe["mask"] = "luma > 127 at the video's resolution, largest component of 8 neighbours";
  if (o.compat_facelift) recipe["warning"] = compat_report(job.cameras, o.image_size);
  set.recipe = recipe.dump();
  write_set_file(folder.string(), set);
  for (std::size_t i = 0; i < 3; ++i)
    if (!lists[i].empty()) io::write_text_file(folder / kListFiles[i], lists[i]);

  if (!o.pack.empty()) {
    std::vector<SampleFolder> samples;
    for (const PlannedFrame& p : job.plan.frames) {
      const fs::path path = folder / frame_name(p.raw_frame);
      if (fs::exists(path / kCameraFile)) samples.push_back({frame_name(p.raw_frame), path.string()});
    }
    PackOptions pack_options;
    pack_options.overwrite = o.overwrite;
    if (o.progress) pack_options.progress = [&](std::int64_t d, std::int64_t t) { o.progress(d, t, 0); };
    pack(samples, o.pack, pack_options);
    std::error_code error;
    if (o.output_dir.empty()) fs::remove_all(folder, error);
  }
  return result;
}

}  // namespace mfl::data::preprocess
