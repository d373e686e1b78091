// What a GS-LRM is built from: the configuration's `model` section and the number of input views, in the form that the
// modules use, with the sizes that follow.
#pragma once

#include <cstdint>

#include "kernels/embed/rays.h"
#include "kernels/gaussian/decode.h"
#include "models/gslrm/config.h"

namespace mfl::gslrm {

struct ModelSpec {
  int image_size = 512;            // side of the square views
  int patch_size = 8;
  int num_input_views = 6;         // the first views of a sample
  std::int64_t d = 1024, d_head = 64;
  int n_layer = 24;
  int n_gaussians = 2;             // free Gaussians beside the one an input pixel
  int sh_degree = 0;
  bool add_refsrc_marker = false;  // a learned vector on the tokens of view 0, another on all others
  PosedImage posed = PosedImage::custom;    // rgb with which ray features enter the tokenizer
  DecodeConfig decode{};           // alignment and depth rule; its SH degree and patch follow from the above
  float scaling_modifier = 1;      // multiplies exp(scaling) at render

  // How many consecutive blocks share one kept input when activations are recomputed; 0: everything is kept.
  int recompute_segment = 0;

  static ModelSpec from(const ModelConfig&, int num_input_views);

  std::int64_t grid() const { return image_size / patch_size; }
  std::int64_t patches() const { return grid() * grid(); }                                       // a view
  std::int64_t tokens() const { return n_gaussians + num_input_views * patches(); }              // a sample
  std::int64_t gaussians() const {                                                               // a sample
    return n_gaussians + std::int64_t{num_input_views} * image_size * image_size;
  }
  std::int64_t harmonics() const { return std::int64_t{sh_degree + 1} * (sh_degree + 1); }
  std::int64_t gaussian_channels() const { return 3 + 3 * harmonics() + 3 + 4 + 1; }
};

}  // namespace mfl::gslrm
