#include "train/mvdiffusion/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "train/background_save.h"
#include "train/mvdiffusion/checkpoint.h"
#include "train/mvdiffusion/stage.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

// A batch of images that nobody has seen.
ObjectBatch unknown_batch(const TrainConfig& c) {
  ObjectBatch b;
  const int V = c.n_views;
  for (int o = 0; o < c.train_batch_size; ++o) {
    b.references.push_back(0);
    for (int v = 0; v < V; ++v) {
      b.images.push_back({.embedding = v == 0});
      b.prompts.push_back(v);
    }
  }
  return b;
}

// What ViewValidation::run does with a batch, at the largest guidance; every step is like the others.
void sample_once(Stage& stage) {
  const TrainConfig& c = stage.config();
  std::optional<EmaWeights::Shown> shown;
  if (stage.ema) shown.emplace(stage.stream, stage.step, *stage.ema);
  Ctx cx = stage.context();
  cx.saving = false;
  const std::int64_t O = c.mfl.val_samples > 0 ? std::min(c.validation_batch_size, c.mfl.val_samples) : c.validation_batch_size;
  const std::int64_t V = c.n_views, H = c.img_wh;
  const double guidance = *std::max_element(c.validation_guidance_scales.begin(), c.validation_guidance_scales.end());
  const SamplerTable table(cx.stream, cx.arena, cx.precision.accum,
                           sampler_steps(stage.encoders.schedule(), {.steps = 2, .guidance = guidance, .eta = c.pipe_validation_kwargs.eta}));
  ViewsInput in;
  in.streams = cx.arena.empty({O * V}, DType::i32, {"noise streams"});
  in.text = cx.compute({O * V, stage.prompts.shape()[1], stage.prompts.shape()[2]}, {"prompt embeddings"});
  const Tensor bytes = cx.arena.empty({O, H, H, 3}, DType::u8, {"input images"}), floats = cx.accum({O, H, H, 3}, {"input images"});
  in.condition = encode_condition(cx, stage.encoders, floats, bytes);
  const Tensor latents = sample_views(cx, stage.encoders, stage.unet, table, in), images = stage.encoders.decode(cx, latents);
  if (const perceptual::LpipsLoss* lpips = stage.lpips())
    lpips->run(cx, images.rows(0, 1), cx.accum({1, H, H, 4}, {"true views"}), 1, cx.accum({1}, {"loss terms"}));
}

}  // namespace

MemoryPlan plan_training(const TrainConfig& c, int ranks) {
  std::optional<PipelineFiles> files;
  if (fs::exists(c.pretrained_model_name_or_path)) files.emplace(c.pretrained_model_name_or_path);
  Stage stage(c, files ? &*files : nullptr, {.device = kMeta, .compute = c.compute(), .offload = c.offload(), .shard = {0, c.mfl.shard_optimizer ? ranks : 1, nullptr}, .recompute = c.recompute()});
  MemoryPlan p;
  p.ranks = ranks, p.divided = stage.optimizer->sharding().divided();
  p.parameters = stage.params.numel();
  for (const Param& x : stage.params.all()) p.trainable += x.trainable ? x.numel() : 0;
  p.network_parameters = stage.encoders.parameters();
  for (ParamStore* n : stage.metric_networks.stores()) p.metric_parameters += n->numel();
  p.forward_flops = stage.unet.forward_flops(c.img_wh / stage.encoders.factor(), kPromptTokens);
  const DType accum = stage.params.precision().accum;
  const Tensor losses = stage.weights.empty({c.gradient_accumulation_steps, 1}, accum, {"loss terms"});
  p.state = lines_of(stage.weights.peak_uses());
  p.state_peak = stage.weights.peak_bytes();
  p.state_bytes = committed_bytes(p.state_peak);
  StepEncoder encoder(stage.encoders, nullptr, c.mfl.cache.chunk);
  const ObjectBatch batch = unknown_batch(c);
  {
    KeptByModule modules(stage.step);
    EncodedObjects encoded;
    {
      const Tensor pixels = stage.step.empty({std::int64_t(batch.images.size()), c.img_wh, c.img_wh, 3}, accum, {"batch"});
      encoded = stage.encode(batch, pixels, encoder);
    }
    stage.micro_batch(std::move(encoded), {}, losses.rows(0, 1).reshape({1}));
    p.modules = modules.lines();
  }
  p.peak = lines_of(stage.step.peak_uses());
  if (c.validation_steps > 0 && !c.val_data().empty()) {
    stage.step.begin_step();
    sample_once(stage);
    p.validation_bytes = stage.step.step_peak_bytes();
  }
  p.step_peak = stage.step.peak_bytes();
  p.step_bytes = committed_bytes(p.step_peak);
  const Trained trained{stage.stream, stage.params, *stage.optimizer, stage.ema ? &*stage.ema : nullptr, {}};
  if (c.offload() != Offload::none) p.host.push_back({"optimizer moments", 2 * stage.optimizer->exp_avg().bytes()});
  if (c.offload() != Offload::none && stage.ema) p.host.push_back({"moving average of parameters", stage.ema->shadow().bytes()});
  p.host.push_back({kCheckpointStaging, std::size_t(CheckpointWriter::staging_bytes(trained)), 1, /*leader=*/true});
  p.host.push_back({"batches ahead", 3 * batch.images.size() * std::size_t(c.img_wh) * std::size_t(c.img_wh) * 3 * 4});
  p.library_bytes = library_bytes();
  return p;
}

std::string describe(const TrainConfig& c, const MemoryPlan& p, std::size_t memory_bytes) {
  std::string out;
  auto line = [&](const std::string& s) { out += s + "\n"; };
  line(fmt::format("MVDiffusion: UNet {} parameters, {} trainable; frozen encoders {}{}", p.parameters, p.trainable, p.network_parameters,
                   p.metric_parameters ? fmt::format("; LPIPS of validation {}", p.metric_parameters) : ""));
  if (!fs::exists(c.pretrained_model_name_or_path))
    line(fmt::format("{} is not there: planned with the published pipeline's sizes", c.pretrained_model_name_or_path));
  line(fmt::format("an object: {} views of {}x{}, {:.2f} TFLOP forward", c.n_views, c.img_wh, c.img_wh, p.forward_flops * c.n_views * 1e-12));
  line(fmt::format("a step: batch {} x {} micro-batches, compute {}, {}, moving average {}", c.train_batch_size, c.gradient_accumulation_steps,
                   name_of(c.compute()), c.recompute() ? "blocks recomputed" : "all activations kept", c.use_ema ? "on" : "off"));
  out += tables(p);
  out += disk_line(p, fmt::format("{} steps", c.checkpointing_steps), c.checkpoints_total_limit);
  if (memory_bytes == 0) return out;
  out += verdict(p, memory_bytes, {});
  if (p.total() <= memory_bytes) return out;
  // What makes it fit, one change after the other, each planned.
  TrainConfig smaller = c;
  std::string set;
  auto change = [&](bool applies, const std::string& keys, const std::function<void()>& apply) {
    if (!applies) return false;
    apply();
    set += " --set " + keys;
    const std::size_t total = plan_training(smaller, p.ranks).total();
    line(fmt::format("  {:>10}  {}{}", human_bytes(total), total <= memory_bytes ? "fits with" : "not yet with", set));
    return total <= memory_bytes;
  };
  const std::int64_t objects = std::int64_t{c.gradient_accumulation_steps} * c.train_batch_size;
  if (change(c.compute() == DType::f32, "mfl.compute=bf16", [&] { smaller.mfl.compute = "bf16"; }) ||
      change(!c.recompute(), "mfl.recompute=block", [&] { smaller.mfl.recompute = "block"; }) ||
      change(c.train_batch_size > 1, fmt::format("train_batch_size=1 --set gradient_accumulation_steps={}", objects), [&] {
        smaller.train_batch_size = 1;
        smaller.gradient_accumulation_steps = int(objects);
      }) ||
      change(p.ranks > 1 && !p.divided, "mfl.shard_optimizer=true", [&] { smaller.mfl.shard_optimizer = true; }) ||
      change(c.offload() == Offload::none, "mfl.offload=moments", [&] { smaller.mfl.offload = "moments"; }) ||
      change(c.validation_batch_size > 1 && p.validation_bytes > 0, "validation_batch_size=1", [&] { smaller.validation_batch_size = 1; }) ||
      change(c.mfl.cache.chunk > 1, "mfl.cache.chunk=1", [&] { smaller.mfl.cache.chunk = 1; }))
    return out;
  line("  a smaller img_wh needs less; what is left is mostly f32 parameters, gradients and the frozen encoders");
  return out;
}

}  // namespace mfl::mvdiffusion
