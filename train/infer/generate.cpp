#include "train/infer/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/progress.h"
#include "models/mvdiffusion/prompts.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/png.h"
#include "runtime/log.h"
#include "train/metrics.h"
#include "train/panels.h"

namespace mfl::infer {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using mvdiffusion::ViewPipeline;

namespace {

// views.json of an object, if it is finished and was made of this source with these settings.
std::optional<ordered_json> finished(const fs::path& folder, const ordered_json& settings, const std::string& source) {
  std::error_code none;
  if (!fs::exists(folder / "views.json", none)) return std::nullopt;
  try {
    const io::Source file = io::open_file(folder / "views.json");
    const std::vector<std::byte> bytes = file->read(0, file->size());
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    const ordered_json j = ordered_json::parse(begin, begin + bytes.size(), nullptr, false);
    if (!j.is_object() || j.value("settings", ordered_json()) != settings || j.value("source", ordered_json()) != source || !j.contains("views") || !j["views"].is_array()) return std::nullopt;
    for (const auto& view : j["views"])
      if (!view.is_object() || !view.contains("file") || !view["file"].is_string() || !fs::exists(folder / view["file"].get<std::string>(), none))
        return std::nullopt;
    return j;
  } catch (const DataError&) {
    return std::nullopt;
  }
}

// [H, W, 3] f32 to 8 bits, rounded.
void write_view(const fs::path& path, ConstView view) {
  const Shape& s = view.shape;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(view.numel()));
  for (std::int64_t i = 0; i < view.numel(); ++i)
    bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(std::lround(255 * std::clamp(view.as<float>()[i], 0.0f, 1.0f)));
  io::write_png(path, {static_cast<int>(s[1]), static_cast<int>(s[0]), 3}, bytes.data());
}

data::Image draw(const ViewSample& sample, const Tensor& views) {
  const Shape& s = views.shape();
  Tensor input = Tensor::on_heap({1, s[1], s[2], 3}, DType::f32);
  for (std::int64_t i = 0; i < input.numel(); ++i) input.data<float>()[i] = float(sample.reference.data<std::uint8_t>()[i]) / 255.0f;
  std::vector<std::string> slots, scores;
  for (std::int64_t v = 0; v < s[0]; ++v) {
    slots.emplace_back(mvdiffusion::kPromptSlots[static_cast<std::size_t>(sample.prompts[static_cast<std::size_t>(v)])].name);
    if (sample.truth) scores.push_back(fmt::format("psnr {:.2f}", psnr(views, sample.truth, v)));
  }
  std::vector<PanelRow> rows = {{"input", input, {}}};
  if (sample.truth) rows.push_back({"truth", sample.truth, slots});
  rows.push_back({"generated", views, sample.truth ? scores : slots});
  return draw_rows(sample.name, rows);
}

ordered_json as_json(const Metrics& metrics) {
  ordered_json j = ordered_json::object();
  for (const auto& [name, value] : metrics) j[name] = std::isfinite(value) ? ordered_json(value) : ordered_json();
  return j;
}

}  // namespace

std::string view_file(std::int64_t slot, int prompt) {
  return fmt::format("views/{}_{}.png", slot, mvdiffusion::kPromptSlots[static_cast<std::size_t>(prompt)].name);
}

Generated generate_views(ViewPipeline& pipeline, const ViewSet& set, Communicator& comm, const GenerateOptions& o,
                         const perceptual::LpipsLoss* lpips) {
  ordered_json settings = ordered_json::parse(o.settings);
  settings["sampler"] = o.sampler.kind == mvdiffusion::SamplerKind::ddim ? "ddim" : "dpm";
  settings["steps"] = o.sampler.steps;
  settings["guidance"] = o.sampler.guidance;
  settings["eta"] = o.sampler.eta;
  settings["seed"] = o.seed;
  auto folder = [&](std::int64_t i) { return o.in_place ? o.folder : o.folder / set.name(i); };
  auto source = [&](std::int64_t i) { return o.source ? o.source(i) : std::string(); };
  auto done = [&](std::int64_t i) { return finished(folder(i), settings, source(i)); };

  std::vector<std::int64_t> mine, missing;
  for (std::int64_t i = comm.rank(); i < set.size; i += comm.size()) mine.push_back(i);
  for (std::int64_t i : mine)
    if (!done(i)) missing.push_back(i);
  const auto total = static_cast<std::int64_t>(mine.size()), before = total - static_cast<std::int64_t>(missing.size());
  data::Progress progress(comm.size() == 1 ? "objects" : "objects of this rank");
  if (comm.rank() == 0 && before > 0) log_info(before, " of ", total, comm.size() == 1 ? " objects" : " objects of this rank", " are finished.");

  Generated g;
  for (std::size_t first = 0; first < missing.size(); first += static_cast<std::size_t>(pipeline.batch())) {
    const std::size_t count = std::min(static_cast<std::size_t>(pipeline.batch()), missing.size() - first);
    std::vector<ViewSample> samples;
    std::vector<std::int64_t> objects_of;   // of samples
    std::vector<ViewPipeline::Request> requests;
    {
      const Timed timed(o.timings, Phase::input);
      for (std::size_t k = first; k < first + count; ++k)
        g.left_out.attempt(missing[k], set.size, set.name(missing[k]), [&] {
          std::error_code none;
          fs::remove(folder(missing[k]) / "views.json", none);   // until all of it is new
          samples.push_back(set.sample(missing[k]));
          objects_of.push_back(missing[k]);
        });
      if (samples.empty()) continue;
    }
    for (const ViewSample& s : samples) requests.push_back({s.reference, s.noise, s.prompts});
    const Tensor all = [&] {
      const Timed timed(o.timings, Phase::sampling);
      return pipeline.sample(requests, o.sampler, o.seed);
    }();
    const Timed timed(o.timings, Phase::views);
    for (std::size_t k = 0; k < samples.size(); ++k) {
      const ViewSample& s = samples[k];
      const Shape& shape = all.shape();
      const Tensor views = all.rows(static_cast<std::int64_t>(k), 1).reshape({shape[1], shape[2], shape[3], 3});
      const fs::path to = folder(objects_of[k]);
      ordered_json list = ordered_json::array();
      std::vector<std::future<void>> writing;   // of pictures, a thread each; joined before the file that says they are there
      for (std::int64_t v = 0; v < shape[1]; ++v) {
        const int prompt = s.prompts[static_cast<std::size_t>(v)];
        const Tensor view = views.rows(v, 1).reshape({shape[2], shape[3], 3});   // a part of `views`: its memory stays
        writing.push_back(std::async(std::launch::async, write_view, to / view_file(v, prompt), ConstView(view)));
        list.push_back({{"file", view_file(v, prompt)}, {"slot", v}, {"prompt", prompt}, {"view", mvdiffusion::kPromptSlots[static_cast<std::size_t>(prompt)].name}});
        if (s.truth) {
          const double db = psnr(views, s.truth, v);
          list.back()["psnr"] = std::isfinite(db) ? ordered_json(db) : ordered_json();
        }
      }
      writing.push_back(std::async(std::launch::async, [file = to / "grid.png", grid = draw(s, views)] { write_panel(file, grid); }));
      ordered_json j = {{"name", s.name}, {"settings", settings}, {"source", source(objects_of[k])}, {"noise", s.noise}, {"origin", ordered_json::parse(s.origin)}, {"views", list}};
      if (s.truth) {
        Metrics metrics = view_metrics(views, s);
        if (lpips) {
          Ctx cx = pipeline.context();
          const Tensor predicted = cx.accum(views.shape(), {"generated views"}), truth = cx.arena.empty(s.truth.shape(), DType::f32, {"true views"});
          copy(cx.stream, views, predicted);
          copy(cx.stream, s.truth, truth);
          metrics.emplace_back("lpips", mean(lpips_per_view(cx, *lpips, predicted, truth)));
        }
        j["metrics"] = as_json(metrics);
      }
      for (std::future<void>& w : writing) w.get();
      io::write_text_file(to / "views.json", j.dump(2) + "\n");
    }
    if (comm.rank() == 0) progress.show(before + static_cast<std::int64_t>(first + count), total, before);
  }
  const std::int64_t made = static_cast<std::int64_t>(missing.size()) - g.left_out.here();
  if (o.timings) o.timings->views(made);
  for (std::int64_t n : comm.gather(made)) g.made += n;
  g.left_out.share(comm);
  g.finished_before = set.size - g.made - g.left_out.total();
  // Every other object is finished now: its file holds what is known of it.
  ordered_json objects = ordered_json::object(), means = ordered_json::object();
  if (comm.rank() == 0) {
    struct Sum {
      std::string name;
      double sum = 0;
      std::int64_t count = 0;
    };
    std::vector<Sum> sums;
    for (std::int64_t i = 0; i < set.size; ++i) {
      if (g.left_out.has(i)) continue;
      const std::optional<ordered_json> j = done(i);
      if (!j) throw_error<DataError>((folder(i) / "views.json").string(), " is missing after it was written. Is the folder seen by all ranks?");
      if (!j->contains("metrics")) continue;
      objects[set.name(i)] = (*j)["metrics"];
      for (const auto& [name, value] : (*j)["metrics"].items()) {
        if (!value.is_number()) continue;
        auto at = std::find_if(sums.begin(), sums.end(), [&](const Sum& s) { return s.name == name; });
        if (at == sums.end()) at = sums.insert(sums.end(), {name, 0, 0});
        at->sum += value.get<double>(), ++at->count;
      }
    }
    for (const Sum& s : sums) {
      g.means.emplace_back(s.name, s.sum / double(s.count));
      means[s.name] = s.sum / double(s.count);
    }
    if (!sums.empty())
      io::write_text_file(o.folder / "views_metrics.json",
                          ordered_json{{"objects", objects.size()}, {"settings", settings}, {"mean", means}, {"by_object", objects}}.dump(2) + "\n");
  }
  comm.barrier();
  return g;
}

}  // namespace mfl::infer
