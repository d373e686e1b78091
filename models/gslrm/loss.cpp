#include "models/gslrm/loss.h"

#include <cmath>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/share.h"
#include "kernels/gaussian/align_loss.h"
#include "kernels/loss/clamp.h"
#include "kernels/loss/mse.h"
#include "kernels/loss/ssim.h"
#include "runtime/profile.h"

namespace mfl::gslrm {
namespace {

View term(View terms, int which) { return slice(terms, 0, which, 1); }

// f32 partial sums, on CUDA only; the dry run counts them.
Tensor scratch(Ctx& cx, std::int64_t elements) {
  return cx.device().is_cpu() ? Tensor{} : cx.arena.empty({elements}, DType::f32, {"loss partial sums"});
}

void mse(Ctx& cx, const LossInput& in, const Tensor& render, PixelSet pixels, double weight, View loss, View drender,
         const std::array<double, 3>* colour = nullptr) {
  const Shape s = render.shape();
  Tensor count = cx.accum({1}, {"loss statistics"}), partial = scratch(cx, mse_scratch(s[0] * s[1] * s[2]));
  mse_fwd(cx.stream, {.render = render, .target = in.target, .pixels = pixels, .colour = colour, .loss = loss,
                      .count = count, .scratch = partial});
  if (drender)
    mse_bwd(cx.stream, {.render = render, .target = in.target, .pixels = pixels, .colour = colour, .count = count,
                        .weight = weight, .drender = drender});
}

void ssim(Ctx& cx, const LossInput& in, const Tensor& render, const LossConfig& c, View loss, View drender) {
  const Shape s = render.shape();
  Tensor mean = cx.accum({1}, {"loss statistics"}), partial = scratch(cx, ssim_scratch(s[0], s[1], s[2])), maps;
  if (drender) maps = cx.accum({3, s[0], s[1] - kSsimTaps + 1, s[2] - kSsimTaps + 1, 3}, {"SSIM maps"});
  // The fork clamps the mean to [0, 1], together with its clamp of the renders.
  ssim_fwd(cx.stream, {.render = render, .target = in.target, .masked = c.masked_ssim_loss, .clamp = c.clamp_rendering,
                       .loss = loss, .ssim = mean, .maps = maps, .scratch = partial});
  if (drender)
    ssim_bwd(cx.stream, {.render = render, .target = in.target, .masked = c.masked_ssim_loss, .clamp = c.clamp_rendering,
                         .ssim = mean, .maps = maps, .weight = c.ssim_loss_weight, .drender = drender});
}

// Where pixel Gaussians lie on their rays.
void align(Ctx& cx, const LossInput& in, const LossConfig& c, View terms, const LossGradient* gradient) {
  const Shape xyz = in.gaussians->xyz.shape(), image = in.input.image.shape();   // [B, V, H, W, C]
  const std::int64_t B = xyz[0], V = in.num_input_views, pixels = V * image[2] * image[3], n_g = xyz[1] - pixels;
  auto part = [&](auto view) { return slice(view, 1, n_g, pixels); };
  auto inputs = [&](const Tensor& t) { return slice(ConstView(t), 1, 0, V); };
  const PixelGrid grid{inputs(in.input.c2w), inputs(in.input.fxfycxcy), int(image[2]), int(image[3]), in.patch_size};
  const ConstView x = part(ConstView(in.gaussians->xyz));
  Tensor scratch = cx.device().is_cpu() ? Tensor{} : cx.arena.empty({align_scratch(B * V)}, DType::f64, {"loss partial sums"});
  if (c.pixelalign_loss_weight > 0) {
    Range range("pixel-align loss");
    // The published code multiplies by the target views' alpha, which fits only where inputs are the targets: the inputs'
    // own alpha is meant.
    ConstView mask;
    if (c.masked_pixelalign_loss) {
      MFL_CHECK(image[4] == 4, "masked_pixelalign_loss needs images with alpha; training.dataset.remove_alpha drops it");
      mask = inputs(in.input.image);
    }
    pixel_align_fwd(cx.stream, {.xyz = x, .grid = grid, .target = mask, .loss = term(terms, kPixelAlign), .scratch = scratch});
    if (gradient)
      pixel_align_bwd(cx.stream, {.xyz = x, .grid = grid, .target = mask, .weight = c.pixelalign_loss_weight,
                                  .dxyz = part(View(gradient->xyz))});
  }
  if (c.pointsdist_loss_weight > 0) {
    Range range("points-dist loss");
    Tensor stats = cx.accum({B, V, 2}, {"loss statistics"});
    points_dist_fwd(cx.stream, {.xyz = x, .grid = grid, .loss = term(terms, kPointsDist), .stats = stats, .scratch = scratch});
    if (gradient)
      points_dist_bwd(cx.stream, {.xyz = x, .grid = grid, .stats = stats, .weight = c.pointsdist_loss_weight,
                                  .dxyz = part(View(gradient->xyz))});
  }
}

}  // namespace

std::array<double, kTerms> weights_of(const LossConfig& c) {
  std::array<double, kTerms> w{};
  w[kL2] = c.l2_loss_weight, w[kLpips] = c.lpips_loss_weight, w[kPerceptual] = c.perceptual_loss_weight;
  w[kSsim] = c.ssim_loss_weight, w[kPixelAlign] = c.pixelalign_loss_weight, w[kPointsDist] = c.pointsdist_loss_weight;
  w[kBackground] = c.background_loss_weight;
  return w;
}

double total(const LossConfig& c, const std::array<double, kTerms>& terms) {
  const auto w = weights_of(c);
  double sum = 0;
  for (std::size_t i = 0; i < kTerms; ++i)
    if (w[i] > 0) sum += w[i] * terms[i];
  return sum;
}

void LossNetworks::build(const Stream& s, Arena& arena, const LossConfig& c) {
  const Precision f32 = Precision::of(DType::f32);
  if (c.lpips_loss_weight > 0) {
    lpips_params = std::make_unique<ParamStore>(arena, f32, /*gradients=*/false);
    lpips = std::make_unique<perceptual::LpipsLoss>(Scope{*lpips_params, std::string(perceptual::LpipsLoss::kScope)});
    lpips_params->seal(s);
  }
  if (c.perceptual_loss_weight > 0) {
    perceptual_params = std::make_unique<ParamStore>(arena, f32, /*gradients=*/false);
    perceptual =
        std::make_unique<perceptual::PerceptualLoss>(Scope{*perceptual_params, std::string(perceptual::PerceptualLoss::kScope)});
    perceptual_params->seal(s);
  }
}

void LossNetworks::prepare(const Stream& s, Arena& arena, DType compute) {
  if (lpips) lpips->prepare(s, arena, compute);
  if (perceptual) perceptual->prepare(s, arena, compute);
}

std::vector<ParamStore*> LossNetworks::stores() const {
  std::vector<ParamStore*> out;
  if (lpips_params) out.push_back(lpips_params.get());
  if (perceptual_params) out.push_back(perceptual_params.get());
  return out;
}

void compute_losses(Ctx& cx, const LossConfig& c, const LossNetworks& networks, const LossInput& in, View terms,
                    const LossGradient* gradient) {
  fill_zero(cx.stream, terms);
  Tensor render = in.render;
  if (c.clamp_rendering) {
    render = cx.accum(in.render.shape(), {"clamped renders"});
    clamp_fwd(cx.stream, {.x = in.render, .y = render});
  }
  View drender;
  if (gradient) {
    drender = gradient->render;
    fill_zero(cx.stream, drender);
  }

  if (c.l2_loss_weight > 0) {
    Range range("l2 loss");
    mse(cx, in, render, c.masked_l2_loss ? PixelSet::foreground : PixelSet::all, c.l2_loss_weight, term(terms, kL2), drender);
  }
  if (c.background_loss_weight > 0) {
    Range range("background loss");
    mse(cx, in, render, PixelSet::background, c.background_loss_weight, term(terms, kBackground), drender,
        &c.background_color_target);
  }
  if (c.ssim_loss_weight > 0) {
    Range range("ssim loss");
    ssim(cx, in, render, c, term(terms, kSsim), drender);
  }
  if (c.lpips_loss_weight > 0) {
    Range range("lpips loss");
    networks.lpips->run(cx, render, in.target, c.lpips_loss_weight, term(terms, kLpips), drender);
  }
  if (c.perceptual_loss_weight > 0) {
    Range range("perceptual loss");
    networks.perceptual->run(cx, render, in.target, c.perceptual_loss_weight, term(terms, kPerceptual), drender);
  }
  if (c.pixelalign_loss_weight > 0 || c.pointsdist_loss_weight > 0) align(cx, in, c, terms, gradient);
  // The share of Gaussians with an opacity above 0.05; the logit is compared.
  share_above(cx.stream, {.x = in.gaussians->opacity, .threshold = std::log(0.05 / 0.95), .share = term(terms, kUsage)});
  if (gradient && c.clamp_rendering) clamp_bwd(cx.stream, {.x = in.render, .dy = drender, .dx = drender});
}

}  // namespace mfl::gslrm
