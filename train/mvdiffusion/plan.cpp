#include "train/mvdiffusion/plan.h"

#include <fmt/format.h>

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

}  // namespace

MemoryPlan plan_training(const TrainConfig& c) {
  std::optional<PipelineFiles> files;
  if (fs::exists(c.pretrained_model_name_or_path)) files.emplace(c.pretrained_model_name_or_path);
  Stage stage(c, files ? &*files : nullptr, {.device = kMeta, .compute = c.compute(), .recompute = c.recompute()});
  MemoryPlan p;
  p.parameters = stage.params.numel();
  for (const Param& x : stage.params.all()) p.trainable += x.trainable ? x.numel() : 0;
  p.network_parameters = stage.encoders.parameters();
  for (ParamStore* n : stage.metric_networks.stores()) p.metric_parameters += n->numel();
  p.forward_flops = stage.unet.forward_flops(c.img_wh / stage.encoders.factor(), kPromptTokens);
  const DType accum = stage.params.precision().accum;
  const Tensor losses = stage.weights.empty({c.gradient_accumulation_steps, 1}, accum, {"loss terms"});
  p.state = lines_of(stage.weights.peak_uses());
  p.state_bytes = committed_bytes(stage.weights.peak_bytes());
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
  p.step_bytes = committed_bytes(stage.step.peak_bytes());
  const Trained trained{stage.stream, stage.params, *stage.optimizer, stage.ema ? &*stage.ema : nullptr, {}};
  p.host.push_back({"checkpoint staging", std::size_t(CheckpointWriter::staging_bytes(trained))});
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
  if (memory_bytes == 0) return out;
  std::vector<std::string> remedies;
  if (!c.recompute()) remedies.push_back("mfl.recompute=block would keep only the input of every block of the down and up levels");
  if (c.train_batch_size > 1)
    remedies.push_back(fmt::format("train_batch_size=1 with gradient_accumulation_steps={} gives the same update",
                                   c.gradient_accumulation_steps * c.train_batch_size));
  if (c.compute() == DType::f32) remedies.push_back("mfl.compute=bf16 halves activations and encoders");
  return out + verdict(p, memory_bytes, remedies);
}

}  // namespace mfl::mvdiffusion
