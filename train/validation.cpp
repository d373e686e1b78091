#include "train/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <utility>

#include "runtime/log.h"
#include "train/checkpoint.h"
#include "train/metric_sums.h"
#include "train/test_hooks.h"
#include "train/metrics.h"

namespace mfl {
namespace {

using gslrm::Gaussians;

Tensor to_host(const Stream& s, const Tensor& t) {
  Tensor h = Tensor::on_heap(t.shape(), t.dtype());
  copy(s, t, h);
  return h;
}
Gaussians to_host(const Stream& s, const Gaussians& g) {
  return {to_host(s, g.xyz), to_host(s, g.features), to_host(s, g.scaling), to_host(s, g.rotation), to_host(s, g.opacity)};
}
// The first `count` rows of a host tensor's first sample, in memory of their own.
Tensor first_rows(const Tensor& batch, std::int64_t count) {
  Shape s(std::span(batch.shape().begin() + 1, batch.shape().end()));
  const Tensor rows = batch.rows(0, 1).reshape(s).rows(0, count), out = Tensor::on_heap(rows.shape(), rows.dtype());
  std::memcpy(View(out).data, ConstView(rows).data, rows.bytes());
  return out;
}

// What the showcase needs of a batch's first sample.
ShowcaseScene scene_of(const Stream& s, std::int64_t pass, const data::Batch& host, const Tensor& image, const Tensor& target,
                       const gslrm::GaussianBatch& gaussians) {
  const std::int64_t views = image.shape()[1];
  ShowcaseScene scene;
  scene.pass = pass, scene.sample = host.names.front();
  for (std::int64_t v = 0; v < views; ++v)
    scene.labels.push_back(fmt::format("view {} ({})", host.index.data<std::int64_t>()[2 * v], v < host.supervised_inputs() ? "input" : "held out"));
  scene.render = first_rows(image, views), scene.target = first_rows(target, views);
  scene.inputs = first_rows(host.input.image, host.num_input_views);
  scene.cameras = {first_rows(host.c2w, views), first_rows(host.fxfycxcy, views), static_cast<int>(image.shape()[2]),
                   static_cast<int>(image.shape()[3])};
  std::copy_n(host.background.data<float>(), 3, scene.background.begin());
  scene.gaussians = to_host(s, gaussians.sample(0));
  s.synchronize();
  return scene;
}

// Scores of every sample of a batch: render [B, V, H, W, 3], target [B, V, H, W, 3 or 4], background [B, 3], host.
std::vector<ViewScores> score(const Tensor& render, const Tensor& target, const std::vector<float>& background, const gslrm::LossConfig& losses) {
  if (losses.clamp_rendering) {   // as the losses see it: what is brighter than white is white
    float* x = render.data<float>();
    for (std::int64_t i = 0; i < render.numel(); ++i) x[i] = std::clamp(x[i], 0.0f, 1.0f);
  }
  const Shape v = render.shape(), per_view{v[1], v[2], v[3], 3}, per_target{v[1], v[2], v[3], target.shape()[4]};
  std::vector<ViewScores> out;
  for (std::int64_t b = 0; b < v[0]; ++b) {
    const float* c = background.data() + 3 * b;
    out.push_back(score_views(render.rows(b, 1).reshape(per_view), target.rows(b, 1).reshape(per_target), {c[0], c[1], c[2]},
                              losses.mask_iou_threshold));
  }
  return out;
}

// One sample's share of the means; its first `inputs` views were the model's input.
void add_sample(MetricSums& sums, const ViewScores& s, std::int64_t inputs, bool alpha) {
  sums.add("psnr", mean_decibels(s.psnr));
  sums.add("ssim", mean(s.ssim));
  if (const auto held = s.psnr.begin() + inputs; held != s.psnr.end())
    sums.add("psnr_held_out", mean_decibels({held, s.psnr.end()}));
  if (!s.foreground_psnr.empty()) sums.add("psnr_foreground", mean_decibels(s.foreground_psnr));
  if (alpha) {
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

Validation::Validation(GslrmStage& stage, std::shared_ptr<const data::Dataset> data, Communicator& comm, Showcase* showcase)
    : stage_(stage), data_(std::move(data)), comm_(comm), showcase_(showcase) {}

ValidationResult Validation::run(std::int64_t pass) {
  const GslrmConfig& c = stage_.config();
  const perceptual::LpipsLoss* lpips = stage_.lpips();
  if (!lpips && !std::exchange(told_, true) && comm_.rank() == 0)
    log_warning("validation reports no LPIPS. ", lpips_metric(c).missing);
  ValidationResult result;
  MetricSums sums;
  try {
    share(pass, sums);
  } catch (...) {
    sums.fail();
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

void Validation::share(std::int64_t pass, MetricSums& sums) {
  const GslrmConfig& c = stage_.config();
  const std::int64_t wanted = c.mfl.val_samples > 0 ? std::min<std::int64_t>(c.mfl.val_samples, data_->size()) : data_->size();
  data::Loader loader(data_,
                      {.size = wanted, .batch = c.training.dataloader.batch_size_per_gpu, .rank = comm_.rank(),
                       .world = comm_.size(), .seed = c.mfl.seed, .shuffle = false, .once = true},
                      {.workers = c.training.dataloader.num_workers, .prefetch = 2});
  const Stream& s = stage_.stream;
  const std::int64_t V_in = data_->separate_inputs() > 0 ? 0 : stage_.spec.num_input_views;   // among the compared views
  const perceptual::LpipsLoss* lpips = stage_.lpips();
  // A batch's scores are computed while the next is rendered, where another device renders.
  std::future<std::vector<ViewScores>> scoring;
  bool alpha = false;
  std::vector<double> lpips_of_samples;
  auto collect = [&] {
    if (!scoring.valid()) return;
    for (const ViewScores& scores : scoring.get()) add_sample(sums, scores, V_in, alpha);
  };
  for (std::int64_t step = 0, steps = loader.steps_per_epoch(); step < steps; ++step) {
    const data::Batch& host = loader.next();
    if (host.size() == 0) break;
    test_hooks::poison(s, host.names, host.image);
    stage_.step.begin_step();
    const data::Batch batch = loader.upload(s, stage_.step);
    const GslrmStage::Rendered r = stage_.render({batch.input.image, batch.input.c2w, batch.input.fxfycxcy}, {batch.image, batch.c2w, batch.fxfycxcy});
    Tensor image = to_host(s, r.image), target = to_host(s, batch.image);
    s.synchronize();
    if (showcase_ && step == 0) showcase_->show(scene_of(s, pass, host, image, target, r.gaussians));
    collect();
    alpha = target.shape()[4] == 4;
    // The tensors go along: their handles are that thread's.
    scoring = std::async(s.device().is_cuda() ? std::launch::async : std::launch::deferred,
                         [image = std::move(image), target = std::move(target), losses = c.training.losses,
                          background = std::vector<float>(host.background.data<float>(), host.background.data<float>() + host.background.numel())] {
                           return score(image, target, background, losses);
                         });
    if (!lpips) continue;
    const Shape v = r.image.shape(), per_view{v[1], v[2], v[3], 3}, per_target{v[1], v[2], v[3], batch.image.shape()[4]};
    for (std::int64_t b = 0; b < batch.size(); ++b) {
      Ctx cx = stage_.context();
      cx.saving = false;
      lpips_of_samples.push_back(mean(lpips_per_view(cx, *lpips, r.image.rows(b, 1).reshape(per_view), batch.image.rows(b, 1).reshape(per_target))));
    }
  }
  collect();
  for (const double x : lpips_of_samples) sums.add("lpips", x);
}

}  // namespace mfl
