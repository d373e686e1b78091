#include "train/config.h"

#include <cmath>

#include "train/config_schema.h"

namespace mfl {
namespace {

using namespace schema;

// ---- the schema: every key once, in the order of the merged file
// ------------------------------------------------------

// v(key, member, required) for every key.
template <class Visitor, class Config>
void visit_keys(Visitor& v, Config& c) {
  v("evaluation", c.evaluation);
  v("evaluation_out_dir", c.evaluation_out_dir);

  auto& m = c.model;
  v("model.class_name", m.class_name, kRequired);
  v("model.image_tokenizer.image_size", m.image_tokenizer.image_size, kRequired);
  v("model.image_tokenizer.patch_size", m.image_tokenizer.patch_size, kRequired);
  v("model.image_tokenizer.in_channels", m.image_tokenizer.in_channels, kRequired);
  v("model.transformer.d", m.transformer.d, kRequired);
  v("model.transformer.d_head", m.transformer.d_head, kRequired);
  v("model.transformer.n_layer", m.transformer.n_layer, kRequired);
  v("model.gaussians.n_gaussians", m.gaussians.n_gaussians, kRequired);
  v("model.gaussians.sh_degree", m.gaussians.sh_degree, kRequired);
  v("model.gaussians.upsampler.upsample_factor", m.gaussians.upsampler.upsample_factor, kRequired);
  v("model.gaussians.scaling_modifier", m.gaussians.scaling_modifier);
  v("model.add_refsrc_marker", m.add_refsrc_marker);
  v("model.hard_pixelalign", m.hard_pixelalign, kRequired);
  v("model.use_custom_plucker", m.use_custom_plucker);
  v("model.use_aug_plucker", m.use_aug_plucker);
  v("model.clip_xyz", m.clip_xyz);
  v("model.half_bbx_size", m.half_bbx_size);
  v("model.depth_preact_bias", m.depth_preact_bias);
  v("model.depth_min", m.depth_min);
  v("model.depth_max", m.depth_max);
  v("model.depth_reference_origin", m.depth_reference_origin);

  auto& t = c.training;
  v("training.crop_size", t.crop_size);
  v("training.runtime.use_tf32", t.runtime.use_tf32, kRequired);
  v("training.runtime.use_amp", t.runtime.use_amp, kRequired);
  v("training.runtime.amp_dtype", t.runtime.amp_dtype, kRequired);
  v("training.runtime.grad_accum_steps", t.runtime.grad_accum_steps, kRequired);
  v("training.runtime.grad_clip_norm", t.runtime.grad_clip_norm, kRequired);
  v("training.runtime.grad_checkpoint_every", t.runtime.grad_checkpoint_every, kRequired);
  v("training.runtime.allowed_gradnorm_factor", t.runtime.allowed_gradnorm_factor);
  v("training.dataset.dataset_path", t.dataset.dataset_path, kRequired);
  v("training.dataset.maximize_view_overlap", t.dataset.maximize_view_overlap);
  v("training.dataset.num_views", t.dataset.num_views, kRequired);
  v("training.dataset.num_input_views", t.dataset.num_input_views, kRequired);
  v("training.dataset.target_has_input", t.dataset.target_has_input, kRequired);
  v("training.dataset.remove_alpha", t.dataset.remove_alpha);
  v("training.dataset.background_color", t.dataset.background_color);
  v("training.dataloader.batch_size_per_gpu", t.dataloader.batch_size_per_gpu, kRequired);
  v("training.dataloader.num_workers", t.dataloader.num_workers, kRequired);
  v("training.dataloader.prefetch_factor", t.dataloader.prefetch_factor, kRequired);
  v("training.losses.l2_loss_weight", t.losses.l2_loss_weight, kRequired);
  v("training.losses.lpips_loss_weight", t.losses.lpips_loss_weight, kRequired);
  v("training.losses.perceptual_loss_weight", t.losses.perceptual_loss_weight, kRequired);
  v("training.losses.ssim_loss_weight", t.losses.ssim_loss_weight, kRequired);
  v("training.losses.pixelalign_loss_weight", t.losses.pixelalign_loss_weight, kRequired);
  v("training.losses.pointsdist_loss_weight", t.losses.pointsdist_loss_weight, kRequired);
  v("training.losses.masked_pixelalign_loss", t.losses.masked_pixelalign_loss);
  v("training.losses.warmup_pointsdist", t.losses.warmup_pointsdist);
  v("training.losses.clamp_rendering", t.losses.clamp_rendering);
  v("training.losses.masked_l2_loss", t.losses.masked_l2_loss);
  v("training.losses.masked_ssim_loss", t.losses.masked_ssim_loss);
  v("training.losses.background_loss_weight", t.losses.background_loss_weight);
  v("training.losses.background_color_target", t.losses.background_color_target);
  v("training.losses.mask_iou_threshold", t.losses.mask_iou_threshold);
  v("training.optimizer.lr", t.optimizer.lr, kRequired);
  v("training.optimizer.beta1", t.optimizer.beta1, kRequired);
  v("training.optimizer.beta2", t.optimizer.beta2, kRequired);
  v("training.optimizer.weight_decay", t.optimizer.weight_decay, kRequired);
  v("training.optimizer.reset_lr", t.optimizer.reset_lr, kRequired);
  v("training.optimizer.reset_weight_decay", t.optimizer.reset_weight_decay, kRequired);
  v("training.optimizer.reset_training_state", t.optimizer.reset_training_state);
  v("training.schedule.num_epochs", t.schedule.num_epochs, kRequired);
  v("training.schedule.max_fwdbwd_passes", t.schedule.max_fwdbwd_passes);
  v("training.schedule.warmup", t.schedule.warmup, kRequired);
  v("training.schedule.l2_warmup_steps", t.schedule.l2_warmup_steps);
  v("training.schedule.early_stop_after_epochs", t.schedule.early_stop_after_epochs);
  v("training.schedule.early_stop_after", t.schedule.early_stop_after);
  v("training.checkpointing.checkpoint_dir", t.checkpointing.checkpoint_dir, kRequired);
  v("training.checkpointing.checkpoint_every", t.checkpointing.checkpoint_every, kRequired);
  v("training.checkpointing.resume_ckpt", t.checkpointing.resume_ckpt);
  v("training.checkpointing.force_resume_ckpt", t.checkpointing.force_resume_ckpt);
  v("training.checkpointing.checkpoints_total_limit", t.checkpointing.checkpoints_total_limit);
  v("training.logging.print_every", t.logging.print_every, kRequired);
  v("training.logging.vis_every", t.logging.vis_every, kRequired);
  v("training.logging.wandb.project", t.logging.wandb.project, kRequired);
  v("training.logging.wandb.exp_name", t.logging.wandb.exp_name, kRequired);
  v("training.logging.wandb.group", t.logging.wandb.group, kRequired);
  v("training.logging.wandb.job_type", t.logging.wandb.job_type, kRequired);
  v("training.logging.wandb.log_every", t.logging.wandb.log_every, kRequired);
  v("training.logging.wandb.offline", t.logging.wandb.offline, kRequired);
  v("training.freeze_layers.enabled", t.freeze_layers.enabled);
  v("training.freeze_layers.freeze_transformer_until", t.freeze_layers.freeze_transformer_until);
  v("training.freeze_layers.freeze_patch_embedder", t.freeze_layers.freeze_patch_embedder);
  v("training.freeze_layers.freeze_positional_embeddings", t.freeze_layers.freeze_positional_embeddings);

  v("inference.enabled", c.inference.enabled, kRequired);
  v("inference.output_dir", c.inference.output_dir);

  v("validation.enabled", c.validation.enabled, kRequired);
  v("validation.val_every", c.validation.val_every);
  v("validation.output_dir", c.validation.output_dir);
  v("validation.dataset_path", c.validation.dataset_path);

  v("mouse.use_mouse_dataset", c.mouse.use_mouse_dataset);
  v("mouse.normalize_cameras", c.mouse.normalize_cameras);
  v("mouse.normalize_to_z_up", c.mouse.normalize_to_z_up);
  v("mouse.target_camera_distance", c.mouse.target_camera_distance);
  v("mouse.auto_generate_mask", c.mouse.auto_generate_mask);
  v("mouse.mask_threshold", c.mouse.mask_threshold);
  v("mouse.augmentation.enabled", c.mouse.augmentation.enabled);
  v("mouse.augmentation.horizontal_flip", c.mouse.augmentation.horizontal_flip);
  v("mouse.augmentation.rotation_range", c.mouse.augmentation.rotation_range);
  v("mouse.augmentation.brightness_range", c.mouse.augmentation.brightness_range);
  v("mouse.augmentation.contrast_range", c.mouse.augmentation.contrast_range);

  auto& o = c.mfl;
  v("mfl.seed", o.seed);
  v("mfl.device", o.device);
  v("mfl.compute", o.compute);
  v("mfl.recompute", o.recompute);
  v("mfl.init", o.init);
  v("mfl.resume", o.resume);
  v("mfl.allow_missing", o.allow_missing);
  v("mfl.overfit", o.overfit);
  v("mfl.lr_schedule", o.lr_schedule);
  v("mfl.lr_updates", o.lr_updates);
  v("mfl.bucket_mb", o.bucket_mb);
  v("mfl.shard_optimizer", o.shard_optimizer);
  v("mfl.max_skipped", o.max_skipped);
  visit_fault_keys(v, o.faults);
  v("mfl.stall_seconds", o.stall_seconds);
  v("mfl.keep_best", o.keep_best);
  v("mfl.on_checkpoint_failure", o.on_checkpoint_failure);
  v("mfl.log_dir", o.log_dir);
  v("mfl.peak_tflops", o.peak_tflops);
  v("mfl.val_samples", o.val_samples);
  v("mfl.allow_unsound_data", o.allow_unsound_data);
  v("mfl.data.train", o.data.train);
  v("mfl.data.val", o.data.val);
  v("mfl.weights.vgg19", o.weights.vgg19);
  v("mfl.weights.vgg16", o.weights.vgg16);
  v("mfl.weights.lpips", o.weights.lpips);
  v("mfl.render.turntable_views", o.render.turntable_views);
  v("mfl.render.turntable_size", o.render.turntable_size);
  v("mfl.render.video_views", o.render.video_views);
  v("mfl.render.video_fps", o.render.video_fps);
  v("mfl.render.video_size", o.render.video_size);
  v("mfl.render.elevation", o.render.elevation);
  v("mfl.render.hfov", o.render.hfov);
  v("mfl.render.video", o.render.video);
  v("mfl.render.viewer", o.render.viewer);
}

// Keys that real files contain and the published code never reads. training.num_views and training.num_input_views are
// read by one of its classes as a fallback for keys that another class requires: never in effect.
const std::vector<std::string> kDeadKeys = {"profile",
                                 "debug",
                                 "training.runtime.torch_compile",
                                 "training.dataset.normalize_distance_to",
                                 "training.dataloader.num_threads",
                                 "training.losses.distill_loss_weight",
                                 "training.num_views",
                                 "training.num_input_views",
                                 "mouse.camera.num_views",
                                 "mouse.camera.camera_distance",
                                 "mouse.preprocessing.use_face_detection",
                                 "mouse.preprocessing.auto_crop",
                                 "mouse.preprocessing.background_removal",
                                 "mouse.augmentation.hflip"};

constexpr const char* kClassName = "gslrm.model.gslrm.GSLRM";

void check_model(const Rules& r, const gslrm::ModelConfig& m) {
  r.require(m.class_name == kClassName, "model.class_name", "must be ", kClassName, ", not \"", m.class_name,
            "\": this program trains that model only.");
  const auto& t = m.image_tokenizer;
  r.require(t.patch_size > 0, "model.image_tokenizer.patch_size", "must be positive, not ", t.patch_size, '.');
  r.require(t.image_size > 0 && t.image_size % t.patch_size == 0, "model.image_tokenizer.image_size",
            "must be a positive multiple of patch_size (", t.patch_size, "), not ", t.image_size, '.');
  r.require(!(m.use_custom_plucker && m.use_aug_plucker), "model.use_aug_plucker",
            "and model.use_custom_plucker exclude each other; set one of them to false.");
  const int channels = m.use_aug_plucker ? 12 : 9;
  r.require(t.in_channels == channels, "model.image_tokenizer.in_channels", "must be ", channels, ", not ",
            t.in_channels, ": ",
            m.use_aug_plucker ? "use_aug_plucker feeds RGB and nine ray channels." : "RGB and six ray channels.");
  const auto& f = m.transformer;
  r.require(f.d_head > 0, "model.transformer.d_head", "must be positive, not ", f.d_head, '.');
  r.require(f.d > 0 && f.d % f.d_head == 0, "model.transformer.d", "must be a positive multiple of d_head (", f.d_head,
            "), not ", f.d, '.');
  r.require(f.n_layer > 0, "model.transformer.n_layer", "must be positive, not ", f.n_layer, '.');
  const auto& g = m.gaussians;
  r.require(g.n_gaussians >= 0, "model.gaussians.n_gaussians", "must not be negative, got ", g.n_gaussians, '.');
  r.require(g.sh_degree >= 0 && g.sh_degree <= 3, "model.gaussians.sh_degree", "must be 0 to 3, not ", g.sh_degree,
            '.');
  r.require(g.upsampler.upsample_factor <= 1, "model.gaussians.upsampler.upsample_factor",
            "must be 1: no upsampling is defined for this model; got ", g.upsampler.upsample_factor, '.');
  if (g.scaling_modifier)
    r.require(*g.scaling_modifier > 0, "model.gaussians.scaling_modifier", "must be positive, not ",
              *g.scaling_modifier, '.');
  r.require(m.depth_min <= 0 || m.depth_max <= 0 || m.depth_min < m.depth_max, "model.depth_max", "(", m.depth_max,
            ") must be above depth_min (", m.depth_min, "): depths lie between them.");
  if (m.half_bbx_size)
    r.require(*m.half_bbx_size > 0, "model.half_bbx_size", "must be positive, not ", *m.half_bbx_size, '.');
}

void check_training(const Rules& r, const TrainingConfig& t, int image_size) {
  if (t.crop_size)
    r.require(*t.crop_size >= 16 && *t.crop_size <= image_size, "training.crop_size", "must be 16 to image_size (",
              image_size, "), not ", *t.crop_size, "; the loss networks need 16 pixels a side.");
  r.one_of("training.runtime.amp_dtype", t.runtime.amp_dtype, {"bf16", "fp16"});
  r.require(t.runtime.grad_accum_steps > 0, "training.runtime.grad_accum_steps", "must be positive, not ",
            t.runtime.grad_accum_steps, '.');
  r.require(t.runtime.allowed_gradnorm_factor > 0, "training.runtime.allowed_gradnorm_factor", "must be positive, not ",
            t.runtime.allowed_gradnorm_factor, '.');
  const auto& d = t.dataset;
  r.require(d.num_input_views > 0, "training.dataset.num_input_views", "must be positive, not ", d.num_input_views,
            '.');
  r.require(d.num_views >= d.num_input_views, "training.dataset.num_views", "(", d.num_views,
            ") must be at least num_input_views (", d.num_input_views,
            "): the input views are the first of a sample's views.");
  check_background(r, "training.dataset.background_color", d.background_color);
  r.require(t.dataloader.batch_size_per_gpu > 0, "training.dataloader.batch_size_per_gpu", "must be positive, not ",
            t.dataloader.batch_size_per_gpu, '.');
  r.require(t.dataloader.num_workers >= 0, "training.dataloader.num_workers", "must not be negative, got ",
            t.dataloader.num_workers, '.');
  r.require(t.dataloader.prefetch_factor >= 0, "training.dataloader.prefetch_factor", "must not be negative, got ",
            t.dataloader.prefetch_factor, '.');

  const auto& l = t.losses;
  const std::pair<const char*, double> weights[] = {
      {"training.losses.l2_loss_weight", l.l2_loss_weight},
      {"training.losses.lpips_loss_weight", l.lpips_loss_weight},
      {"training.losses.perceptual_loss_weight", l.perceptual_loss_weight},
      {"training.losses.ssim_loss_weight", l.ssim_loss_weight},
      {"training.losses.pixelalign_loss_weight", l.pixelalign_loss_weight},
      {"training.losses.pointsdist_loss_weight", l.pointsdist_loss_weight},
      {"training.losses.background_loss_weight", l.background_loss_weight}};
  double sum = 0;
  for (const auto& [key, w] : weights) {
    r.require(w >= 0, key, "must not be negative, got ", w, '.');
    sum += w;
  }
  r.require(sum > 0, "training.losses.l2_loss_weight", "and all other loss weights are 0: there is nothing to train.");

  const auto& o = t.optimizer;
  r.require(o.lr >= 0, "training.optimizer.lr", "must not be negative, got ", o.lr, '.');
  r.require(o.beta1 >= 0 && o.beta1 < 1, "training.optimizer.beta1", "must be in [0, 1), not ", o.beta1, '.');
  r.require(o.beta2 >= 0 && o.beta2 < 1, "training.optimizer.beta2", "must be in [0, 1), not ", o.beta2, '.');
  r.require(o.weight_decay >= 0, "training.optimizer.weight_decay", "must not be negative, got ", o.weight_decay, '.');

  const auto& s = t.schedule;
  r.require(s.num_epochs > 0, "training.schedule.num_epochs", "must be positive, not ", s.num_epochs, '.');
  r.require(s.max_fwdbwd_passes >= 0, "training.schedule.max_fwdbwd_passes", "must not be negative, got ",
            s.max_fwdbwd_passes, '.');
  r.require(s.warmup >= 0, "training.schedule.warmup", "must not be negative, got ", s.warmup, '.');
  r.require(s.l2_warmup_steps >= 0, "training.schedule.l2_warmup_steps", "must not be negative, got ",
            s.l2_warmup_steps, '.');

  const auto& c = t.checkpointing;
  r.require(!c.checkpoint_dir.empty(), "training.checkpointing.checkpoint_dir", "must name a folder.");
  r.require(c.checkpoint_every > 0, "training.checkpointing.checkpoint_every", "must be positive, not ",
            c.checkpoint_every, '.');
  if (c.checkpoints_total_limit)
    r.require(*c.checkpoints_total_limit > 0, "training.checkpointing.checkpoints_total_limit",
              "must be positive, not ", *c.checkpoints_total_limit, "; leave it out to keep all.");
  r.require(t.logging.print_every > 0, "training.logging.print_every", "must be positive, not ", t.logging.print_every,
            '.');
  r.require(t.logging.vis_every >= 0, "training.logging.vis_every", "must not be negative, got ", t.logging.vis_every,
            "; 0 turns the pictures off.");
  r.require(t.logging.wandb.log_every > 0, "training.logging.wandb.log_every", "must be positive, not ",
            t.logging.wandb.log_every, '.');
}

void check_rest(const Rules& r, const GslrmConfig& c) {
  if (c.validation.enabled) {
    for (const char* key : {"validation.val_every", "validation.output_dir", "validation.dataset_path"})
      r.given(key, "validation.enabled: true needs it");
    r.require(c.validation.val_every > 0, "validation.val_every", "must be positive, not ", c.validation.val_every,
              '.');
    r.require(!c.validation.dataset_path.empty() || !c.mfl.data.val.empty(), "validation.dataset_path",
              "must name a list or a packed file; so may mfl.data.val.");
  }
  r.require(c.mouse.mask_threshold >= 0 && c.mouse.mask_threshold <= 255, "mouse.mask_threshold",
            "must be 0 to 255, not ", c.mouse.mask_threshold, '.');

  const auto& a = c.mouse.augmentation;
  for (const auto& [key, range] : {std::pair{"mouse.augmentation.brightness_range", a.brightness_range},
                                   std::pair{"mouse.augmentation.contrast_range", a.contrast_range}})
    r.require(range[0] >= 0 && range[0] <= range[1], key, "must be two factors [low, high], not [", range[0], ", ", range[1], "].");
  r.require(!c.training.dataset.dataset_path.empty() || !c.mfl.data.train.empty(), "training.dataset.dataset_path",
            "must name a list or a packed file; so may mfl.data.train.");

  const auto& o = c.mfl;
  r.one_of("mfl.keep_best", o.keep_best, {"none", "psnr", "ssim", "lpips", "psnr_foreground", "psnr_held_out", "mask_iou"});
  check_device(r, "mfl.device", o.device);
  r.one_of("mfl.compute", o.compute, {"auto", "bf16", "f32"});
  r.one_of("mfl.recompute", o.recompute, {"auto", "none", "block"});
  r.one_of("mfl.on_checkpoint_failure", o.on_checkpoint_failure, {"stop", "continue"});
  r.one_of("mfl.lr_schedule", o.lr_schedule, {"cosine", "linear", "constant"});
  r.require(o.resume != "", "mfl.resume", "must be auto, never, or a file or folder.");
  r.require(o.overfit >= 0, "mfl.overfit", "must not be negative, got ", o.overfit, '.');
  r.require(o.lr_updates >= 0, "mfl.lr_updates", "must not be negative, got ", o.lr_updates, '.');
  r.require(o.bucket_mb > 0, "mfl.bucket_mb", "must be positive, not ", o.bucket_mb, '.');
  r.require(o.max_skipped > 0, "mfl.max_skipped", "must be positive, not ", o.max_skipped, '.');
  check_fault_keys(r, o.faults);
  r.require(o.stall_seconds >= 0, "mfl.stall_seconds", "must not be negative, got ", o.stall_seconds, '.');
  r.require(o.peak_tflops >= 0, "mfl.peak_tflops", "must not be negative, got ", o.peak_tflops, '.');
  r.require(o.val_samples >= 0, "mfl.val_samples", "must not be negative, got ", o.val_samples, '.');
  r.require(o.render.turntable_views > 0, "mfl.render.turntable_views", "must be positive, not ",
            o.render.turntable_views, '.');
  r.require(o.render.turntable_size > 0, "mfl.render.turntable_size", "must be positive, not ", o.render.turntable_size,
            '.');
  r.require(o.render.video_views > 0, "mfl.render.video_views", "must be positive, not ", o.render.video_views, '.');
  r.require(o.render.video_fps > 0, "mfl.render.video_fps", "must be positive, not ", o.render.video_fps, '.');
  r.require(o.render.video_size >= 0, "mfl.render.video_size", "must not be negative, got ", o.render.video_size, '.');
  r.require(o.render.hfov > 0 && o.render.hfov < 180, "mfl.render.hfov", "must lie between 0 and 180 degrees, not ",
            o.render.hfov, '.');
  r.require(std::abs(o.render.elevation) < 90, "mfl.render.elevation", "must be within 90 degrees, not ",
            o.render.elevation, '.');
}

// FaceLift's first stage has flat keys of its own and no model.class_name.
void refuse_other_programs(const Keys& keys) {
  if (is_stage_one(keys))
    throw_error<ConfigError>(keys.name(), " is a configuration of MVDiffusion (stage 1: one image to six views). GS-LRM, stage 2, "
                             "wants one whose model.class_name is ", kClassName, '.');
}

GslrmConfig read(const Keys& keys, std::vector<std::string>& notes) {
  refuse_other_programs(keys);
  GslrmConfig c;
  Names names;
  visit_keys(names, c);
  refuse_unknown(keys, names.all, kDeadKeys, notes);
  refuse_missing(keys, names.required);

  Reader reader{keys};
  visit_keys(reader, c);
  const Rules rules(keys);
  check_model(rules, c.model);
  check_training(rules, c.training, c.model.image_tokenizer.image_size);
  check_rest(rules, c);

  if (c.training.runtime.amp_dtype == "fp16") {
    c.training.runtime.amp_dtype = "bf16";
    notes.push_back(text(keys.at("training.runtime.amp_dtype").where,
                         ": fp16 is read as bf16: the same speed and memory, fp32's range, and no loss scaling."));
  }
  if (keys.has_section("mouse") && keys.find("mouse.use_mouse_dataset") == nullptr)
    notes.push_back(
        text(keys.name(),
             ": there is a mouse section without mouse.use_mouse_dataset, so views are drawn as "
             "train_gslrm.py does; set it to true for the fixed views and camera rules of train_mouse.py."));
  return c;
}

}  // namespace

DType GslrmConfig::compute() const {
  if (mfl.compute == "bf16") return DType::bf16;
  if (mfl.compute == "f32") return DType::f32;
  return training.runtime.use_amp ? DType::bf16 : DType::f32;
}
std::string GslrmConfig::train_data() const {
  return packed_path(mfl.data.train.empty() ? training.dataset.dataset_path : mfl.data.train);
}
std::string GslrmConfig::val_data() const {
  return packed_path(mfl.data.val.empty() ? validation.dataset_path : mfl.data.val);
}

LoadedConfig parse_gslrm_config(const std::string& yaml, const std::string& name,
                                const std::vector<ConfigOverride>& overrides) {
  LoadedConfig loaded;
  with_keys(yaml, name, overrides, loaded.notes, [&](Keys& keys) { loaded.config = read(keys, loaded.notes); });
  return loaded;
}

LoadedConfig load_gslrm_config(const std::string& path, const std::vector<ConfigOverride>& overrides) {
  return parse_gslrm_config(config_text(path), path, overrides);
}

std::string write_merged(const GslrmConfig& c) {
  Writer w;
  visit_keys(w, c);
  return w.out;
}

std::vector<std::string> known_gslrm_keys() {
  const GslrmConfig c;
  Names names;
  visit_keys(names, c);
  return names.all;
}

}  // namespace mfl
