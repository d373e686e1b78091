#include "models/mvdiffusion/tiny_pipeline.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "models/mvdiffusion/initialise.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/prompts.h"
#include "models/mvdiffusion/unet.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/torch_file.h"
#include "runtime/rng.h"

namespace mfl::mvdiffusion {

namespace fs = std::filesystem;
using nlohmann::json;

UnetSpec TinyPipeline::unet() const {
  const auto levels = widths.size();
  const std::int64_t step = levels > 0 && levels < 16 ? std::int64_t{1} << (levels - 1) : 0;
  if (step == 0 || image < step || image % step != 0)
    throw_error<ConfigError>("Images of ", image, " pixels do not halve ", levels, " - 1 times. Give a multiple of ", step, ".");
  UnetSpec s;
  s.widths = widths;
  s.heads.clear(), s.attends.clear();
  for (std::size_t i = 0; i < levels; ++i) {
    if (widths[i] < 32 || widths[i] % 32 != 0)
      throw_error<ConfigError>("Level ", i, " is ", widths[i], " channels wide, expected a multiple of 32.");
    s.heads.push_back(widths[i] / 32);
    s.attends.push_back(i > 0 || levels == 1);
  }
  s.layers = layers;
  s.text_width = 32;
  s.class_width = 2 * clip().projection;
  s.groups = 8;
  s.check();
  return s;
}

ClipConfig TinyPipeline::clip() const {
  return {.hidden = 64, .intermediate = 128, .layers = 2, .heads = 2, .image = 32, .patch = 8, .projection = 64, .eps = 1e-5f};
}

fs::path tiny_prompts(const fs::path& folder) { return folder / "prompt_embeds" / "clr_embeds.pt"; }

VaeConfig identity_vae() { return {.channels = {8}, .layers = 1, .latent = 4, .groups = 1, .scaling = 0.18215}; }

void set_identity_vae(const Stream& s, ParamStore& store) {
  constexpr double kConstant = 256;
  // Of channels {r, -r, g, -g, b, -b, A, -A} the mean is 0 and the deviation A / 2 but for the colours' small share.
  const double deviation = kConstant / 2, scale = identity_vae().scaling;
  auto set = [&](const std::string& name, const std::function<double(std::int64_t out, std::int64_t in)>& centre) {
    const Param* p = store.find(name);
    MFL_CHECK(p, "set_identity_vae: no parameter ", name);
    const Shape& shape = p->shape;
    const std::int64_t in = shape.rank() > 1 ? shape[1] : 1, taps = p->numel() / (shape[0] * in);
    const Tensor host = Tensor::on_heap(shape, DType::f32);
    std::fill_n(host.data<float>(), host.numel(), 0.0f);
    for (std::int64_t o = 0; o < shape[0]; ++o)
      for (std::int64_t i = 0; i < in; ++i)
        host.data<float>()[(o * in + i) * taps + taps / 2] = static_cast<float>(centre(o, i));
    weights::load_parameter(s, *p, io::stored(host), name);
  };
  for (const Param& p : store.all()) {
    const bool norm = p.shape.rank() == 1 && p.name.ends_with("weight");
    set(p.name, [&](std::int64_t, std::int64_t) { return norm ? 1.0 : 0.0; });
  }
  const auto identity = [](std::int64_t o, std::int64_t i) { return o == i ? 1.0 : 0.0; };
  // Colour `c` into channels 2 c and 2 c + 1, and back.
  const auto spread = [](double gain) {
    return [=](std::int64_t o, std::int64_t i) { return o / 2 == i && i < 3 ? (o % 2 ? -gain : gain) : 0.0; };
  };
  const auto gather = [](double gain) {
    return [=](std::int64_t o, std::int64_t i) {
      const double signed_gain = i % 2 ? -gain : gain;
      if (o == 3) return i < 6 ? signed_gain / 3 : 0.0;   // the mean
      return o == i / 2 ? signed_gain : 0.0;
    };
  };
  for (const char* half : {"encoder", "decoder"}) {
    const std::string h = half;
    set(h + ".conv_in.bias", [](std::int64_t o, std::int64_t) { return o == 6 ? kConstant : o == 7 ? -kConstant : 0.0; });
    set(h + ".conv_norm_out.weight", [&](std::int64_t, std::int64_t) { return deviation; });
  }
  set("encoder.conv_in.weight", spread(1));
  set("encoder.conv_out.weight", gather(1 / scale));
  set("encoder.conv_out.bias", [](std::int64_t o, std::int64_t) { return o >= 4 ? -30.0 : 0.0; });
  set("quant_conv.weight", identity);
  set("post_quant_conv.weight", identity);
  set("decoder.conv_in.weight", spread(scale));
  set("decoder.conv_out.weight", gather(1));
  weights::refresh_compute(s, store);
  s.synchronize();
}

namespace {

// The values of a network as it is published.
struct Component {
  Stream stream = Stream::create(kCpu, "tiny pipeline");
  Arena arena{kCpu, std::size_t{8} << 30, "tiny pipeline"};
  ParamStore store{arena, Precision::of(DType::f32), false};
  std::vector<io::NamedStored> tensors() const {
    std::vector<io::NamedStored> all;
    for (const Param& p : store.all()) all.push_back(weights::published(p, p.value));
    return all;
  }
};

constexpr const char* kVersion = "0.30.3";

json vae_config(const VaeConfig& c, std::int64_t image) {
  const std::vector<std::string> down(c.channels.size(), "DownEncoderBlock2D"), up(c.channels.size(), "UpDecoderBlock2D");
  return {{"_class_name", "AutoencoderKL"}, {"_diffusers_version", kVersion}, {"act_fn", "silu"}, {"block_out_channels", c.channels},
          {"down_block_types", down}, {"force_upcast", true}, {"in_channels", 3}, {"latent_channels", c.latent},
          {"latents_mean", nullptr}, {"latents_std", nullptr}, {"layers_per_block", c.layers}, {"mid_block_add_attention", true},
          {"norm_num_groups", c.groups}, {"out_channels", 3}, {"sample_size", image}, {"scaling_factor", c.scaling},
          {"shift_factor", nullptr}, {"up_block_types", up}, {"use_post_quant_conv", true}, {"use_quant_conv", true}};
}

json clip_config(const ClipConfig& c) {
  return {{"architectures", json::array({"CLIPVisionModelWithProjection"})}, {"attention_dropout", 0.0}, {"hidden_act", "gelu"},
          {"hidden_size", c.hidden}, {"image_size", c.image}, {"initializer_factor", 1.0}, {"initializer_range", 0.02},
          {"intermediate_size", c.intermediate}, {"layer_norm_eps", 1e-5}, {"model_type", "clip_vision_model"},
          {"num_attention_heads", c.heads}, {"num_channels", 3}, {"num_hidden_layers", c.layers}, {"patch_size", c.patch},
          {"projection_dim", c.projection}, {"torch_dtype", "float32"}, {"transformers_version", "4.44.2"}};
}

json preprocessor_config(const ClipConfig& c) {
  return {{"crop_size", {{"height", c.image}, {"width", c.image}}}, {"do_center_crop", true}, {"do_convert_rgb", true},
          {"do_normalize", true}, {"do_rescale", true}, {"do_resize", true}, {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
          {"image_processor_type", "CLIPImageProcessor"}, {"image_std", {0.26862954, 0.26130258, 0.27577711}}, {"resample", 3},
          {"rescale_factor", 1.0 / 255}, {"size", json::object({{"shortest_edge", c.image}})}};
}

json scheduler_config() {
  return {{"_class_name", "DDIMScheduler"}, {"_diffusers_version", kVersion}, {"beta_end", 0.012}, {"beta_schedule", "scaled_linear"},
          {"beta_start", 0.00085}, {"clip_sample", false}, {"num_train_timesteps", 1000}, {"prediction_type", "v_prediction"},
          {"set_alpha_to_one", false}, {"steps_offset", 1}, {"timestep_spacing", "leading"}, {"trained_betas", nullptr}};
}

json noising_config() {
  return {{"_class_name", "DDPMScheduler"}, {"_diffusers_version", kVersion}, {"beta_schedule", "squaredcos_cap_v2"},
          {"num_train_timesteps", 1000}, {"prediction_type", "epsilon"}, {"trained_betas", nullptr}};
}

json model_index() {
  return {{"_class_name", "StableUnCLIPImg2ImgPipeline"}, {"_diffusers_version", kVersion},
          {"feature_extractor", {"transformers", "CLIPImageProcessor"}},
          {"image_encoder", {"transformers", "CLIPVisionModelWithProjection"}},
          {"image_noising_scheduler", {"diffusers", "DDPMScheduler"}},
          {"image_normalizer", {"stable_diffusion", "StableUnCLIPImageNormalizer"}}, {"scheduler", {"diffusers", "DDIMScheduler"}},
          {"text_encoder", {nullptr, nullptr}}, {"tokenizer", {nullptr, nullptr}},
          {"unet", {"mvdiffusion.models.unet_mv2d_condition", "UNetMV2DConditionModel"}}, {"vae", {"diffusers", "AutoencoderKL"}}};
}

void write_json(const fs::path& path, const json& value) {
  fs::create_directories(path.parent_path());
  io::write_text_file(path, value.dump(2) + "\n");
}

// A normal draw a slot, the same in all of its tokens: attention that is still nearly even does not average it away.
Tensor prompt_embeddings(std::int64_t width, std::uint64_t seed) {
  const auto slots = static_cast<std::int64_t>(kPromptSlots.size());
  Tensor t = Tensor::on_heap({slots, kPromptTokens, width}, DType::f32);
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const Rng rng(seed, Draw::init, 2, static_cast<std::uint32_t>(slot));
    for (std::int64_t i = 0; i < kPromptTokens * width; ++i)
      t.data<float>()[slot * kPromptTokens * width + i] = static_cast<float>(rng.normal_at(static_cast<std::uint64_t>(i % width)));
  }
  return t;
}

struct Sizes {
  UnetSpec unet;
  ClipConfig clip;
  VaeConfig vae;
  std::int64_t latents = 0;   // side
  std::uint64_t seed = 0;
};

void write_pipeline(const fs::path& folder, const Sizes& sizes, const std::function<void(const Stream&, ParamStore&)>& fill_vae) {
  std::error_code none;
  if (fs::exists(folder, none) && !(fs::is_directory(folder, none) && fs::is_empty(folder, none)))
    throw_error<DataError>(folder.string(), " exists and is not empty. Name a new folder.");
  const ClipConfig& clip = sizes.clip;
  constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";
  {
    Component c;
    const Unet net(Scope{c.store}, sizes.unet);
    c.store.seal(c.stream);
    initialise_unet(c.stream, c.store, sizes.seed);
    write_component(folder / "unet", kWeights, sizes.unet.json(sizes.latents), c.tensors());
  }
  {
    Component c;
    const Vae net(Scope{c.store}, sizes.vae);
    c.store.seal(c.stream);
    fill_vae(c.stream, c.store);
    write_component(folder / "vae", kWeights, vae_config(sizes.vae, sizes.latents * sizes.vae.factor()).dump(), c.tensors());
  }
  {
    Component c;
    const ClipVision net(Scope{c.store}, clip);
    c.store.seal(c.stream);
    initialise_clip(c.stream, c.store, clip, sizes.seed);
    write_component(folder / "image_encoder", "model.safetensors", clip_config(clip).dump(), c.tensors());
  }
  Tensor mean = Tensor::on_heap({1, clip.projection}, DType::f32), deviation = Tensor::on_heap({1, clip.projection}, DType::f32);
  std::fill_n(mean.data<float>(), clip.projection, 0.0f);
  std::fill_n(deviation.data<float>(), clip.projection, 1.0f);
  write_component(folder / "image_normalizer", kWeights,
                  json{{"_class_name", "StableUnCLIPImageNormalizer"}, {"_diffusers_version", kVersion}, {"embedding_dim", clip.projection}}.dump(),
                  {{"mean", io::stored(mean)}, {"std", io::stored(deviation)}});
  write_json(folder / "scheduler" / "scheduler_config.json", scheduler_config());
  write_json(folder / "image_noising_scheduler" / "scheduler_config.json", noising_config());
  write_json(folder / "feature_extractor" / "preprocessor_config.json", preprocessor_config(clip));
  fs::create_directories(tiny_prompts(folder).parent_path());
  io::write_torch_file(tiny_prompts(folder), io::Value(io::stored(prompt_embeddings(sizes.unet.text_width, sizes.seed))));
  write_json(folder / "model_index.json", model_index());   // last: a folder with it is whole
}

}  // namespace

void write_tiny_pipeline(const fs::path& folder, const TinyPipeline& tiny) {
  write_pipeline(folder, {tiny.unet(), tiny.clip(), identity_vae(), tiny.image, tiny.seed}, set_identity_vae);
}

void write_full_size_pipeline(const fs::path& folder, std::uint64_t seed) {
  write_pipeline(folder, {.unet = {}, .clip = {}, .vae = {}, .latents = 64, .seed = seed},
                 [&](const Stream& s, ParamStore& store) { initialise_vae(s, store, seed); });
}

}  // namespace mfl::mvdiffusion
