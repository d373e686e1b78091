#include "train/mvdiffusion/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/mvdiffusion/prompts.h"
#include "runtime/io/atomic_file.h"
#include "runtime/log.h"
#include "train/metric_sums.h"
#include "train/metrics.h"
#include "train/panels.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using namespace mvdiffusion;

std::string scale_name(double g) { return fmt::format("guidance_scale-{:.1f}", g); }

// [N, H, W, 3] f32 of bytes [H, W, 3], one image.
Tensor as_floats(const Tensor& bytes) {
  const Shape& s = bytes.shape();
  Tensor t = Tensor::on_heap({1, s[0], s[1], 3}, DType::f32);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = float(bytes.data<std::uint8_t>()[i]) / 255.0f;
  return t;
}

Tensor to_host(const Stream& s, const Tensor& t) {
  Tensor h = Tensor::on_heap(t.shape(), t.dtype());
  copy(s, t, h);
  s.synchronize();
  return h;
}

// Of view a of `x` and view b of `y`, over RGB.
double squared_error(const Tensor& x, std::int64_t a, const Tensor& y, std::int64_t b) {
  const std::int64_t pixels = x.shape()[1] * x.shape()[2], cx = x.shape()[3], cy = y.shape()[3];
  const float *p = x.data<float>() + a * pixels * cx, *q = y.data<float>() + b * pixels * cy;
  double sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i)
    for (std::int64_t c = 0; c < 3; ++c) sum += std::pow(double(p[i * cx + c]) - double(q[i * cy + c]), 2);
  return sum;
}

// What is drawn of a sample: its prediction at every scale.
struct Picture {
  const ViewSample* sample;
  std::vector<Tensor> predicted;
};

data::Image draw(const Picture& p, const std::vector<double>& guidance, const std::string& title) {
  const Tensor input = as_floats(p.sample->reference);
  std::vector<std::string> slots;
  for (int prompt : p.sample->prompts) slots.emplace_back(kPromptSlots[static_cast<std::size_t>(prompt) % kPromptSlots.size()].name);
  std::vector<PanelRow> rows = {{"input", input, {}}, {"truth", p.sample->truth, slots}};
  for (std::size_t g = 0; g < guidance.size(); ++g) {
    std::vector<std::string> captions;
    for (std::int64_t v = 0; v < p.sample->truth.shape()[0]; ++v)
      captions.push_back(fmt::format("psnr {:.2f}", psnr(p.predicted[g], p.sample->truth, v)));
    rows.push_back({fmt::format("predicted, guidance {:.1f}", guidance[g]), p.predicted[g], captions});
  }
  return draw_rows(title, rows);
}

}  // namespace

double slot_order(const Tensor& predicted, const Tensor& truth) {
  const std::int64_t views = predicted.shape()[0];
  double right = 0;
  for (std::int64_t v = 0; v < views; ++v) {
    std::int64_t nearest = 0;
    for (std::int64_t t = 1; t < views; ++t)
      if (squared_error(predicted, v, truth, t) < squared_error(predicted, v, truth, nearest)) nearest = t;
    right += nearest == v;
  }
  return right / double(views);
}

Metrics view_metrics(const Tensor& predicted, const ViewSample& sample) {
  const ViewScores s = score_views(predicted, sample.truth, sample.background);
  Metrics m = {{"psnr", mean_decibels(s.psnr)}, {"ssim", mean(s.ssim)}};
  if (!s.foreground_psnr.empty()) m.emplace_back("psnr_foreground", mean_decibels(s.foreground_psnr));
  if (sample.truth.shape()[3] == 4) m.emplace_back("mask_iou", s.mask.iou);
  m.emplace_back("slot_order", slot_order(predicted, sample.truth));
  return m;
}

ViewValidation::ViewValidation(const Encoders& encoders, const Unet& unet, Tensor prompts, ViewSet set, Communicator& comm,
                               ViewValidationOptions options, const perceptual::LpipsLoss* lpips)
    : encoders_(encoders), unet_(unet), prompts_(std::move(prompts)), set_(std::move(set)), comm_(comm), options_(std::move(options)),
      lpips_(lpips) {
  if (set_.size < 1) throw_error<DataError>("The validation set has no sample. Give validation_dataset.path samples, or no validation.");
}

ValidationResult ViewValidation::run(Ctx& outer, std::int64_t step) {
  Ctx cx = outer;
  cx.saving = false;
  std::vector<SamplerTable> tables;
  for (double g : options_.guidance) {
    SamplerConfig c = options_.sampler;
    c.guidance = g;
    c.steps_offset = encoders_.steps_offset();
    tables.emplace_back(cx.stream, cx.arena, cx.precision.accum, sampler_steps(encoders_.schedule(), c));
  }
  const fs::path folder = options_.folder.empty() ? fs::path() : options_.folder / fmt::format("global_step_{:04d}", step);

  ValidationResult result;
  MetricSums sums;
  try {
    share(cx, step, folder, tables, sums, result);
  } catch (...) {
    sums.fail();
  }
  for (const MetricSums::Mean& m : sums.means(comm_)) {
    result.metrics.emplace_back(m.name, m.value);
    result.samples = std::max(result.samples, m.count);
  }
  if (!lpips_) result.facts.emplace_back("missing", "lpips");
  for (const auto& [name, value] : result.metrics)
    if (!std::isfinite(value))
      throw_error<DataError>("Validation at step ", step, " failed: ", name, " is ", value, " over ", result.samples, " samples.");
  if (!folder.empty() && comm_.rank() == 0) {
    std::string lines;
    for (const auto& [name, value] : result.metrics) lines += fmt::format("{}: {:.6f}\n", name, value);
    io::write_text_file(folder / "validation-metrics.txt", lines);
  }
  return result;
}

void ViewValidation::share(Ctx& cx, std::int64_t step, const fs::path& folder, const std::vector<SamplerTable>& tables, MetricSums& sums,
                           ValidationResult& result) {
  const std::int64_t V = unet_.spec().views;
  std::vector<std::int64_t> mine;
  for (std::int64_t i = comm_.rank(); i < set_.size; i += comm_.size()) mine.push_back(i);
  for (std::size_t first = 0; first < mine.size(); first += static_cast<std::size_t>(options_.batch)) {
    const std::size_t count = std::min(static_cast<std::size_t>(options_.batch), mine.size() - first);
    std::vector<ViewSample> samples;
    std::vector<std::uint32_t> noise;
    for (std::size_t k = 0; k < count; ++k) {
      samples.push_back(set_.sample(mine[first + k]));
      noise.push_back(samples.back().noise);
      MFL_CHECK(samples.back().truth.shape()[0] == V && std::int64_t(samples.back().prompts.size()) == V, "validation: sample ",
                samples.back().name, " has views ", samples.back().truth.shape(), " and ", samples.back().prompts.size(), " prompts");
    }
    const std::int64_t O = static_cast<std::int64_t>(count), H = samples[0].reference.shape()[0];
    ViewsInput in;
    in.seed = options_.seed;
    {
      const Tensor streams = view_streams(noise, V);
      in.streams = cx.arena.empty(streams.shape(), DType::i32, {"noise streams"});
      copy(cx.stream, streams, in.streams);
      cx.stream.synchronize();
    }
    in.text = cx.compute({O * V, prompts_.shape()[1], prompts_.shape()[2]}, {"prompt embeddings"});
    const Tensor bytes = cx.arena.empty({O, H, H, 3}, DType::u8, {"input images"}), floats = cx.accum({O, H, H, 3}, {"input images"});
    for (std::int64_t o = 0; o < O; ++o) {
      const ViewSample& s = samples[static_cast<std::size_t>(o)];
      const Tensor unit = as_floats(s.reference);
      copy(cx.stream, s.reference.reshape({1, H, H, 3}), bytes.rows(o, 1));
      copy(cx.stream, unit, floats.rows(o, 1));
      for (std::int64_t v = 0; v < V; ++v) {
        const int prompt = s.prompts[static_cast<std::size_t>(v)];
        MFL_CHECK(prompt >= 0 && prompt < prompts_.shape()[0], "validation: prompt ", prompt, " of ", prompts_.shape()[0]);
        copy(cx.stream, prompts_.rows(prompt, 1), in.text.rows(o * V + v, 1));
      }
      cx.stream.synchronize();   // host copies end here
    }
    in.condition = encode_condition(cx, encoders_, floats, bytes);

    std::vector<Picture> pictures;
    for (const ViewSample& s : samples) pictures.push_back({&s, {}});
    for (std::size_t g = 0; g < tables.size(); ++g) {
      const Tensor latents = sample_views(cx, encoders_, unet_, tables[g], in);
      const Tensor images = encoders_.decode(cx, latents), host = to_host(cx.stream, images);
      for (std::int64_t o = 0; o < O; ++o) {
        const ViewSample& s = samples[static_cast<std::size_t>(o)];
        const Tensor predicted = host.rows(o * V, V);
        for (const auto& [name, value] : view_metrics(predicted, s)) sums.add(name + "-" + scale_name(options_.guidance[g]), value);
        if (lpips_) {
          Tensor truth = cx.arena.empty(s.truth.shape(), DType::f32, {"true views"});
          copy(cx.stream, s.truth, truth);
          cx.stream.synchronize();
          sums.add("lpips-" + scale_name(options_.guidance[g]), mean(lpips_per_view(cx, *lpips_, images.rows(o * V, V), truth)));
        }
        pictures[static_cast<std::size_t>(o)].predicted.push_back(predicted);
      }
    }
    for (std::size_t k = 0; k < count; ++k) {
      if (folder.empty() || mine[first + k] >= options_.pictures) continue;
      const Picture& p = pictures[k];
      const fs::path at = folder / p.sample->name;
      write_panel(at / "input.png", draw_strip(as_floats(p.sample->reference)));
      write_panel(at / "gt.png", draw_strip(p.sample->truth));
      for (std::size_t g = 0; g < tables.size(); ++g)
        write_panel(at / fmt::format("pred_gs_{:.1f}.png", options_.guidance[g]), draw_strip(p.predicted[g]));
      const data::Image grid = draw(p, options_.guidance, fmt::format("step {}  {}", step, p.sample->name));
      write_panel(at / "grid.png", grid);
      if (comm_.rank() != 0) continue;
      result.images.emplace_back("views/" + p.sample->name, ValidationResult::Png{grid.width, grid.height, panel_png(grid)});
      result.facts.emplace_back("grid", (at / "grid.png").string());
    }
  }
}

}  // namespace mfl
