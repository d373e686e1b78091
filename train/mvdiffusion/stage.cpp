#include "train/mvdiffusion/stage.h"

#include <algorithm>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/normal.h"
#include "kernels/loss/weighted_mse.h"
#include "models/weights/loss_networks.h"
#include "runtime/profile.h"

namespace mfl::mvdiffusion {

namespace fs = std::filesystem;

fs::path unet_folder(const TrainConfig& c) {
  return component_folder(c.pretrained_unet_path.empty() ? fs::path(c.pretrained_model_name_or_path) : fs::path(c.pretrained_unet_path), "unet");
}

UnetSpec unet_spec(const TrainConfig& c, const PipelineFiles* files, bool recompute) {
  UnetSpec s = files ? UnetSpec::read(unet_folder(c) / "config.json") : UnetSpec{};
  if (s.in_channels == s.out_channels) s.in_channels *= 2;   // the condition's channels are added
  s.views = c.n_views;
  s.mode = c.view_mode();
  s.recompute = recompute;
  return s;
}

void choose_trainable(ParamStore& store, const std::vector<std::string>& endings) {
  if (endings.empty()) return;
  bool any = false;
  for (Param& p : store.all()) {
    p.trainable = false;
    for (std::size_t dot = p.name.find('.'); dot != std::string::npos; dot = p.name.find('.', dot + 1)) {
      const std::string_view module = std::string_view(p.name).substr(0, dot);
      p.trainable = p.trainable || std::any_of(endings.begin(), endings.end(), [&](const std::string& e) { return module.ends_with(e); });
    }
    any = any || p.trainable;
  }
  if (!any) throw_error<ConfigError>("trainable_modules names no module of the UNet, such as attn1 or transformer_blocks.0.norm1; nothing would be trained.");
}

namespace {

std::size_t arena_bound(const StageOptions& o) {
  if (o.device.is_meta()) return std::size_t{1} << 50;   // counts only
  return o.memory_bytes ? o.memory_bytes : device_info(o.device).memory_bytes;
}

weights::LossNetworkSources lpips_sources(const TrainConfig& c) { return {.vgg16 = c.mfl.weights.vgg16, .lpips = c.mfl.weights.lpips}; }

}  // namespace

Stage::Stage(const TrainConfig& config, const PipelineFiles* files, StageOptions o)
    : stream(Stream::create(o.device, "compute")),
      weights(o.device, arena_bound(o), "weights"),
      step(o.device, arena_bound(o), "activations"),
      spec(unet_spec(config, files, o.recompute)),
      params(weights, Precision::of(o.compute)),
      unet(Scope{params}, spec),
      encoders(files ? Encoders(*files, stream, weights, o.compute) : Encoders(stream, weights, o.compute)),
      config_(config),
      tables_(stream, weights, params.precision().accum, config.train_batch_size, config.n_views) {
  encoders.require_fit(spec);
  const std::int64_t step_of_side = encoders.factor() << (spec.widths.size() - 1);
  if (config.img_wh % step_of_side != 0)
    throw_error<ConfigError>("img_wh is ", config.img_wh, "; the autoencoder and the UNet's ", spec.widths.size(), " levels need a multiple of ",
                             step_of_side, '.');
  params.seal(stream);
  choose_trainable(params, config.trainable_modules);
  const auto sharding = std::make_shared<Sharding>(weights, params, o.shard);
  optimizer = std::make_unique<Optimizer>(
      stream, weights, params,
      OptimizerConfig{.beta1 = config.adam_beta1, .beta2 = config.adam_beta2, .eps = config.adam_epsilon,
                      .groups = ParamGroups::embeddings_apart(config.adam_weight_decay, config.camera_embedding_lr_mult),
                      .max_norm = config.max_grad_norm.value_or(0), .moments_on_host = o.offload != Offload::none, .allowed_factor = 0},
      sharding);
  if (config.use_ema) ema.emplace(stream, weights, params, 0.9999, o.offload != Offload::none, sharding);
  if (config.validation_steps > 0 && !config.val_data().empty() && ::mfl::weights::missing_for_lpips(lpips_sources(config)).empty()) {
    gslrm::LossConfig only_lpips;
    only_lpips.lpips_loss_weight = 1;
    metric_networks.build(stream, weights, only_lpips);
    if (o.device.is_meta()) metric_networks.prepare(stream, weights, o.compute);
  }
  prompts = weights.empty({config.n_views, kPromptTokens, spec.text_width}, o.compute, {"prompt embeddings"});
  loss_per_sample = weights.empty({config.train_batch_size * config.n_views}, params.precision().accum, {"loss of each sample"});
}

void Stage::load() {
  if (stream.device().is_meta()) return;
  load_unet(stream, params, unet_folder(config_));
  encoders.load(stream);
  if (lpips()) {
    for (ParamStore* store : metric_networks.stores()) ::mfl::weights::load_loss_networks(stream, *store, lpips_sources(config_));
    metric_networks.prepare(stream, weights, params.precision().compute);
  }
  if (ema) ema->restart(stream);
  const Tensor host = read_prompt_embeddings(config_.prompts(), config_.n_views, spec.text_width);
  Tensor narrow = Tensor::on_heap(host.shape(), prompts.dtype());
  cpu::cast({.x = host, .y = narrow});
  copy(stream, narrow, prompts);
  stream.synchronize();
}

Ctx Stage::context() { return {.stream = stream, .arena = step, .precision = params.precision()}; }

Tensor Stage::text(const std::vector<int>& rows) {
  const auto n = static_cast<std::int64_t>(rows.size());
  Tensor y = step.empty({n, prompts.shape()[1], prompts.shape()[2]}, prompts.dtype(), {"prompt embeddings"});
  for (std::int64_t i = 0, run = 0; i < n; i += run) {   // runs of consecutive prompts
    for (run = 1; i + run < n && rows[std::size_t(i + run)] == rows[std::size_t(i)] + run;) ++run;
    copy(stream, prompts.rows(rows[std::size_t(i)], run), y.rows(i, run));
  }
  return y;
}

EncodedObjects Stage::encode(const ObjectBatch& batch, ConstView pixels, StepEncoder& encoder) {
  Ctx cx = context();
  cx.saving = false;
  const auto O = static_cast<std::int64_t>(batch.references.size()), V = std::int64_t{spec.views};
  StepEncoder::Encoded all = encoder.run(cx, batch.images, pixels, config_.img_wh);
  Shape one = all.moments.shape(), embedding = all.embeddings.shape();
  one[0] = embedding[0] = O;
  Tensor references = cx.accum(one, {"moments of the references"});
  EncodedObjects out;
  out.embeddings = cx.accum(embedding, {"image embeddings"});
  for (std::int64_t o = 0; o < O; ++o) {
    const std::int64_t n = o * V + batch.references[std::size_t(o)];
    copy(stream, all.moments.rows(n, 1), references.rows(o, 1));
    copy(stream, all.embeddings.rows(n, 1), out.embeddings.rows(o, 1));
  }
  out.condition = encoders.latents(cx, references);
  out.moments = std::move(all.moments);
  out.text = text(batch.prompts);
  return out;
}

void Stage::micro_batch(EncodedObjects objects, const MicroBatch& which, View loss, const std::function<void(ParamRange)>& ready) {
  Ctx cx = context();
  tables_.set(stream, encoders.schedule(), config_.snr_gamma.value_or(0), config_.drop_rate(), config_.seed, which.step, which.first_object);
  TrainingInput in;
  {
    Range range("noise");
    Shape shape = objects.moments.shape();
    shape[-1] = encoders.latent_channels();
    Tensor x0;
    {
      Tensor noise = cx.accum(shape, {"posterior noise"});
      fill_normal(stream, {.x = noise, .streams = tables_.streams, .seed = config_.seed, .purpose = Draw::posterior, .step = which.step});
      x0 = encoders.latents(cx, objects.moments, noise);
    }
    in = training_input(cx, tables_, encoders.normalizer(), encoders.embedding_noise(), x0, objects.condition, objects.embeddings,
                        config_.seed, which.step);
  }
  objects.moments.reset(), objects.condition.reset(), objects.embeddings.reset();
  pass({in.sample, tables_.timesteps, in.class_labels, objects.text}, in.velocity, tables_.loss_weights, which.accumulate, loss, ready);
}

void Stage::pass(const Unet::Input& input, ConstView velocity, ConstView sample_weights, bool accumulate, View loss,
                 const std::function<void(ParamRange)>& ready) {
  Ctx cx = context();
  cx.accumulate_grads = accumulate;
  cx.grads_ready = ready;
  Unet::Saved saved;
  Tensor dy;
  {
    const Tensor prediction = unet.forward(cx, input, saved);
    Range range("loss");
    const View per_sample = loss_per_sample.rows(0, prediction.shape()[0]);
    weighted_mse_fwd(stream, {.x = prediction, .target = velocity, .weights = sample_weights, .loss = loss, .per_sample = per_sample});
    dy = cx.compute(prediction.shape(), {"prediction gradient"});
    weighted_mse_bwd(stream, {.x = prediction, .target = velocity, .weights = sample_weights, .dx = dy});
  }
  unet.backward(cx, std::move(saved), std::move(dy));
}

}  // namespace mfl::mvdiffusion
