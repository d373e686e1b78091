// What vae/config.json and image_encoder/config.json may say; apart from the networks, so that it is read without them.
#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/vae.h"

#include <utility>

#include "runtime/error.h"

namespace mfl::mvdiffusion {

VaeConfig VaeConfig::read(const JsonConfig& json) {
  json.require("act_fn", "silu", "silu");
  json.require_flag("use_quant_conv", true, true);
  json.require_flag("use_post_quant_conv", true, true);
  json.require_flag("mid_block_add_attention", true, true);
  for (const char* key : {"shift_factor", "latents_mean", "latents_std"})
    if (json.has(key)) throw_error<DataError>(json.name(), ": \"", key, "\" is given, expected null; nothing else is implemented.");
  VaeConfig c;
  c.channels = json.integers("block_out_channels");
  c.layers = json.integer_in("layers_per_block", 1, 64);
  c.latent = json.integer_in("latent_channels", 1, 64);
  c.groups = json.has("norm_num_groups") ? json.integer_in("norm_num_groups", 1, 4096) : 32;
  c.scaling = json.number("scaling_factor", 0.18215);
  if (c.channels.empty() || c.channels.size() > 8)
    throw_error<DataError>(json.name(), ": \"block_out_channels\" has ", c.channels.size(), " levels, expected 1 to 8.");
  for (std::int64_t n : c.channels)
    if (n < 1 || n > 65536 || n % c.groups != 0)
      throw_error<DataError>(json.name(), ": a level of ", n, " channels, expected a multiple of ", c.groups, " groups.");
  if (!(c.scaling > 0)) throw_error<DataError>(json.name(), ": \"scaling_factor\" is ", c.scaling, ", expected a positive number.");
  for (const char* key : {"in_channels", "out_channels"})
    if (json.integer(key, 3) != 3) throw_error<DataError>(json.name(), ": \"", key, "\" is ", json.integer(key), ", expected 3.");
  for (const auto& [key, kind] : {std::pair{"down_block_types", "DownEncoderBlock2D"}, std::pair{"up_block_types", "UpDecoderBlock2D"}})
    for (const std::string& found : json.strings(key))
      if (found != kind)
        throw_error<DataError>(json.name(), ": \"", key, "\" names \"", found, "\", expected only \"", kind, "\".");
  return c;
}

ClipConfig ClipConfig::read(const JsonConfig& json) {
  json.require("hidden_act", "quick_gelu", "gelu");
  ClipConfig c;
  c.hidden = json.integer_in("hidden_size", 1, 16384);
  c.intermediate = json.integer_in("intermediate_size", 1, 65536);
  c.layers = json.integer_in("num_hidden_layers", 1, 1024);
  c.heads = json.integer_in("num_attention_heads", 1, 1024);
  c.image = json.integer_in("image_size", 1, 4096);
  c.patch = json.integer_in("patch_size", 1, 4096);
  c.projection = json.integer("projection_dim", 512);
  c.eps = static_cast<float>(json.number("layer_norm_eps", 1e-5));
  if (json.integer("num_channels", 3) != 3)
    throw_error<DataError>(json.name(), ": \"num_channels\" is ", json.integer("num_channels"), ", expected 3.");
  if (c.hidden % c.heads != 0 || c.hidden / c.heads > 128)
    throw_error<DataError>(json.name(), ": ", c.heads, " heads of ", c.hidden, " channels, expected heads of equal size, at most 128.");
  if (c.image % c.patch != 0)
    throw_error<DataError>(json.name(), ": images of ", c.image, " pixels in patches of ", c.patch, ", expected a multiple.");
  if (c.projection < 2 || c.projection % 2 != 0)
    throw_error<DataError>(json.name(), ": \"projection_dim\" is ", c.projection, ", expected an even number.");
  return c;
}

}  // namespace mfl::mvdiffusion
