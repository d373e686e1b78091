// A GS-LRM of two layers on scenes of 16 x 16 pixels, which whole runs on the CPU train in milliseconds a pass: its data and its
// configuration.
#pragma once

#include <filesystem>
#include <string>

#include "data/scenes.h"
#include "runtime/error.h"

namespace mfl::test {

// Procedural scenes number `first` to `first + count - 1` as a packed file.
inline void write_scenes(const std::filesystem::path& file, int views, int side, int count = 8, int first = 0) {
  data::SceneOptions o;
  o.views = views, o.image_size = side;
  data::PackInfo info;
  info.width = info.height = side, info.samples = count, info.max_views = views;
  data::ViewWriter w(file.string(), info, true);
  for (int i = first; i < first + count; ++i) w.add(data::make_scene(o, i));
  w.finish();
}

struct TinyGslrm {
  std::string data;               // scenes of 4 views, 16 x 16
  int batch = 4, workers = 2;
  int passes = 6, save_every = 3;
  int pictures_every = 100;       // 0: none
};
// YAML. Checkpoints go to RUN unless --output or training.checkpointing.checkpoint_dir says otherwise.
inline std::string tiny_gslrm_yaml(const TinyGslrm& t) {
  return text(R"(
model:
  class_name: gslrm.model.gslrm.GSLRM
  image_tokenizer: {image_size: 16, patch_size: 8, in_channels: 9}
  transformer: {d: 32, d_head: 32, n_layer: 2}
  gaussians: {n_gaussians: 2, sh_degree: 0, upsampler: {upsample_factor: 1}}
  hard_pixelalign: true
  use_custom_plucker: true
training:
  runtime: {use_tf32: false, use_amp: false, amp_dtype: bf16, grad_accum_steps: 1, grad_clip_norm: 1.0, grad_checkpoint_every: 1}
  dataset: {dataset_path: ")", t.data, R"(", num_views: 4, num_input_views: 2, target_has_input: true}
  dataloader: {batch_size_per_gpu: )", t.batch, ", num_workers: ", t.workers, R"(, prefetch_factor: 2}
  losses: {l2_loss_weight: 1.0, lpips_loss_weight: 0.0, perceptual_loss_weight: 0.0, ssim_loss_weight: 0.2, pixelalign_loss_weight: 0.0, pointsdist_loss_weight: 0.0}
  optimizer: {lr: 0.002, beta1: 0.9, beta2: 0.95, weight_decay: 0.05, reset_lr: false, reset_weight_decay: false}
  schedule: {num_epochs: 100000, max_fwdbwd_passes: )", t.passes, R"(, warmup: 2}
  checkpointing: {checkpoint_dir: RUN, checkpoint_every: )", t.save_every, R"(, resume_ckpt: ""}
  logging: {print_every: 1, vis_every: )", t.pictures_every, R"(, wandb: {project: p, exp_name: e, group: g, job_type: t, log_every: 1, offline: true}}
validation: {enabled: false}
inference: {enabled: false}
mfl: {device: cpu, lr_updates: 60}
)");
}

}  // namespace mfl::test
