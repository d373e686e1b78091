#include "train/gslrm_stage.h"

#include "runtime/profile.h"

namespace mfl {
namespace {

using gslrm::GaussianBatch;
using gslrm::Gaussians;

std::size_t arena_bound(const StageOptions& o) {
  if (o.device.is_meta()) return std::size_t{1} << 50;   // counts only
  if (o.memory_bytes) return o.memory_bytes;
  return device_info(o.device).memory_bytes;
}

// FaceLift's trainer freezes by block index and by name (train_gslrm.py); both heads always train.
void freeze(ParamStore& store, const TrainingConfig::FreezeLayers& f) {
  if (!f.enabled) return;
  for (Param& p : store.all()) {
    if (p.name.starts_with("transformer_layers.")) {
      const int block = std::stoi(p.name.substr(std::string("transformer_layers.").size()));
      if (block < f.freeze_transformer_until) p.trainable = false;
    }
    if (f.freeze_patch_embedder && (p.name.starts_with("patch_embedder.") || p.name.starts_with("input_layer_norm.")))
      p.trainable = false;
    if (f.freeze_positional_embeddings && p.name.find("position_embeddings") != std::string::npos) p.trainable = false;
  }
}

// Rows of sample b of a [B, ...] tensor, from a tensor of one sample.
void put_sample(const Stream& s, const Tensor& one, const Tensor& all, std::int64_t b) {
  copy(s, one, all.rows(b, 1).reshape(one.shape()));
}

}  // namespace

GslrmStage::GslrmStage(const GslrmConfig& config, StageOptions o)
    : stream(Stream::create(o.device, "compute")),
      weights(o.device, arena_bound(o), "weights"),
      step(o.device, arena_bound(o), "activations"),
      splats(o.device, arena_bound(o), "rasterizer"),
      spec([&] {
        gslrm::ModelSpec s = gslrm::ModelSpec::from(config.model, config.training.dataset.num_input_views);
        s.recompute_segment = o.recompute_segment;
        return s;
      }()),
      params(weights, o.precision),
      model(Scope{params}, spec),
      config_(config) {
  params.seal(stream);
  freeze(params, config.training.freeze_layers);
  networks.build(stream, weights, config.training.losses);
  if (o.lpips_metric && !networks.lpips) {
    gslrm::LossConfig only_lpips;
    only_lpips.lpips_loss_weight = 1;
    metric_networks.build(stream, weights, only_lpips);
  }
  if (o.device.is_meta())   // counts the packed copies
    for (gslrm::LossNetworks* n : {&networks, &metric_networks}) n->prepare(stream, weights, o.precision.compute);
  renderer.scaling_modifier = spec.scaling_modifier;
  const TrainingConfig& t = config.training;
  optimizer = std::make_unique<Optimizer>(stream, weights, params,
                                          OptimizerConfig{.beta1 = t.optimizer.beta1, .beta2 = t.optimizer.beta2,
                                                          .groups = ParamGroups::matrices_decay(t.optimizer.weight_decay),
                                                          .max_norm = t.runtime.grad_clip_norm,
                                                          .allowed_factor = t.runtime.allowed_gradnorm_factor},
                                          std::make_shared<Sharding>(weights, params, o.shard));
}

void GslrmStage::load_networks(const weights::LossNetworkSources& sources) {
  for (gslrm::LossNetworks* n : {&networks, &metric_networks}) {
    for (ParamStore* store : n->stores()) ::mfl::weights::load_loss_networks(stream, *store, sources);
    n->prepare(stream, weights, params.precision().compute);
  }
}

Ctx GslrmStage::context() { return {.stream = stream, .arena = step, .precision = params.precision()}; }

gslrm::Cameras GslrmStage::cameras_of(const gslrm::Views& v, std::int64_t b) const {
  const Shape s = v.image.shape();
  return {v.c2w.rows(b, 1).reshape({s[1], 4, 4}), v.fxfycxcy.rows(b, 1).reshape({s[1], 4}), static_cast<int>(s[2]),
          static_cast<int>(s[3])};
}

void GslrmStage::micro_batch(const gslrm::Views& views, const gslrm::Views& target, const gslrm::LossConfig& loss,
                             bool accumulate, View terms, const PassHooks& hooks) {
  Ctx cx = context();
  cx.accumulate_grads = accumulate;
  cx.grads_ready = hooks.ready;
  const Shape s = target.image.shape();             // [B, V, H, W, C]
  const std::int64_t B = s[0], V = s[1], H = s[2], W = s[3];

  gslrm::Model::Saved saved;
  GaussianBatch gaussians = model.forward(cx, views, saved).gaussians;

  Tensor image = cx.accum({B * V, H, W, 3}, {"renders"});
  std::vector<gslrm::Renderer::Saved> rendered(static_cast<std::size_t>(B));
  {
    Range range("render");
    for (std::int64_t b = 0; b < B; ++b)
      put_sample(stream, renderer.forward(cx, splats, gaussians.sample(b), cameras_of(target, b), rendered[std::size_t(b)]),
                 image.reshape({B, V, H, W, 3}), b);
  }

  const Tensor targets = target.image.reshape({B * V, H, W, s[4]});
  if (hooks.rendered) hooks.rendered(image, targets);

  GaussianBatch gradient{cx.accum(gaussians.xyz.shape(), {"gaussian gradients"}),
                         cx.accum(gaussians.features.shape(), {"gaussian gradients"}),
                         cx.accum(gaussians.scaling.shape(), {"gaussian gradients"}),
                         cx.accum(gaussians.rotation.shape(), {"gaussian gradients"}),
                         cx.accum(gaussians.opacity.shape(), {"gaussian gradients"})};
  Tensor dimage = cx.accum(image.shape(), {"render gradients"}), dxyz;
  if (loss.pixelalign_loss_weight > 0 || loss.pointsdist_loss_weight > 0) {
    dxyz = cx.accum(gaussians.xyz.shape(), {"gaussian gradients"});
    fill_zero(stream, dxyz);
  }
  {
    Range range("losses");
    const gslrm::LossGradient out{dimage, dxyz};
    compute_losses(cx, loss, networks,
                   {.render = image, .target = targets, .gaussians = &gaussians, .input = views,
                    .num_input_views = spec.num_input_views, .patch_size = spec.patch_size},
                   terms, &out);
  }
  image.reset();
  gaussians = {};
  {
    Range range("render backward");
    for (std::int64_t b = B; b-- > 0;) {
      Gaussians one = renderer.backward(cx, splats, std::move(rendered[std::size_t(b)]),
                                        dimage.rows(b * V, V));
      put_sample(stream, one.xyz, gradient.xyz, b);
      put_sample(stream, one.features, gradient.features, b);
      put_sample(stream, one.scaling, gradient.scaling, b);
      put_sample(stream, one.rotation, gradient.rotation, b);
      put_sample(stream, one.opacity, gradient.opacity, b);
    }
  }
  dimage.reset();
  if (dxyz) add_(stream, {.y = gradient.xyz, .x = dxyz});
  dxyz.reset();
  model.backward(cx, std::move(saved), gradient);
}

GslrmStage::Rendered GslrmStage::render(const gslrm::Views& views, const gslrm::Views& target) {
  Ctx cx = context();
  cx.saving = false;
  gslrm::Model::Saved nothing;
  gslrm::Model::Output out = model.forward(cx, views, nothing);
  const Shape s = target.image.shape();
  Tensor image = cx.accum({s[0], s[1], s[2], s[3], 3}, {"renders"});
  Range range("render");
  for (std::int64_t b = 0; b < s[0]; ++b) {
    gslrm::Renderer::Saved none;
    put_sample(stream, renderer.forward(cx, splats, out.gaussians.sample(b), cameras_of(target, b), none), image, b);
  }
  return {out.gaussians, image, out.tokens};
}

Tensor GslrmStage::render(const gslrm::Gaussians& gaussians, const gslrm::Cameras& cameras) {
  Ctx cx = context();
  cx.saving = false;
  gslrm::Renderer::Saved none;
  return renderer.forward(cx, splats, gaussians, cameras, none);
}

}  // namespace mfl
