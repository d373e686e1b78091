#include "train/infer/reconstruct_scenes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/progress.h"
#include "models/gslrm/silhouette.h"
#include "models/gslrm/splat_file.h"
#include "models/gslrm/spz.h"
#include "models/gslrm/viewer/viewer.h"
#include "models/gslrm/visibility.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/png.h"
#include "runtime/log.h"
#include "train/metrics.h"
#include "train/infer/rig.h"
#include "train/infer/scene_metrics.h"
#include "train/infer/scene_report.h"
#include "train/panels.h"

namespace mfl::infer {

namespace fs = std::filesystem;
using gslrm::Gaussians;
using nlohmann::ordered_json;

namespace {

constexpr const char* kDone = "provenance.json";
constexpr const char* kTurntables[] = {"orbit", "reference", "dataset"};

// What a finished object says of itself; nothing if it is not finished, or was made otherwise.
std::optional<ordered_json> finished(const fs::path& folder, const ordered_json& settings, const std::string& source) {
  std::ifstream in(folder / kDone, std::ios::binary);
  if (!in) return std::nullopt;
  const ordered_json j = ordered_json::parse(in, nullptr, false);
  if (!j.is_object() || j.value("settings", ordered_json()) != settings || j.value("source", ordered_json()) != source || !j.contains("files") || !j["files"].is_array())
    return std::nullopt;
  std::error_code none;
  for (const auto& file : j["files"])
    if (!file.is_string() || !fs::exists(folder / file.get<std::string>(), none)) return std::nullopt;
  return j;
}

ordered_json camera_json(const gslrm::Cameras& k, std::int64_t v) {
  const float *f = k.fxfycxcy.data<float>() + 4 * v, *m = k.c2w.data<float>() + 16 * v;
  ordered_json c2w = ordered_json::array();
  for (int r = 0; r < 4; ++r) c2w.push_back({m[4 * r], m[4 * r + 1], m[4 * r + 2], m[4 * r + 3]});
  return {{"w", k.width}, {"h", k.height}, {"fx", f[0]}, {"fy", f[1]}, {"cx", f[2]}, {"cy", f[3]}, {"c2w", c2w}};
}

ordered_json filters_json(const gslrm::Filters& f) {
  ordered_json j = ordered_json::object();
  if (f.opacity) j["opacity_above"] = *f.opacity;
  if (f.scaling) j["scale_below"] = *f.scaling;
  if (f.floater) j["floaters_beyond"] = *f.floater;
  if (f.box) j["box"] = *f.box;
  return j;
}

ordered_json turntable_json(const Turntable& t) {
  return {{"views", t.views}, {"size", t.size}, {"radius", t.radius}, {"hfov", t.hfov}, {"elevation", t.elevation}, {"first_azimuth", t.first_azimuth}};
}

void write_view(const fs::path& path, const Tensor& images, std::int64_t v) {
  const Shape& s = images.shape();
  const std::int64_t n = s[1] * s[2] * 3;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(std::lround(255 * std::clamp(images.data<float>()[v * n + i], 0.0f, 1.0f)));
  io::write_png(path, {static_cast<int>(s[2]), static_cast<int>(s[1]), 3}, bytes.data());
}

class Writer {
 public:
  Writer(Reconstructor& model, const SceneOutputs& o, const ordered_json& settings, FileHashes& hashes, const perceptual::LpipsLoss* lpips)
      : model_(model), o_(o), settings_(settings), hashes_(hashes), lpips_(lpips) {}

  void make(const Scene& s, const std::string& source, const fs::path& to) {
    std::error_code none;
    fs::remove(to / kDone, none);   // until all of it is new
    ordered_json files = ordered_json::array(), views = ordered_json::array();
    for (std::size_t v = 0; v < s.view_names.size(); ++v) {
      const ordered_json made = ordered_json::parse(s.view_sources[v]);
      fs::path file = s.view_files[v];
      if (const fs::path given = made.value("file", ""); !given.empty())   // it may lie here already
        if (const fs::path inside = given.lexically_relative(fs::absolute(to).lexically_normal()); !inside.empty() && *inside.begin() != "..") file = inside;
      if (file.empty()) {
        file = fmt::format("views/{}_{}.png", v, s.view_names[v]);
        write_view(to / file, s.image, static_cast<std::int64_t>(v));
      }
      files.push_back(file.string());
      ordered_json view = {{"file", file.string()}, {"name", s.view_names[v]}};
      for (const auto& [key, value] : made.items()) view[key == "file" ? "given" : key] = value;
      view["camera"] = camera_json(s.cameras, static_cast<std::int64_t>(v));
      views.push_back(std::move(view));
    }

    const float modifier = model_.spec().scaling_modifier;
    const auto timed = [&](Phase phase, auto&& work) {
      const Timed here(o_.timings, phase);
      return work();
    };
    Gaussians all;
    const Gaussians host = timed(Phase::gaussians, [&] {
      all = model_.reconstruct(s.image, s.cameras);
      return model_.to_host(all);
    });
    std::optional<SceneReport> report;
    const Gaussians kept = timed(Phase::trim, [&] {
      report.emplace(host, modifier);
      return trimmed(s, all, host, *report);
    });
    timed(Phase::ply, [&] { gslrm::write_ply(to / "gaussians.ply", kept, {.scaling_modifier = modifier, .layout = o_.ply}); });
    files.push_back("gaussians.ply");
    ordered_json metrics;
    if (s.truth) metrics = timed(Phase::measure, [&] { return measure(s, all); });
    const Gaussians on_device = model_.to_device(kept);
    if (kept.xyz.shape()[0] == 0) log_warning((to / "gaussians.ply").string(), " is empty: nothing is left of ", host.xyz.shape()[0], " Gaussians.");
    timed(Phase::formats, [&] {
      if (o_.splat) {
        gslrm::write_splat(to / "gaussians.splat", kept, modifier);
        files.push_back("gaussians.splat");
      }
      if (o_.spz) {
        gslrm::write_spz(to / "gaussians.spz", kept, {.scaling_modifier = modifier});
        files.push_back("gaussians.spz");
      }
    });
    io::write_text_file(to / "gaussians.json", ordered_json::parse(report->json()).dump(2) + "\n");
    files.push_back("gaussians.json");
    if (o_.in_place && (o_.crop_animal || o_.prune_visibility)) log_info("what is left of the Gaussians:\n", report->table());
    for (const std::string& file : timed(Phase::turntable, [&] { return turntables(s, on_device, to); })) files.push_back(file);
    if (o_.viewer) {
      const Timed here(o_.timings, Phase::viewer);
      gslrm::write_viewer(to / "viewer.html", kept, s.cameras, {.title = s.name, .camera_names = s.view_names, .background = {float(s.background[0]), float(s.background[1]), float(s.background[2])}, .scaling_modifier = model_.spec().scaling_modifier});
      files.push_back("viewer.html");
    }
    if (s.truth) {
      io::write_text_file(to / "metrics.json", metrics.dump(2) + "\n");
      files.push_back("metrics.json");
    }
    const Timed here(o_.timings, Phase::provenance);
    io::write_text_file(to / kDone, provenance(s, source, views, files, host.xyz.shape()[0], kept.xyz.shape()[0], metrics).dump(2) + "\n");
  }

 private:
  // Filters, then the crop by the animal's outlines, then what nobody sees.
  Gaussians trimmed(const Scene& s, const Gaussians& all, const Gaussians& host, SceneReport& report) {
    Gaussians kept = gslrm::filtered(host, o_.filters);
    report.step("filters", kept);
    if (o_.crop_animal && kept.xyz.shape()[0] > 0) {
      const std::int64_t V = s.image.shape()[0];
      const bool alpha = s.truth && s.truth.shape()[3] == 4 && static_cast<std::int64_t>(s.truth_is_input.size()) >= V &&
                         std::all_of(s.truth_is_input.begin(), s.truth_is_input.begin() + V, [](std::uint8_t x) { return x != 0; });
      const Tensor outlines = gslrm::silhouettes(alpha ? s.truth.rows(0, V) : s.image, s.background, o_.mask_threshold);
      gslrm::SilhouetteCounts counts;
      kept = gslrm::select(kept, gslrm::inside_silhouettes(kept, s.cameras, outlines, {}, &counts));
      report.silhouette(counts);
      report.step("silhouettes", kept);
    }
    if (o_.prune_visibility && kept.xyz.shape()[0] > 0) {
      const Gaussians device = model_.to_device(kept);
      gslrm::Visibility seen = gslrm::joined(model_.visibility(device, s.cameras), model_.visibility(device, turntable_cameras(o_.strip)));
      if (s.truth) seen = gslrm::joined(seen, model_.visibility(device, s.truth_cameras));
      kept = gslrm::select(kept, gslrm::visible_mask(seen));
      report.step("visibility", kept);
    }
    if (o_.crop_animal || o_.prune_visibility) {
      const gslrm::Cameras& from = s.truth ? s.truth_cameras : s.cameras;
      report.pictures(model_.render(all, from), model_.render(model_.to_device(kept), from), s.truth);
    }
    return kept;
  }

  std::vector<std::string> turntables(const Scene& s, const Gaussians& g, const fs::path& to) {
    gslrm::Cameras strip, film;
    if (o_.turntable == TurntableKind::orbit) {
      strip = turntable_cameras(o_.strip), film = turntable_cameras(o_.film);
    } else {
      const gslrm::Cameras& from = o_.turntable == TurntableKind::reference ? s.cameras : s.truth_cameras;
      if (!from.c2w)
        throw_error<ConfigError>("--turntable dataset shows the views of a data set, but ", s.name, " has none; take reference, or orbit.");
      strip = cameras_of_size(from, o_.strip.size);
      if (o_.video) film = camera_path(cameras_of_size(from, o_.film.size, ring_order(from, rig_up(from))), o_.film.views);
    }
    write_panel(to / "turntable.png", turntable_strip(model_.render(g, strip)));
    std::vector<std::string> files = {"turntable.png"};
    if (!o_.video) return files;
    const Tensor views = model_.render(g, film);
    std::vector<data::Image> frames;
    for (std::int64_t i = 0; i < views.shape()[0]; ++i) frames.push_back(to_image(views.rows(i, 1).reshape({views.shape()[1], views.shape()[2], 3})));
    std::string note;
    files.push_back(write_video(to / "turntable", frames, o_.film_rate, &note).filename().string());
    if (!note.empty()) log_debug(note);
    return files;
  }

  ordered_json measure(const Scene& s, const Gaussians& g) {
    MetricsInput in{.render = model_.render(g, s.truth_cameras), .truth = s.truth, .names = s.truth_names, .is_input = s.truth_is_input,
                    .background = s.background, .mask_threshold = o_.mask_threshold};
    if (lpips_) {
      Ctx cx = model_.context();
      for (std::int64_t i = 0; i < in.render.numel(); ++i) in.render.data<float>()[i] = std::clamp(in.render.data<float>()[i], 0.0f, 1.0f);
      const Tensor predicted = cx.accum(in.render.shape(), {"renders"}), truth = cx.arena.empty(s.truth.shape(), DType::f32, {"truth"});
      copy(cx.stream, in.render, predicted);
      copy(cx.stream, s.truth, truth);
      in.lpips = lpips_per_view(cx, *lpips_, predicted, truth);
    }
    return ordered_json::parse(scene_metrics(in).json());
  }

  ordered_json provenance(const Scene& s, const std::string& source, const ordered_json& views, const ordered_json& files, std::int64_t all,
                          std::int64_t kept, const ordered_json& metrics) {
    const BuildInfo build = build_info();
    ordered_json checkpoints = ordered_json::array();
    for (const auto& c : o_.checkpoints)
      checkpoints.push_back({{"part", c.part}, {"file", fs::absolute(c.file).lexically_normal().string()}, {"sha256", hashes_.get(c.file)}});
    ordered_json j = {{"name", s.name},
                      {"made_by", {{"version", build.version}, {"commit", build.commit}, {"compiler", build.compiler}}},
                      {"source", source},
                      {"settings", settings_},
                      {"origin", ordered_json::parse(s.origin)},
                      {"background", s.background},
                      {"checkpoints", checkpoints},
                      {"views", views},
                      {"gaussians", {{"file", "gaussians.ply"}, {"made", all}, {"kept", kept}, {"filters", filters_json(o_.filters)}}},
                      {"files", files}};
    if (!metrics.is_null()) {
      ordered_json means = metrics;
      means.erase("views"), means.erase("missing");
      j["metrics"] = means;
    }
    return j;
  }

  Reconstructor& model_;
  const SceneOutputs& o_;
  const ordered_json& settings_;
  FileHashes& hashes_;
  const perceptual::LpipsLoss* lpips_;
};

}  // namespace

fs::path folder_of(const SceneOutputs& o, const SceneSet& set, std::int64_t i) { return o.in_place ? o.folder : o.folder / set.name(i); }

Reconstructed reconstruct_scenes(Reconstructor& model, const SceneSet& set, Communicator& comm, const SceneOutputs& o, FileHashes& hashes,
                                 const perceptual::LpipsLoss* lpips) {
  ordered_json settings = ordered_json::parse(o.settings);
  settings["filters"] = filters_json(o.filters);
  settings["turntable"] = turntable_json(o.strip);
  settings["turntable"]["cameras"] = kTurntables[static_cast<std::size_t>(o.turntable)];
  if (o.video) settings["video"] = turntable_json(o.film), settings["video"]["rate"] = o.film_rate;
  settings["crop_animal"] = o.crop_animal, settings["prune_visibility"] = o.prune_visibility;
  settings["formats"] = {{"ply", o.ply == gslrm::PlyLayout::published ? "published" : "3dgs"}, {"splat", o.splat}, {"spz", o.spz}, {"viewer", o.viewer}};
  auto done = [&](std::int64_t i) { return finished(folder_of(o, set, i), settings, set.source(i)); };

  std::vector<std::int64_t> mine, missing;
  for (std::int64_t i = comm.rank(); i < set.size; i += comm.size()) mine.push_back(i);
  Reconstructed r;
  for (std::int64_t i : mine)
    if (!o.left_out.has(i) && !done(i)) missing.push_back(i);
  const auto without = std::count_if(mine.begin(), mine.end(), [&](std::int64_t i) { return o.left_out.has(i); });
  const auto total = static_cast<std::int64_t>(mine.size()) - without, before = total - static_cast<std::int64_t>(missing.size());
  const char* what = comm.size() == 1 ? " reconstructions" : " reconstructions of this rank";
  data::Progress progress(what + 1);
  if (comm.rank() == 0 && before > 0) log_info(before, " of ", total, what, " are finished.");

  Writer writer(model, o, settings, hashes, lpips);
  for (std::size_t k = 0; k < missing.size(); ++k) {
    const std::int64_t i = missing[k];
    std::optional<Scene> scene;
    r.left_out.attempt(i, set.size, set.name(i), [&] {
      const Timed timed(o.timings, Phase::scene);
      std::error_code none;
      fs::remove(folder_of(o, set, i) / kDone, none);   // until all of it is new
      scene = set.scene(i);
    });
    if (scene) writer.make(*scene, set.source(i), folder_of(o, set, i));
    if (comm.rank() == 0) progress.show(before + static_cast<std::int64_t>(k) + 1, total, before);
  }

  const std::int64_t made = static_cast<std::int64_t>(missing.size()) - r.left_out.here();
  if (o.timings) o.timings->scenes(made);
  for (std::int64_t n : comm.gather(made)) r.made += n;
  for (std::int64_t i : mine)
    if (o.left_out.has(i)) r.left_out.add(i, set.name(i));
  r.left_out.share(comm);
  r.finished_before = set.size - r.made - r.left_out.total();
  if (comm.rank() == 0) {   // every other object is finished now: its file holds what is known of it
    ordered_json objects = ordered_json::object(), means = ordered_json::object();
    std::vector<std::pair<std::string, std::pair<double, int>>> sums;
    for (std::int64_t i = 0; i < set.size; ++i) {
      if (r.left_out.has(i)) continue;
      const std::optional<ordered_json> j = done(i);
      if (!j) throw_error<DataError>((folder_of(o, set, i) / kDone).string(), " is missing after it was written. Is the folder seen by all ranks?");
      if (!j->contains("metrics")) continue;
      objects[set.name(i)] = (*j)["metrics"];
      for (const auto& [group, values] : (*j)["metrics"].items())   // all, input, held_out
        for (const auto& [name, value] : values.items()) {
          if (!value.is_number()) continue;
          const std::string full = group == "all" ? name : name + "_" + group;
          if (group != "all" && (*j)["metrics"]["all"].contains(full)) continue;   // stands there already
          auto at = std::find_if(sums.begin(), sums.end(), [&](const auto& s) { return s.first == full; });
          if (at == sums.end()) at = sums.insert(sums.end(), {full, {0.0, 0}});
          at->second.first += value.get<double>(), ++at->second.second;
        }
    }
    for (const auto& [name, sum] : sums) {
      r.means.emplace_back(name, sum.first / sum.second);
      means[name] = sum.first / sum.second;
    }
    if (!sums.empty() && !o.in_place)
      io::write_text_file(o.folder / "metrics.json", ordered_json{{"objects", objects.size()}, {"settings", settings}, {"mean", means}, {"by_object", objects}}.dump(2) + "\n");
  }
  comm.barrier();
  return r;
}

}  // namespace mfl::infer
