#include "train/infer/reconstruct_scenes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/progress.h"
#include "models/gslrm/ply.h"
#include "models/gslrm/viewer/viewer.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/png.h"
#include "runtime/log.h"
#include "train/metrics.h"
#include "train/panels.h"

namespace mfl::infer {

namespace fs = std::filesystem;
using gslrm::Gaussians;
using nlohmann::ordered_json;

namespace {

constexpr const char* kDone = "provenance.json";

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

ordered_json number(double x) { return std::isfinite(x) ? ordered_json(x) : ordered_json(); }

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

    const Gaussians all = model_.reconstruct(s.image, s.cameras);
    ordered_json metrics;
    if (s.truth) metrics = measure(s, all);
    const Gaussians host = model_.to_host(all);
    const Gaussians kept = gslrm::filtered(host, o_.filters);
    gslrm::write_ply(to / "gaussians.ply", kept, {.scaling_modifier = model_.spec().scaling_modifier});
    files.push_back("gaussians.ply");
    if (kept.xyz.shape()[0] == 0) log_warning((to / "gaussians.ply").string(), " is empty: the filters leave none of ", host.xyz.shape()[0], " Gaussians.");
    for (const std::string& file : turntables(model_.to_device(kept), to)) files.push_back(file);
    if (o_.viewer) {
      gslrm::write_viewer(to / "viewer.html", kept, s.cameras, {.title = s.name, .camera_names = s.view_names, .scaling_modifier = model_.spec().scaling_modifier});
      files.push_back("viewer.html");
    }
    if (s.truth) {
      io::write_text_file(to / "metrics.json", metrics.dump(2) + "\n");
      files.push_back("metrics.json");
    }
    io::write_text_file(to / kDone, provenance(s, source, views, files, host.xyz.shape()[0], kept.xyz.shape()[0], metrics).dump(2) + "\n");
  }

 private:
  std::vector<std::string> turntables(const Gaussians& g, const fs::path& to) {
    write_panel(to / "turntable.png", turntable_strip(model_.render(g, turntable_cameras(o_.strip))));
    std::vector<std::string> files = {"turntable.png"};
    if (!o_.video) return files;
    const Tensor views = model_.render(g, turntable_cameras(o_.film));
    std::vector<data::Image> frames;
    for (std::int64_t i = 0; i < views.shape()[0]; ++i) frames.push_back(to_image(views.rows(i, 1).reshape({views.shape()[1], views.shape()[2], 3})));
    std::string note;
    files.push_back(write_video(to / "turntable", frames, o_.film_rate, &note).filename().string());
    if (!note.empty()) log_debug(note);
    return files;
  }

  ordered_json measure(const Scene& s, const Gaussians& g) {
    Tensor render = model_.render(g, s.truth_cameras);
    for (std::int64_t i = 0; i < render.numel(); ++i) render.data<float>()[i] = std::clamp(render.data<float>()[i], 0.0f, 1.0f);
    std::vector<double> lpips;
    if (lpips_) {
      Ctx cx = model_.context();
      const Tensor predicted = cx.accum(render.shape(), {"renders"}), truth = cx.arena.empty(s.truth.shape(), DType::f32, {"truth"});
      copy(cx.stream, render, predicted);
      copy(cx.stream, s.truth, truth);
      lpips = lpips_per_view(cx, *lpips_, predicted, truth);
    }
    struct Sum {
      double sum = 0;
      int count = 0;
    };
    std::map<std::string, std::map<std::string, Sum>> sums;
    ordered_json views = ordered_json::array();
    for (std::int64_t v = 0; v < s.truth.shape()[0]; ++v) {
      const bool input = s.truth_is_input[static_cast<std::size_t>(v)] != 0;
      ordered_json one = {{"view", s.truth_names[static_cast<std::size_t>(v)]}, {"input", input}};
      auto say = [&](const char* name, double value) {
        one[name] = number(value);
        if (!std::isfinite(value)) return;
        for (const char* group : {"all", input ? "input" : "held_out"}) sums[group][name].sum += value, ++sums[group][name].count;
      };
      say("psnr", psnr(render, s.truth, v));
      if (s.truth.shape()[1] >= 11) say("ssim", metric_ssim(render, s.truth, v));
      if (!lpips.empty()) say("lpips", lpips[static_cast<std::size_t>(v)]);
      if (const auto f = foreground_psnr(render, s.truth, v)) say("psnr_foreground", *f);
      if (s.truth.shape()[3] == 4)
        say("mask_iou", mask_score(render.rows(v, 1), s.truth.rows(v, 1), s.background, o_.mask_threshold).iou);
      views.push_back(std::move(one));
    }
    ordered_json j = ordered_json::object();
    for (const char* group : {"all", "input", "held_out"}) {
      ordered_json mean = ordered_json::object();
      for (const auto& [name, sum] : sums[group]) mean[name] = sum.sum / sum.count;
      if (!mean.empty()) j[group] = mean;
    }
    j["views"] = views;
    return j;
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
      means.erase("views");
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
  if (o.video) settings["video"] = turntable_json(o.film), settings["video"]["rate"] = o.film_rate;
  settings["viewer"] = o.viewer;
  auto done = [&](std::int64_t i) { return finished(folder_of(o, set, i), settings, set.source(i)); };

  std::vector<std::int64_t> mine, missing;
  for (std::int64_t i = comm.rank(); i < set.size; i += comm.size()) mine.push_back(i);
  for (std::int64_t i : mine)
    if (!done(i)) missing.push_back(i);
  const auto total = static_cast<std::int64_t>(mine.size()), before = total - static_cast<std::int64_t>(missing.size());
  const char* what = comm.size() == 1 ? " reconstructions" : " reconstructions of this rank";
  data::Progress progress(what + 1);
  if (comm.rank() == 0 && before > 0) log_info(before, " of ", total, what, " are finished.");

  Writer writer(model, o, settings, hashes, lpips);
  for (std::size_t k = 0; k < missing.size(); ++k) {
    const std::int64_t i = missing[k];
    writer.make(set.scene(i), set.source(i), folder_of(o, set, i));
    if (comm.rank() == 0) progress.show(before + static_cast<std::int64_t>(k) + 1, total, before);
  }

  Reconstructed r;
  for (std::int64_t n : comm.gather(static_cast<std::int64_t>(missing.size()))) r.made += n;
  r.finished_before = set.size - r.made;
  if (comm.rank() == 0) {   // every object is finished now: its file holds what is known of it
    ordered_json objects = ordered_json::object(), means = ordered_json::object();
    std::vector<std::pair<std::string, std::pair<double, int>>> sums;
    for (std::int64_t i = 0; i < set.size; ++i) {
      const std::optional<ordered_json> j = done(i);
      if (!j) throw_error<DataError>((folder_of(o, set, i) / kDone).string(), " is missing after it was written. Is the folder seen by all ranks?");
      if (!j->contains("metrics")) continue;
      objects[set.name(i)] = (*j)["metrics"];
      for (const auto& [group, values] : (*j)["metrics"].items())
        for (const auto& [name, value] : values.items()) {
          const std::string full = group == "all" ? name : name + "_" + group;
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
