#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/checkpoint.h"
#include "train/gslrm_stage.h"
#include "train/pictures.h"
#include "train/showcase.h"
#include "train/validation.h"

namespace mfl {
namespace {

gslrm::Views meta_batch(GslrmStage& s, std::int64_t side) {
  const TrainingConfig& t = s.config().training;
  const std::int64_t B = t.dataloader.batch_size_per_gpu, V = t.dataset.num_views, S = side;
  const std::int64_t channels = t.dataset.remove_alpha ? 3 : 4;
  const DType accum = s.params.precision().accum;
  return {s.step.empty({B, V, S, S, channels}, accum, {"batch"}), s.step.empty({B, V, 4, 4}, accum, {"batch"}),
          s.step.empty({B, V, 4}, accum, {"batch"})};
}

MemoryPlan measure(const GslrmConfig& config, int segment, int ranks) {
  const LpipsMetric metric = lpips_metric(config);
  GslrmStage stage(config, {.device = kMeta, .precision = Precision::of(config.compute()), .recompute_segment = segment,
                            .shard = {0, config.mfl.shard_optimizer ? ranks : 1, nullptr}, .lpips_metric = metric.own_network});
  MemoryPlan p;
  p.ranks = ranks, p.divided = stage.optimizer->sharding().divided();
  p.missing_metric = metric.missing;
  p.recompute_segment = segment;
  p.parameters = stage.params.numel();
  for (const Param& x : stage.params.all()) p.trainable += x.trainable ? x.numel() : 0;
  for (ParamStore* n : stage.networks.stores()) p.network_parameters += n->numel();
  for (ParamStore* n : stage.metric_networks.stores()) p.metric_parameters += n->numel();
  p.forward_flops = stage.model.forward_flops();
  p.state = lines_of(stage.weights.peak_uses());
  p.state_peak = stage.weights.peak_bytes();
  p.state_bytes = committed_bytes(p.state_peak);

  Tensor terms = stage.step.empty({gslrm::kTerms}, stage.params.precision().accum, {"loss terms"});
  {
    const gslrm::Views batch = meta_batch(stage, stage.spec.image_size);
    const int crop = config.training.crop_size.value_or(stage.spec.image_size);
    const gslrm::Views target = crop < stage.spec.image_size ? meta_batch(stage, crop) : batch;
    KeptByModule modules(stage.step);
    stage.micro_batch(batch, target, config.training.losses, false, terms);
    p.modules = modules.lines();
  }
  p.peak = lines_of(stage.step.peak_uses());
  p.splat_bytes = committed_bytes(stage.splats.peak_bytes());
  if (config.validation.enabled) {   // Validation::run
    stage.step.begin_step();
    gslrm::Views batch = meta_batch(stage, stage.spec.image_size);
    GslrmStage::Rendered r = stage.render(batch);
    if (const perceptual::LpipsLoss* lpips = stage.lpips()) {
      Ctx cx = stage.context();
      cx.saving = false;
      const Shape v = r.image.shape();
      lpips->run(cx, r.image.reshape({v[0] * v[1], v[2], v[3], 3}).rows(0, 1),
                 batch.image.reshape({v[0] * v[1], v[2], v[3], batch.image.shape()[4]}).rows(0, 1), 1, terms.rows(0, 1));
    }
    p.validation_bytes = stage.step.step_peak_bytes();
    p.showcase_bytes = Showcase::device_bytes(config, stage.spec.gaussians());
  }
  p.step_peak = stage.step.peak_bytes();
  p.step_bytes = committed_bytes(p.step_peak);
  const TrainingConfig& t = config.training;
  const std::size_t B = std::size_t(t.dataloader.batch_size_per_gpu), V = std::size_t(t.dataset.num_views);
  const std::size_t C = t.dataset.remove_alpha ? 3 : 4, S = std::size_t(stage.spec.image_size);
  const std::size_t side = std::min(S, std::size_t(t.crop_size.value_or(stage.spec.image_size)));
  p.host.push_back({kCheckpointStaging, static_cast<std::size_t>(CheckpointWriter::staging_bytes(stage)), 1, /*leader=*/true});
  p.host.push_back({"batches ahead", std::size_t(t.dataloader.batches_ahead()) * B * V * C * 4 *
                                         (S * S + (side < S ? side * side : 0))});
  if (t.logging.vis_every > 0)
    p.host.push_back({"pictures", std::min(B, std::size_t(TrainingPictures::kSamples)) * V * side * side * (3 + C) * 4, 1, /*leader=*/true});
  p.library_bytes = library_bytes();
  return p;
}

}  // namespace

MemoryPlan plan_gslrm(const GslrmConfig& config, std::size_t memory_bytes, int segment, int ranks) {
  const int published = std::max(1, config.training.runtime.grad_checkpoint_every);
  if (segment >= 0) return measure(config, segment, ranks);
  if (config.mfl.recompute == "none") return measure(config, 0, ranks);
  if (config.mfl.recompute == "block") return measure(config, published, ranks);
  MemoryPlan plain = measure(config, 0, ranks);   // auto: keep everything if that fits
  if (memory_bytes == 0 || plain.total() <= memory_bytes) return plain;
  return measure(config, published, ranks);
}

std::string describe(const GslrmConfig& config, const MemoryPlan& p, std::size_t memory_bytes) {
  const TrainingConfig& t = config.training;
  std::string out;
  auto line = [&](const std::string& s) { out += s + "\n"; };
  const gslrm::ModelSpec spec = gslrm::ModelSpec::from(config.model, t.dataset.num_input_views);
  line(fmt::format("GS-LRM: {} parameters, {} trainable; loss networks {}{}", p.parameters, p.trainable, p.network_parameters,
                   p.metric_parameters ? fmt::format("; LPIPS of validation {}", p.metric_parameters) : ""));
  if (!p.missing_metric.empty()) line("validation reports no LPIPS. " + p.missing_metric);
  line(fmt::format("a sample: {} input and {} target views of {}x{}, {} tokens, {} Gaussians, {:.2f} TFLOP forward",
                   t.dataset.num_input_views, t.dataset.num_views, spec.image_size, spec.image_size, spec.tokens(),
                   spec.gaussians(), p.forward_flops * 1e-12));
  line(fmt::format("a step: batch {} x {} micro-batches, compute {}, {}", t.dataloader.batch_size_per_gpu,
                   t.runtime.grad_accum_steps, name_of(config.compute()),
                   p.recompute_segment == 0 ? std::string("all activations kept")
                                            : fmt::format("blocks recomputed in segments of {}", p.recompute_segment)));
  out += tables(p);
  out += disk_line(p, fmt::format("{} passes", t.checkpointing.checkpoint_every), t.checkpointing.checkpoints_total_limit);
  if (memory_bytes == 0) return out;
  std::vector<std::string> remedies;
  if (p.ranks > 1 && !p.divided) remedies.push_back(fmt::format("mfl.shard_optimizer=true would divide the optimizer's moments among the {} ranks", p.ranks));
  if (p.recompute_segment == 0) remedies.push_back("mfl.recompute=block would keep only the input of every block");
  if (t.dataloader.batch_size_per_gpu > 1)
    remedies.push_back(fmt::format("training.dataloader.batch_size_per_gpu=1 with training.runtime.grad_accum_steps={} gives the same update",
                                   t.runtime.grad_accum_steps * t.dataloader.batch_size_per_gpu));
  if (t.losses.lpips_loss_weight > 0 || t.losses.perceptual_loss_weight > 0)
    remedies.push_back("LPIPS and perceptual weights of 0 leave their networks out");
  remedies.push_back("a smaller model.image_tokenizer.image_size or fewer training.dataset.num_input_views");
  return out + verdict(p, memory_bytes, remedies);
}

}  // namespace mfl
