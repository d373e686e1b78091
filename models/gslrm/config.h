// What the GS-LRM model and its losses are told: plain data in the published names and nesting (YAML sections `model`
// and `training.losses`). train/config.h reads, checks and writes it. A member without a default must be given by the
// file.
#pragma once

#include <array>
#include <optional>
#include <string>

namespace mfl::gslrm {

struct ModelConfig {
  std::string class_name;  // gslrm.model.gslrm.GSLRM
  struct ImageTokenizer {
    int image_size = 0;   // side of the (square) images, pixels
    int patch_size = 0;   // side of a patch, pixels; divides image_size
    int in_channels = 0;  // 9: RGB and two ray vectors; 12 with use_aug_plucker
    bool operator==(const ImageTokenizer&) const = default;
  } image_tokenizer;
  struct Transformer {
    int d = 0;        // width
    int d_head = 0;   // width of a head; divides d
    int n_layer = 0;  // blocks
    bool operator==(const Transformer&) const = default;
  } transformer;
  struct Gaussians {
    int n_gaussians = 0;  // free learned tokens, one Gaussian each, beside one Gaussian an input pixel
    int sh_degree = 0;    // 0 to 3
    struct Upsampler {
      int upsample_factor = 0;  // 1; the published code implements nothing above
      bool operator==(const Upsampler&) const = default;
    } upsampler;
    std::optional<double> scaling_modifier;  // multiplies exp(log-scale) everywhere
    bool operator==(const Gaussians&) const = default;
  } gaussians;
  bool add_refsrc_marker = false;         // learned embeddings of input and target views
  bool hard_pixelalign = false;           // pixel Gaussians sit on their rays
  bool use_custom_plucker = false;        // channels RGB, d, the ray's point nearest to the origin
  bool use_aug_plucker = false;           // channels RGB, o x d, d, nearest point
  bool clip_xyz = false;                  // crops the PLY and turntable of evaluation; never clamps (as published)
  std::optional<double> half_bbx_size;    // half side of that crop; 0.91 if absent
  double depth_preact_bias = 0;           // added before the depth's sigmoid
  double depth_min = -1, depth_max = -1;  // depth range without custom or augmented Pluecker rays; both > 0 or unused
  bool depth_reference_origin = false;
  bool operator==(const ModelConfig&) const = default;

  int patches_per_view() const {
    const int side = image_tokenizer.image_size / image_tokenizer.patch_size;
    return side * side;
  }
  int sh_coefficients() const { return (gaussians.sh_degree + 1) * (gaussians.sh_degree + 1); }
  int gaussian_channels() const { return 3 + 3 * sh_coefficients() + 3 + 4 + 1; }
};

struct LossConfig {
  double l2_loss_weight = 0, lpips_loss_weight = 0, perceptual_loss_weight = 0, ssim_loss_weight = 0;
  double pixelalign_loss_weight = 0, pointsdist_loss_weight = 0;
  bool masked_pixelalign_loss = false;
  bool warmup_pointsdist = false;  // the first 1000 steps; train/schedule.h
  bool clamp_rendering = true;     // renders are clamped to [0, 1] before all losses; no gradient outside
  bool masked_l2_loss = false, masked_ssim_loss = false;
  double background_loss_weight = 0;
  std::array<double, 3> background_color_target{1, 1, 1};
  double mask_iou_threshold = 0.1;
  bool operator==(const LossConfig&) const = default;
};

}  // namespace mfl::gslrm
