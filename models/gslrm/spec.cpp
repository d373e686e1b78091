#include "models/gslrm/spec.h"

namespace mfl::gslrm {

ModelSpec ModelSpec::from(const ModelConfig& c, int num_input_views) {
  ModelSpec s;
  s.image_size = c.image_tokenizer.image_size;
  s.patch_size = c.image_tokenizer.patch_size;
  s.num_input_views = num_input_views;
  s.d = c.transformer.d;
  s.d_head = c.transformer.d_head;
  s.n_layer = c.transformer.n_layer;
  s.n_gaussians = c.gaussians.n_gaussians;
  s.sh_degree = c.gaussians.sh_degree;
  s.add_refsrc_marker = c.add_refsrc_marker;
  // The published precedence: custom, then augmented, then standard rays.
  s.posed = c.use_custom_plucker ? PosedImage::custom : c.use_aug_plucker ? PosedImage::augmented : PosedImage::standard;
  if (c.image_tokenizer.in_channels != channels_of(s.posed))
    throw_error<ConfigError>("model.image_tokenizer.in_channels is ", c.image_tokenizer.in_channels, "; these rays make ",
                             channels_of(s.posed), " channels (use_custom_plucker ", c.use_custom_plucker,
                             ", use_aug_plucker ", c.use_aug_plucker, ")");
  s.decode.pixel_align = c.hard_pixelalign;
  s.decode.depth = c.use_custom_plucker || c.use_aug_plucker  ? DepthRule::nearest
                   : c.depth_min > 0 && c.depth_max > 0       ? DepthRule::range
                   : c.depth_reference_origin                 ? DepthRule::reference_origin
                                                              : DepthRule::fixed;
  s.decode.depth_min = c.depth_min;
  s.decode.depth_max = c.depth_max;
  s.decode.depth_bias = c.depth_preact_bias;
  s.scaling_modifier = static_cast<float>(c.gaussians.scaling_modifier.value_or(1.0));
  return s;
}

}  // namespace mfl::gslrm
