#include "train/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "models/gslrm/filters.h"
#include "models/gslrm/ply.h"
#include "runtime/io/atomic_file.h"
#include "runtime/log.h"
#include "train/checkpoint.h"
#include "train/metric_sums.h"
#include "train/metrics.h"
#include "train/panels.h"
#include "train/turntable.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using gslrm::Gaussians;

Tensor to_host(const Stream& s, const Tensor& t) {
  Tensor h = Tensor::on_heap(t.shape(), t.dtype());
  copy(s, t, h);
  return h;
}
Gaussians to_host(const Stream& s, const Gaussians& g) {
  Gaussians h{to_host(s, g.xyz), to_host(s, g.features), to_host(s, g.scaling), to_host(s, g.rotation), to_host(s, g.opacity)};
  s.synchronize();
  return h;
}
Tensor to_device(const Stream& s, Arena& a, const Tensor& host) {
  Tensor d = a.empty(host.shape(), host.dtype(), {"turntable"});
  copy(s, host, d);
  return d;
}

// One sample: render [V, H, W, 3], target [V, H, W, 3 or 4], background [3], host; the first `inputs` views were the model's
// input.
void add_sample(MetricSums& sums, const Tensor& render, const Tensor& target, const float* background, std::int64_t inputs,
                const gslrm::LossConfig& losses) {
  if (losses.clamp_rendering) {   // as the losses see it: what is brighter than white is white
    float* x = render.data<float>();
    for (std::int64_t i = 0; i < render.numel(); ++i) x[i] = std::clamp(x[i], 0.0f, 1.0f);
  }
  const ViewScores s = score_views(render, target, {background[0], background[1], background[2]}, losses.mask_iou_threshold);
  sums.add("psnr", mean(s.psnr));
  sums.add("ssim", mean(s.ssim));
  if (const auto held = s.psnr.begin() + inputs; held != s.psnr.end())
    sums.add("psnr_held_out", mean(std::vector<double>(held, s.psnr.end())));
  if (!s.foreground_psnr.empty()) sums.add("psnr_foreground", mean(s.foreground_psnr));
  if (target.shape()[3] == 4) {
    sums.add("mask_iou", s.mask.iou);
    sums.add("coverage", s.mask.coverage);
    sums.add("empty_renders", s.mask.empty_render() ? 1 : 0);
  }
}

}  // namespace

LpipsMetric lpips_metric(const GslrmConfig& c) {
  if (!c.validation.enabled || c.training.losses.lpips_loss_weight > 0) return {};
  LpipsMetric m;
  m.missing = weights::missing_for_lpips(network_sources(c));
  m.own_network = m.missing.empty();
  return m;
}

Validation::Validation(GslrmStage& stage, std::shared_ptr<const data::Dataset> data, Communicator& comm)
    : stage_(stage), data_(std::move(data)), comm_(comm) {}

ValidationResult Validation::run(std::int64_t pass) {
  const GslrmConfig& c = stage_.config();
  const std::int64_t wanted = c.mfl.val_samples > 0 ? std::min<std::int64_t>(c.mfl.val_samples, data_->size()) : data_->size();
  data::Loader loader(data_,
                      {.size = wanted, .batch = c.training.dataloader.batch_size_per_gpu, .rank = comm_.rank(),
                       .world = comm_.size(), .seed = c.mfl.seed, .shuffle = false, .once = true},
                      {.workers = c.training.dataloader.num_workers, .prefetch = 2, .first_step = 0});
  const Stream& s = stage_.stream;
  const std::int64_t V_in = data_->separate_inputs() > 0 ? 0 : stage_.spec.num_input_views;   // among the compared views
  const perceptual::LpipsLoss* lpips = stage_.lpips();
  if (!lpips && !std::exchange(told_, true) && comm_.rank() == 0)
    log_warning("validation reports no LPIPS. ", lpips_metric(c).missing);
  ValidationResult result;
  MetricSums sums;
  for (std::int64_t step = 0, steps = loader.steps_per_epoch(); step < steps; ++step) {
    const data::Batch& host = loader.next();
    if (host.size() == 0) break;
    stage_.step.begin_step();
    const data::Batch batch = loader.upload(s, stage_.step);
    const GslrmStage::Rendered r = stage_.render({batch.input.image, batch.input.c2w, batch.input.fxfycxcy}, {batch.image, batch.c2w, batch.fxfycxcy});
    const Tensor image = to_host(s, r.image), target = to_host(s, batch.image);
    s.synchronize();
    const Shape v = image.shape(), per_view{v[1], v[2], v[3], 3}, per_target{v[1], v[2], v[3], target.shape()[4]};
    for (std::int64_t b = 0; b < batch.size(); ++b) {
      add_sample(sums, image.rows(b, 1).reshape(per_view), target.rows(b, 1).reshape(per_target),
                 host.background.data<float>() + 3 * b, V_in, c.training.losses);
      if (lpips) {
        Ctx cx = stage_.context();
        cx.saving = false;
        sums.add("lpips", mean(lpips_per_view(cx, *lpips, r.image.rows(b, 1).reshape(per_view),
                                              batch.image.rows(b, 1).reshape(per_target))));
      }
    }
    if (comm_.rank() == 0 && step == 0) show(pass, batch, r, result);
  }
  for (const MetricSums::Mean& m : sums.means(comm_)) {
    result.metrics.emplace_back(m.name, m.value);
    if (m.name == "psnr") result.samples = m.count;
  }
  if (!lpips) result.facts.emplace_back("missing", "lpips");
  if (result.samples == 0) throw_error<DataError>("validation: ", data_->reader().path(), " has no sample");
  for (const auto& [name, value] : result.metrics)
    if (!std::isfinite(value))
      throw_error<DataError>("validation at pass ", pass, " failed: ", name, " is ", value, " over ", result.samples, " samples");
  for (const auto& [name, value] : result.metrics)
    if (name == "empty_renders" && value > 0)
      log_warning("validation at pass ", pass, ": ", value * 100, " % of the samples have nothing in their renders although the "
                  "subject is there; a high PSNR hides that where most of a picture is background");
  return result;
}

void Validation::show(std::int64_t pass, const data::Batch& batch, const GslrmStage::Rendered& r, ValidationResult& result) {
  const GslrmConfig& c = stage_.config();
  const Stream& s = stage_.stream;
  const fs::path folder = fs::path(c.validation.output_dir) / fmt::format("iter_{:08d}", pass) / batch.names.front();
  const Shape v = r.image.shape();   // [B, V, H, W, 3]
  const Shape one{v[1], v[2], v[3], 3}, target_shape{v[1], v[2], v[3], batch.image.shape()[4]};
  const Tensor image = to_host(s, r.image.rows(0, 1).reshape(one));
  const Tensor target = to_host(s, batch.image.rows(0, 1).reshape(target_shape));
  const Tensor index = to_host(s, batch.index), all_inputs = to_host(s, batch.input.image.rows(0, 1));
  const Shape in = all_inputs.shape();
  const Tensor inputs = all_inputs.reshape({in[1], in[2], in[3], in[4]});
  Gaussians gaussians = to_host(s, r.gaussians.sample(0));

  Panel panel;
  panel.title = fmt::format("pass {}  {}", pass, batch.names.front());
  for (std::int64_t i = 0; i < v[1]; ++i)
    panel.labels.push_back(fmt::format("view {} ({})", index.data<std::int64_t>()[2 * i], i < batch.supervised_inputs() ? "input" : "held out"));
  panel.target = target, panel.render = image;
  const data::Image drawn = draw_panel(panel);
  write_panel(folder / "gt_vs_pred.png", drawn);
  result.images.emplace_back("gt_vs_pred", ValidationResult::Png{drawn.width, drawn.height, panel_png(drawn)});
  write_panel(folder / "input.png", draw_strip(slice(ConstView(inputs), 0, 0, batch.num_input_views)));

  const gslrm::Filters filters = gslrm::Filters::evaluation(c.model);
  const Gaussians kept = gslrm::filtered(gaussians, filters);
  const fs::path ply = folder / "gaussians.ply";
  gslrm::write_ply(ply, kept, {.scaling_modifier = stage_.renderer.scaling_modifier});
  result.facts.emplace_back("ply", ply.string());

  // The turntable shows the filtered set, one view at a time: memory does not grow with the number of frames.
  const Gaussians on_device{to_device(s, stage_.step, kept.xyz), to_device(s, stage_.step, kept.features),
                            to_device(s, stage_.step, kept.scaling), to_device(s, stage_.step, kept.rotation),
                            to_device(s, stage_.step, kept.opacity)};
  auto turn = [&](const Turntable& t) {
    const gslrm::Cameras cameras = turntable_cameras(t);
    const Tensor c2w = to_device(s, stage_.step, cameras.c2w), intrinsics = to_device(s, stage_.step, cameras.fxfycxcy);
    Tensor views = Tensor::on_heap({t.views, t.size, t.size, 3}, DType::f32);
    for (int i = 0; i < t.views; ++i) {
      const Tensor frame = kept.xyz.shape()[0] == 0 ? Tensor{} : stage_.render(on_device, {c2w.rows(i, 1), intrinsics.rows(i, 1), t.size, t.size});
      if (frame) copy(s, frame, views.rows(i, 1));
      else std::fill_n(views.data<float>() + i * t.size * t.size * 3, t.size * t.size * 3, 1.0f);   // nothing is left: white
      s.synchronize();
    }
    return views;
  };
  const auto& render = c.mfl.render;
  const data::Image strip = turntable_strip(turn({.views = render.turntable_views, .size = render.turntable_size, .hfov = render.hfov, .elevation = render.elevation}));
  write_panel(folder / "turntable.png", strip);
  result.facts.emplace_back("turntable", (folder / "turntable.png").string());
  result.images.emplace_back("turntable", ValidationResult::Png{strip.width, strip.height, panel_png(strip)});
  if (render.video) {
    const int size = render.video_size > 0 ? render.video_size : static_cast<int>(stage_.spec.image_size);
    const Tensor views = turn({.views = render.video_views, .size = size, .hfov = render.hfov, .elevation = render.elevation});
    std::vector<data::Image> frames;
    for (std::int64_t i = 0; i < views.shape()[0]; ++i)
      frames.push_back(to_image(views.rows(i, 1).reshape({views.shape()[1], views.shape()[2], 3})));
    std::string note;
    result.facts.emplace_back("video", write_video(folder / "turntable", frames, render.video_fps, &note).string());
    if (!note.empty()) log_debug(note);
  }
}

}  // namespace mfl
