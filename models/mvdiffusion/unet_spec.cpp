#include "models/mvdiffusion/unet_spec.h"

#include <nlohmann/json.hpp>

#include "runtime/error.h"

namespace mfl::mvdiffusion {
namespace {

constexpr const char *kDown = "DownBlock2D", *kUp = "UpBlock2D", *kMiddle = "UNetMidBlockMV2DCrossAttn";
constexpr const char *kDownAttends = "CrossAttnDownBlockMV2D", *kUpAttends = "CrossAttnUpBlockMV2D";

// Stable Diffusion's names of the same blocks, from whose weights a multi-view network starts.
constexpr const char *kSingleViewMiddle = "UNetMidBlock2DCrossAttn", *kSingleViewDown = "CrossAttnDownBlock2D",
                     *kSingleViewUp = "CrossAttnUpBlock2D";

// Of a list of block types, which have attention.
std::vector<bool> attention_of(const JsonConfig& c, const char* key, const char* with, const char* single, const char* without) {
  std::vector<bool> out;
  for (const std::string& type : c.strings(key)) {
    if (type != with && type != single && type != without)
      throw_error<DataError>(c.name(), ": ", key, " has \"", type, "\", expected \"", with, "\" or \"", without, "\".");
    out.push_back(type != without);
  }
  return out;
}

}  // namespace

UnetSpec UnetSpec::from(const JsonConfig& c) {
  UnetSpec s;
  s.in_channels = c.integer("in_channels", 8);
  s.out_channels = c.integer("out_channels", 4);
  s.widths = c.integers("block_out_channels");
  s.attends = attention_of(c, "down_block_types", kDownAttends, kSingleViewDown, kDown);
  const std::vector<bool> up = attention_of(c, "up_block_types", kUpAttends, kSingleViewUp, kUp);
  if (std::vector<bool>(up.rbegin(), up.rend()) != s.attends)
    throw_error<DataError>(c.name(), ": up_block_types are not down_block_types in reverse order.");
  if (c.string("mid_block_type", kSingleViewMiddle) != kSingleViewMiddle) c.require("mid_block_type", kMiddle, kMiddle);
  s.heads = c.integers("attention_head_dim");
  if (s.heads.size() == 1) s.heads.resize(s.widths.size(), s.heads[0]);
  s.layers = c.integer("layers_per_block", 2);
  s.text_width = c.integer("cross_attention_dim", 1024);
  s.class_width = c.integer("projection_class_embeddings_input_dim", 2048);
  s.groups = int(c.integer("norm_num_groups", 32));
  s.eps = c.number("norm_eps", 1e-5);
  s.views = c.integer("num_views", 6);
  const bool multiview = c.boolean("multiview_attention", true), sparse = c.boolean("sparse_mv_attention", true);
  s.mode = !multiview ? ViewMode::per_view : sparse ? ViewMode::sparse : ViewMode::dense;
  c.require("act_fn", "silu", "silu");
  c.require("class_embed_type", "projection", "projection");
  c.require("time_embedding_type", "positional", "positional");
  c.require("resnet_time_scale_shift", "default", "default");
  c.require("selfattn_block", "custom", "custom");
  c.require_flag("use_linear_projection", true, true);
  c.require_flag("flip_sin_to_cos", true, true);
  c.require_flag("center_input_sample", false, false);
  c.require_flag("only_cross_attention", false, false);
  c.require_flag("dual_cross_attention", false, false);
  c.require_flag("class_embeddings_concat", false, false);
  c.require_flag("cd_attention_last", false, false);
  c.require_flag("cd_attention_mid", false, false);
  c.require_flag("addition_downsample", false, false);
  for (const auto& [key, expected] : {std::pair{"freq_shift", 0}, {"downsample_padding", 1}, {"conv_in_kernel", 3},
                                      {"conv_out_kernel", 3}, {"transformer_layers_per_block", 1}})
    if (c.integer(key, expected) != expected)
      throw_error<DataError>(c.name(), ": ", key, " is ", c.integer(key), ", expected ", expected, ".");
  for (const char* key : {"addition_embed_type", "encoder_hid_dim", "num_class_embeds", "time_cond_proj_dim", "timestep_post_act",
                          "time_embedding_act_fn", "cross_attention_norm", "num_attention_heads"})
    if (c.has(key)) throw_error<DataError>(c.name(), ": ", key, " is given; the network has no such part. Remove the key or set it to null.");
  try {
    s.check();
  } catch (const ConfigError& e) {
    throw_error<DataError>(c.name(), ": ", e.what());
  }
  return s;
}

void UnetSpec::check() const {
  auto require = [](bool holds, const auto&... words) {
    if (!holds) throw_error<ConfigError>(words...);
  };
  require(!widths.empty() && widths.size() == heads.size() && widths.size() == attends.size(), "The UNet has ", widths.size(),
          " widths, ", heads.size(), " numbers of heads and ", attends.size(), " block types; expected one of each a level.");
  require(in_channels >= 1 && out_channels >= 1 && layers >= 1 && text_width >= 1 && class_width >= 1 && groups >= 1 && views >= 1,
          "The UNet's channels, layers, widths, groups and views must be positive.");
  require(widths[0] % 2 == 0, "The UNet's first width is ", widths[0], "; the time embedding needs an even number.");
  for (std::size_t i = 0; i < widths.size(); ++i) {
    require(widths[i] >= 1 && widths[i] % groups == 0, "Level ", i, " of the UNet has ", widths[i], " channels, which ", groups,
            " groups do not divide.");
    require(heads[i] >= 1 && widths[i] % heads[i] == 0, "Level ", i, " of the UNet has ", widths[i], " channels, which ", heads[i],
            " heads do not divide.");
    const std::int64_t size = widths[i] / heads[i];
    require(size == 32 || size == 64 || size == 128, "Level ", i, " of the UNet has heads of ", size, " channels; attention has 32, 64 and 128.");
  }
}

std::string UnetSpec::json(std::int64_t sample_size) const {
  std::vector<std::string> down, up;
  for (bool a : attends) down.push_back(a ? kDownAttends : kDown), up.insert(up.begin(), a ? kUpAttends : kUp);
  const nlohmann::json config = {
      {"_class_name", "UNetMV2DConditionModel"},
      {"_diffusers_version", "0.30.3"},
      {"act_fn", "silu"},
      {"attention_head_dim", heads},
      {"block_out_channels", widths},
      {"center_input_sample", false},
      {"class_embed_type", "projection"},
      {"conv_in_kernel", 3},
      {"conv_out_kernel", 3},
      {"cross_attention_dim", text_width},
      {"down_block_types", down},
      {"downsample_padding", 1},
      {"dual_cross_attention", false},
      {"flip_sin_to_cos", true},
      {"freq_shift", 0},
      {"in_channels", in_channels},
      {"layers_per_block", layers},
      {"mid_block_scale_factor", 1},
      {"mid_block_type", kMiddle},
      {"norm_eps", eps},
      {"norm_num_groups", groups},
      {"only_cross_attention", false},
      {"out_channels", out_channels},
      {"projection_class_embeddings_input_dim", class_width},
      {"resnet_time_scale_shift", "default"},
      {"sample_size", sample_size},
      {"time_embedding_type", "positional"},
      {"transformer_layers_per_block", 1},
      {"up_block_types", up},
      {"upcast_attention", false},
      {"use_linear_projection", true},
      {"num_views", views},
      {"cd_attention_last", false},
      {"cd_attention_mid", false},
      {"multiview_attention", mode != ViewMode::per_view},
      {"sparse_mv_attention", mode == ViewMode::sparse},
      {"selfattn_block", "custom"},
      {"addition_downsample", false},
      {"addition_channels", {1280, 1280, 1280}},
  };
  return config.dump(2) + "\n";
}

}  // namespace mfl::mvdiffusion
