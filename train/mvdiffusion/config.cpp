#include "train/mvdiffusion/config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "train/config_schema.h"

namespace mfl::mvdiffusion {
namespace {

using namespace schema;
namespace fs = std::filesystem;

// v(key, member, required) for every key, in the order of the merged file.
template <class Visitor, class Config>
void visit_keys(Visitor& v, Config& c) {
  v("n_views", c.n_views, kRequired);
  v("img_wh", c.img_wh, kRequired);
  v("reference_view_idx", c.reference_view_idx);
  v("dataset_type", c.dataset_type);
  v("prompt_embed_path", c.prompt_embed_path);
  v("pretrained_model_name_or_path", c.pretrained_model_name_or_path, kRequired);
  v("pretrained_unet_path", c.pretrained_unet_path);
  v("train_dataset.path", c.train_dataset.path, kRequired);
  v("train_dataset.bg_color", c.train_dataset.bg_color);
  v("train_dataset.augmentation", c.train_dataset.augmentation);
  v("train_dataset.aug_brightness", c.train_dataset.aug_brightness);
  v("train_dataset.aug_contrast", c.train_dataset.aug_contrast);
  v("validation_dataset.path", c.validation_dataset.path);
  v("validation_dataset.bg_color", c.validation_dataset.bg_color);
  v("checkpoint_prefix", c.checkpoint_prefix);
  v("output_dir", c.output_dir);
  v("val_out_dir", c.val_out_dir);
  v("seed", c.seed);
  v("train_batch_size", c.train_batch_size, kRequired);
  v("validation_batch_size", c.validation_batch_size);
  v("max_train_steps", c.max_train_steps);
  v("num_train_epochs", c.num_train_epochs);
  v("gradient_accumulation_steps", c.gradient_accumulation_steps);
  v("gradient_checkpointing", c.gradient_checkpointing);
  v("learning_rate", c.learning_rate, kRequired);
  v("step_rules", c.step_rules);
  v("scale_lr", c.scale_lr);
  v("lr_scheduler", c.lr_scheduler);
  v("lr_warmup_steps", c.lr_warmup_steps);
  v("snr_gamma", c.snr_gamma);
  v("use_ema", c.use_ema);
  v("dataloader_num_workers", c.dataloader_num_workers);
  v("adam_beta1", c.adam_beta1);
  v("adam_beta2", c.adam_beta2);
  v("adam_weight_decay", c.adam_weight_decay);
  v("adam_epsilon", c.adam_epsilon);
  v("max_grad_norm", c.max_grad_norm);
  v("logging_dir", c.logging_dir);
  v("mixed_precision", c.mixed_precision);
  v("report_to", c.report_to);
  v("tracker_project_name", c.tracker_project_name);
  v("wandb_exp_name", c.wandb_exp_name);
  v("wandb_group", c.wandb_group);
  v("wandb_job_type", c.wandb_job_type);
  v("checkpointing_steps", c.checkpointing_steps, kRequired);
  v("checkpoints_total_limit", c.checkpoints_total_limit);
  v("resume_from_checkpoint", c.resume_from_checkpoint);
  v("validation_steps", c.validation_steps);
  v("validation_sanity_check", c.validation_sanity_check);
  v("trainable_modules", c.trainable_modules);
  v("use_classifier_free_guidance", c.use_classifier_free_guidance);
  v("condition_drop_rate", c.condition_drop_rate);
  v("drop_type", c.drop_type);
  v("camera_embedding_lr_mult", c.camera_embedding_lr_mult);
  v("scale_input_latents", c.scale_input_latents);
  v("pipe_kwargs.num_views", c.pipe_kwargs.num_views);
  v("validation_guidance_scales", c.validation_guidance_scales);
  v("pipe_validation_kwargs.eta", c.pipe_validation_kwargs.eta);
  v("pipe_validation_kwargs.num_inference_steps", c.pipe_validation_kwargs.num_inference_steps);
  auto& u = c.unet_from_pretrained_kwargs;
  v("unet_from_pretrained_kwargs.num_views", u.num_views);
  v("unet_from_pretrained_kwargs.sample_size", u.sample_size);
  v("unet_from_pretrained_kwargs.zero_init_conv_in", u.zero_init_conv_in);
  v("unet_from_pretrained_kwargs.multiview_attention", u.multiview_attention);
  v("unet_from_pretrained_kwargs.sparse_mv_attention", u.sparse_mv_attention);
  v("unet_from_pretrained_kwargs.cd_attention_last", u.cd_attention_last);
  v("unet_from_pretrained_kwargs.cd_attention_mid", u.cd_attention_mid);
  v("unet_from_pretrained_kwargs.addition_downsample", u.addition_downsample);
  v("unet_from_pretrained_kwargs.selfattn_block", u.selfattn_block);

  auto& o = c.mfl;
  v("mfl.device", o.device);
  v("mfl.compute", o.compute);
  v("mfl.recompute", o.recompute);
  v("mfl.offload", o.offload);
  v("mfl.keep_best", o.keep_best);
  v("mfl.on_checkpoint_failure", o.on_checkpoint_failure);
  v("mfl.log_dir", o.log_dir);
  v("mfl.overfit", o.overfit);
  v("mfl.max_skipped", o.max_skipped);
  visit_fault_keys(v, o.faults);
  v("mfl.print_every", o.print_every);
  v("mfl.val_samples", o.val_samples);
  v("mfl.bucket_mb", o.bucket_mb);
  v("mfl.shard_optimizer", o.shard_optimizer);
  v("mfl.stall_seconds", o.stall_seconds);
  v("mfl.peak_tflops", o.peak_tflops);
  v("mfl.allow_unsound_data", o.allow_unsound_data);
  v("mfl.data.train", o.data.train);
  v("mfl.data.val", o.data.val);
  v("mfl.cache.folder", o.cache.folder);
  v("mfl.cache.memory_gb", o.cache.memory_gb);
  v("mfl.cache.chunk", o.cache.chunk);
  v("mfl.weights.vgg16", o.weights.vgg16);
  v("mfl.weights.lpips", o.weights.lpips);
}

// Keys that real files contain and the published code never reads; the last line is of two files that no published code loads.
const std::vector<std::string> kDeadKeys = {
    "prediction_type", "vis_dir", "local_rank", "validation_grid_nrow", "train_dataset.aug_hflip", "wandb_run_id",
    "unet_from_pretrained_kwargs.unclip", "unet_from_pretrained_kwargs.init_mvattn_with_selfattn",
    "experiment.*", "camera.*", "data_root", "unet_from_pretrained_kwargs.cross_attention_dim",
    "unet_from_pretrained_kwargs.added_kv_proj_dim"};
// Keys that the published code reads and that have nothing to choose here: hub revisions (components are folders), TF32 (f32 is
// f32), an attention library (view attention is what multiview_attention and sparse_mv_attention say).
const std::vector<std::string> kMoot = {"revision", "allow_tf32", "enable_xformers_memory_efficient_attention"};
// Names that the two drafts (archive/..._cam.yaml) have for keys of the schema.
constexpr std::pair<const char*, const char*> kDraftNames[] = {{"num_views", "n_views"},
                                                               {"image_size", "img_wh"},
                                                               {"data_train_txt", "train_dataset.path"},
                                                               {"data_val_txt", "validation_dataset.path"},
                                                               {"prompt_embeds_path", "prompt_embed_path"}};

constexpr const char* kPublishedPrompts = "mvdiffusion/data/fixed_prompt_embeds_6view/clr_embeds.pt";

void check_data_and_model(const Rules& r, const TrainConfig& c) {
  r.require(c.n_views > 0, "n_views", "must be positive, not ", c.n_views, '.');
  r.require(c.img_wh > 0, "img_wh", "must be positive, not ", c.img_wh, '.');
  const std::string& ref = c.reference_view_idx;
  const bool index = !ref.empty() && ref.size() < 4 && ref.find_first_not_of("0123456789") == std::string::npos;
  r.require(ref == "random" || ref == "ring" || (index && std::stoi(ref) < c.n_views), "reference_view_idx",
            "must be random, ring or a view from 0 to ", c.n_views - 1, ", not \"", ref, "\".");
  r.require(c.dataset_type == "mouse" || c.reference_view_idx == "0", "reference_view_idx",
            "is read with dataset_type: mouse only, as published; without it the reference is view 0.");
  check_background(r, "train_dataset.bg_color", c.train_dataset.bg_color);
  check_background(r, "validation_dataset.bg_color", c.validation_dataset.bg_color);
  for (const auto& [key, range] : {std::pair{"train_dataset.aug_brightness", c.train_dataset.aug_brightness},
                                   std::pair{"train_dataset.aug_contrast", c.train_dataset.aug_contrast}})
    r.require(range[0] >= 0 && range[0] <= range[1], key, "must be two factors [low, high], not [", range[0], ", ", range[1], "].");
  r.require(!c.checkpoint_prefix.empty() || !c.output_dir.empty(), "output_dir", "is missing: the folder of the run.");
  const auto& u = c.unet_from_pretrained_kwargs;
  r.require(c.pipe_kwargs.num_views == c.n_views, "pipe_kwargs.num_views", "must be n_views (", c.n_views, "), not ",
            c.pipe_kwargs.num_views, '.');
  r.require(u.num_views == c.n_views, "unet_from_pretrained_kwargs.num_views", "must be n_views (", c.n_views, "), not ", u.num_views, '.');
  r.require(u.sample_size > 0, "unet_from_pretrained_kwargs.sample_size", "must be positive, not ", u.sample_size, '.');
  r.require(u.zero_init_conv_in, "unet_from_pretrained_kwargs.zero_init_conv_in",
            "must be true: input channels that the source lacks start at zero; those that it has are kept.");
  r.require(!u.cd_attention_last && !u.cd_attention_mid && !u.addition_downsample, "unet_from_pretrained_kwargs.cd_attention_last",
            "and cd_attention_mid and addition_downsample must be false: no published weights have these branches.");
  r.require(u.selfattn_block == "custom", "unet_from_pretrained_kwargs.selfattn_block", "must be custom, not \"", u.selfattn_block, "\".");
  r.require(c.scale_input_latents, "scale_input_latents", "must be true: sampling scales the condition's latents in any case.");
}

void check_training(const Rules& r, const TrainConfig& c) {
  r.require(c.train_batch_size > 0, "train_batch_size", "must be positive, not ", c.train_batch_size, '.');
  r.require(c.validation_batch_size > 0, "validation_batch_size", "must be positive, not ", c.validation_batch_size, '.');
  r.require(c.max_train_steps > 0 || c.num_train_epochs > 0, "max_train_steps", "is missing: how many updates the run makes.");
  r.require(c.gradient_accumulation_steps > 0, "gradient_accumulation_steps", "must be positive, not ", c.gradient_accumulation_steps, '.');
  r.require(c.learning_rate >= 0, "learning_rate", "must not be negative, got ", c.learning_rate, '.');
  r.one_of("lr_scheduler", c.lr_scheduler, {"piecewise_constant", "constant", "constant_with_warmup", "linear", "cosine"});
  r.require(c.lr_warmup_steps >= 0, "lr_warmup_steps", "must not be negative, got ", c.lr_warmup_steps, '.');
  try {
    parse_step_rules(c.step_rules);
  } catch (const ConfigError& e) {
    r.require(false, "step_rules", e.what());
  }
  if (c.snr_gamma) r.require(*c.snr_gamma > 0, "snr_gamma", "must be positive, or null for no weights, not ", *c.snr_gamma, '.');
  r.require(c.dataloader_num_workers >= 0, "dataloader_num_workers", "must not be negative, got ", c.dataloader_num_workers, '.');
  for (const auto& [key, beta] : {std::pair{"adam_beta1", c.adam_beta1}, std::pair{"adam_beta2", c.adam_beta2}})
    r.require(beta >= 0 && beta < 1, key, "must be in [0, 1), not ", beta, '.');
  r.require(c.adam_weight_decay >= 0, "adam_weight_decay", "must not be negative, got ", c.adam_weight_decay, '.');
  r.require(c.adam_epsilon > 0, "adam_epsilon", "must be positive, not ", c.adam_epsilon, '.');
  if (c.max_grad_norm) r.require(*c.max_grad_norm > 0, "max_grad_norm", "must be positive, or null for no clipping, not ", *c.max_grad_norm, '.');
  r.one_of("mixed_precision", c.mixed_precision, {"no", "fp16", "bf16"});
  r.require(c.checkpointing_steps > 0, "checkpointing_steps", "must be positive, not ", c.checkpointing_steps, '.');
  if (c.checkpoints_total_limit)
    r.require(*c.checkpoints_total_limit > 0, "checkpoints_total_limit", "must be positive, not ", *c.checkpoints_total_limit,
              "; leave it out to keep all.");
  r.require(c.validation_steps >= 0, "validation_steps", "must not be negative, got ", c.validation_steps, '.');
  r.require(c.validation_steps == 0 || c.validation_dataset.path.empty() || c.img_wh >= 16, "validation_steps",
            "must be 0 where img_wh is below 16: SSIM and LPIPS need larger images.");
  r.require(c.condition_drop_rate >= 0 && 3 * c.condition_drop_rate <= 1, "condition_drop_rate", "must be in [0, 1/3], not ",
            c.condition_drop_rate, ": three kinds of drop have this probability each.");
  r.require(c.drop_type == "drop_as_a_whole", "drop_type", "must be drop_as_a_whole, not \"", c.drop_type,
            "\": the published drop_independent mixes up its axes.");
  r.require(!c.validation_guidance_scales.empty(), "validation_guidance_scales", "must name a scale.");
  r.require(c.pipe_validation_kwargs.eta >= 0 && c.pipe_validation_kwargs.eta <= 1, "pipe_validation_kwargs.eta", "must be in [0, 1], not ",
            c.pipe_validation_kwargs.eta, '.');
  r.require(c.pipe_validation_kwargs.num_inference_steps > 0, "pipe_validation_kwargs.num_inference_steps", "must be positive, not ",
            c.pipe_validation_kwargs.num_inference_steps, '.');
}

void check_own(const Rules& r, const TrainConfig::Mfl& o) {
  check_device(r, "mfl.device", o.device);
  const std::string metric = o.keep_best.substr(0, o.keep_best.find("-guidance_scale-"));
  constexpr const char* kMetrics[] = {"psnr", "ssim", "lpips", "psnr_foreground", "mask_iou", "slot_order"};
  r.require(o.keep_best == "none" || std::find(std::begin(kMetrics), std::end(kMetrics), metric) != std::end(kMetrics), "mfl.keep_best",
            "must be none, psnr, ssim, lpips, psnr_foreground, mask_iou or slot_order, at a scale (psnr-guidance_scale-3.0) or else at the first one, "
            "not \"", o.keep_best, "\".");
  r.one_of("mfl.compute", o.compute, {"auto", "bf16", "f32"});
  r.one_of("mfl.recompute", o.recompute, {"auto", "none", "block"});
  r.one_of("mfl.offload", o.offload, {"none", "moments"});
  r.one_of("mfl.on_checkpoint_failure", o.on_checkpoint_failure, {"stop", "continue"});
  r.require(o.overfit >= 0, "mfl.overfit", "must not be negative, got ", o.overfit, '.');
  r.require(o.max_skipped > 0, "mfl.max_skipped", "must be positive, not ", o.max_skipped, '.');
  check_fault_keys(r, o.faults);
  r.require(o.print_every > 0, "mfl.print_every", "must be positive, not ", o.print_every, '.');
  r.require(o.val_samples >= 0, "mfl.val_samples", "must not be negative, got ", o.val_samples, '.');
  r.require(o.bucket_mb > 0, "mfl.bucket_mb", "must be positive, not ", o.bucket_mb, '.');
  r.require(o.stall_seconds >= 0, "mfl.stall_seconds", "must not be negative, got ", o.stall_seconds, '.');
  r.require(o.peak_tflops >= 0, "mfl.peak_tflops", "must not be negative, got ", o.peak_tflops, '.');
  r.require(o.cache.memory_gb >= 0, "mfl.cache.memory_gb", "must not be negative, got ", o.cache.memory_gb, '.');
  r.require(o.cache.chunk > 0, "mfl.cache.chunk", "must be positive, not ", o.cache.chunk, '.');
}

TrainConfig read(Keys& keys, std::vector<std::string>& notes) {
  for (const auto& [from, to] : kDraftNames) keys.rename(from, to);
  std::string moot;
  for (const std::string& key : kMoot) {
    if (!keys.given(key)) continue;
    moot += (moot.empty() ? "" : ", ") + key;
    keys.remove(key);
  }
  if (!moot.empty()) notes.push_back(text(keys.name(), ": nothing to choose here, ignored: ", moot, '.'));
  const Rules rules(keys);
  if (keys.given("use_8bit_adam")) {
    bool eight = false;
    if (const Entry* e = keys.find("use_8bit_adam")) convert(*e, e->value, eight);
    rules.require(!eight, "use_8bit_adam", "must be false: moments are f32.");
    keys.remove("use_8bit_adam");
  }
  TrainConfig c;
  Names names;
  visit_keys(names, c);
  refuse_unknown(keys, names.all, kDeadKeys, notes);
  refuse_missing(keys, names.required);
  c.pipe_kwargs.num_views = c.unet_from_pretrained_kwargs.num_views = 0;   // not given: n_views
  Reader reader{keys};
  visit_keys(reader, c);
  for (int* views : {&c.pipe_kwargs.num_views, &c.unet_from_pretrained_kwargs.num_views})
    if (*views == 0) *views = c.n_views;
  check_data_and_model(rules, c);
  check_training(rules, c);
  check_own(rules, c.mfl);
  if (c.mixed_precision == "fp16") {
    c.mixed_precision = "bf16";
    notes.push_back(text(keys.at("mixed_precision").where, ": fp16 is read as bf16: the same speed and memory, fp32's range, and no loss scaling."));
  }
  return c;
}

}  // namespace

DType TrainConfig::compute() const {
  if (mfl.compute != "auto") return mfl.compute == "bf16" ? DType::bf16 : DType::f32;
  return mixed_precision == "no" ? DType::f32 : DType::bf16;
}
bool TrainConfig::recompute() const { return mfl.recompute == "auto" ? gradient_checkpointing : mfl.recompute == "block"; }
Offload TrainConfig::offload() const {
  return mfl.offload == "moments" ? Offload::moments : Offload::none;
}
ReferenceRule TrainConfig::reference_rule() const {
  return reference_view_idx == "random" ? ReferenceRule::random : reference_view_idx == "ring" ? ReferenceRule::ring : ReferenceRule::fixed;
}
int TrainConfig::reference_view() const { return reference_rule() == ReferenceRule::fixed ? std::stoi(reference_view_idx) : 0; }
ViewMode TrainConfig::view_mode() const {
  const UnetKwargs& u = unet_from_pretrained_kwargs;
  return !u.multiview_attention ? ViewMode::per_view : u.sparse_mv_attention ? ViewMode::sparse : ViewMode::dense;
}
fs::path TrainConfig::model_dir() const { return fs::path(checkpoint_prefix) / output_dir; }
fs::path TrainConfig::log_dir() const { return mfl.log_dir.empty() ? model_dir() / logging_dir : fs::path(mfl.log_dir); }
fs::path TrainConfig::prompts() const { return prompt_embed_path.empty() ? kPublishedPrompts : prompt_embed_path; }
std::string TrainConfig::train_data() const { return packed_path(mfl.data.train.empty() ? train_dataset.path : mfl.data.train); }
std::string TrainConfig::val_data() const { return packed_path(mfl.data.val.empty() ? validation_dataset.path : mfl.data.val); }

std::vector<StepRule> parse_step_rules(const std::string& rules) {
  const auto bad = [&](const std::string& part) -> void {
    throw_error<ConfigError>("\"", rules, "\" is no list such as \"1:200000,0.5\": \"", part, "\" is not a multiplier and the count that ends it");
  };
  std::vector<StepRule> list;
  std::istringstream in(rules);
  for (std::string part; std::getline(in, part, ',');) {
    StepRule rule;
    const std::size_t colon = part.find(':');
    std::size_t used = 0, used_count = 0;
    try {
      rule.multiplier = std::stod(part.substr(0, colon), &used);
      if (colon != std::string::npos) rule.below = std::stoll(part.substr(colon + 1), &used_count);
    } catch (const std::exception&) {
      bad(part);
    }
    const bool last = in.eof();
    if (used != std::min(colon, part.size()) || (colon != std::string::npos && used_count != part.size() - colon - 1) ||
        last != (colon == std::string::npos) || rule.multiplier < 0 || (!last && !list.empty() && rule.below <= list.back().below))
      bad(part);
    list.push_back(rule);
  }
  if (list.empty()) bad("");
  return list;
}

double learning_rate(const TrainConfig& c, std::int64_t step, std::int64_t count, int ranks) {
  const double lr = c.learning_rate * (c.scale_lr ? double(c.gradient_accumulation_steps) * c.train_batch_size * ranks : 1.0);
  if (c.lr_scheduler == "constant") return lr;
  if (c.lr_scheduler == "piecewise_constant") {
    const std::vector<StepRule> rules = parse_step_rules(c.step_rules);
    for (std::size_t i = 0; i + 1 < rules.size(); ++i)
      if (count < rules[i].below) return lr * rules[i].multiplier;
    return lr * rules.back().multiplier;
  }
  const double s = double(step), w = double(c.lr_warmup_steps), T = double(c.max_train_steps);
  if (s < w) return lr * s / std::max(1.0, w);
  if (c.lr_scheduler == "constant_with_warmup") return lr;
  const double p = std::min(1.0, (s - w) / std::max(1.0, T - w));
  return c.lr_scheduler == "linear" ? lr * (1 - p) : lr * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * p)));
}

bool is_train_config(const std::string& yaml, const std::string& name) {
  bool is = false;
  std::vector<std::string> ignored;
  with_keys(yaml, name, {}, ignored, [&](Keys& keys) { is = is_stage_one(keys); });
  return is;
}

LoadedTrainConfig parse_train_config(const std::string& yaml, const std::string& name, const std::vector<ConfigOverride>& overrides) {
  LoadedTrainConfig loaded;
  with_keys(yaml, name, overrides, loaded.notes, [&](Keys& keys) { loaded.config = read(keys, loaded.notes); });
  return loaded;
}

LoadedTrainConfig load_train_config(const std::string& path, const std::vector<ConfigOverride>& overrides) {
  return parse_train_config(config_text(path), path, overrides);
}

std::string write_merged(const TrainConfig& c) {
  Writer w;
  visit_keys(w, c);
  return w.out;
}

}  // namespace mfl::mvdiffusion
