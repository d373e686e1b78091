// Sizes of the multi-view UNet: what its config.json says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/mvdiffusion/json_config.h"

namespace mfl::mvdiffusion {

// Which tokens a view's queries see in `attn1`. `sparse` is what the published weights were trained with.
enum class ViewMode : std::uint8_t {
  sparse,    // the first view's and its own
  dense,     // all views'
  per_view,  // its own
};

struct UnetSpec {
  std::int64_t in_channels = 8, out_channels = 4;
  std::vector<std::int64_t> widths{320, 640, 1280, 1280};  // channels of a level, outermost first
  std::vector<std::int64_t> heads{5, 10, 20, 20};          // `attention_head_dim` in the file
  std::vector<bool> attends{true, true, true, false};      // levels with transformers; the middle always has one
  std::int64_t layers = 2;                                 // residual blocks of a down level; an up level has one more
  std::int64_t text_width = 1024, class_width = 2048;
  int groups = 32;
  double eps = 1e-5;                                       // of the group norms but the transformers', which have 1e-6
  std::int64_t views = 6;
  ViewMode mode = ViewMode::sparse;
  bool recompute = false;                                  // ours: rebuild each block of the down and up levels in backward

  std::int64_t time_width() const { return 4 * widths[0]; }

  // Throws DataError for a network that this is not: "unet/config.json: act_fn is "gelu", expected "silu"." Keys that are
  // not read are ignored.
  static UnetSpec from(const JsonConfig&);
  static UnetSpec read(const std::filesystem::path& config_json) { return from(JsonConfig::read(config_json)); }
  // The config.json that diffusers and FaceLift's loader read, for a latent side of `sample_size`.
  std::string json(std::int64_t sample_size) const;
  // Throws ConfigError for sizes that do not fit together.
  void check() const;
};

}  // namespace mfl::mvdiffusion
