#include "models/mvdiffusion/pipeline.h"

#include "runtime/profile.h"

namespace mfl::mvdiffusion {

Encoders::Encoders(const PipelineFiles& files, const Stream& s, Arena& weights, DType compute)
    : files_(files), precision_(Precision::of(compute)), weights_(weights), vae_store_(weights, precision_, false),
      clip_store_(weights, precision_, false),
      vae_(Scope{vae_store_}, VaeConfig::read(JsonConfig::read(files_->component("vae") / "config.json"))),
      clip_(Scope{clip_store_}, ClipConfig::read(JsonConfig::read(files_->component("image_encoder") / "config.json"))),
      scheduler_(files_->scheduler()), embedding_noise_(files_->embedding_noise()) {
  vae_store_.seal(s);
  clip_store_.seal(s);
  normalizer_ = s.device().is_meta()
                    ? Normalizer::identity(s, weights, precision_.accum, embedding_width())
                    : Normalizer::load(s, weights, precision_.accum, files_->component("image_normalizer"), embedding_width());
}

Encoders::Encoders(const Stream& s, Arena& weights, DType compute)
    : precision_(Precision::of(compute)), weights_(weights), vae_store_(weights, precision_, false),
      clip_store_(weights, precision_, false), vae_(Scope{vae_store_}, VaeConfig{}), clip_(Scope{clip_store_}, ClipConfig{}) {
  MFL_CHECK(s.device().is_meta(), "encoders without files have no weights");
  vae_store_.seal(s);
  clip_store_.seal(s);
  normalizer_ = Normalizer::identity(s, weights, precision_.accum, embedding_width());
}

void Encoders::load(const Stream& s) {
  if (s.device().is_meta()) return;
  load_component(s, vae_store_, files_->component("vae"), {}, Vae::adapt_names);
  load_component(s, clip_store_, files_->component("image_encoder"));
}

void Encoders::require_fit(const UnetSpec& spec) const {
  const std::string folder = files_ ? files_->folder().string() : "the published pipeline";
  if (spec.out_channels != latent_channels() || spec.in_channels != 2 * latent_channels())
    throw_error<DataError>("The UNet reads ", spec.in_channels, " channels and predicts ", spec.out_channels, ", but the autoencoder of ",
                           folder, " has latents of ", latent_channels(), ": expected ", 2 * latent_channels(), " and ",
                           latent_channels(), ". Are the two of one pipeline?");
  if (spec.class_width != 2 * embedding_width())
    throw_error<DataError>("The UNet's class embedding reads vectors of ", spec.class_width, ", but the image encoder of ",
                           folder, " gives ", embedding_width(), ": expected twice as many. Are the two of one pipeline?");
}

Ctx Encoders::own(const Ctx& cx) const {
  MFL_CHECK(cx.precision.accum == precision_.accum, "encoders with results of ", precision_.accum, " for a network of ", cx.precision.accum);
  return {.stream = cx.stream, .arena = cx.arena, .precision = precision_, .saving = false};
}

Tensor Encoders::moments(Ctx& cx, ConstView images) const {
  Ctx mine = own(cx);
  return vae_.encode(mine, images);
}
Tensor Encoders::embeddings(Ctx& cx, ConstView images) const {
  Range range("image embedding");
  Ctx mine = own(cx);
  return clip_.forward(mine, clip_pixels(mine, images, clip_.config().image));
}
Tensor Encoders::latents(Ctx& cx, ConstView moments, ConstView noise) const {
  Ctx mine = own(cx);
  return vae_.latents(mine, moments, noise);
}
Tensor Encoders::decode(Ctx& cx, ConstView latents) const {
  Ctx mine = own(cx);
  return vae_.decode(mine, latents);
}

Condition encode_condition(Ctx& cx, const Encoders& encoders, ConstView images, ConstView bytes) {
  Condition c;
  c.latents = encoders.latents(cx, encoders.moments(cx, images));
  c.embeddings = encoders.embeddings(cx, bytes);
  return c;
}

Tensor sample_views(Ctx& cx, const Encoders& encoders, const Unet& unet, const SamplerTable& table, const ViewsInput& in) {
  Saving off(cx, false);
  const std::int64_t n = in.streams.shape()[0];
  MFL_CHECK(n % unet.spec().views == 0 && in.condition.latents.shape()[0] * unet.spec().views == n, "sample_views: conditions ",
            in.condition.latents.shape(), " for ", n, " views, ", unet.spec().views, " an object");
  SamplingInput s{in.condition.latents,
                  class_vectors(cx, encoders.normalizer(), encoders.embedding_noise(), in.condition.embeddings, in.streams, in.seed, 0),
                  in.text, in.streams, in.seed};
  return sample_latents(cx, table, s, [&](Ctx& inner, const NetworkInput& call) {
    Unet::Saved nothing;
    return unet.forward(inner, {call.sample, call.timesteps, call.class_labels, call.text}, nothing);
  });
}

Tensor view_streams(std::span<const std::uint32_t> objects, std::int64_t views) {
  const auto count = static_cast<std::int64_t>(objects.size());
  Tensor streams = Tensor::on_heap({count * views}, DType::i32);
  for (std::int64_t o = 0; o < count; ++o)
    for (std::int64_t v = 0; v < views; ++v)
      streams.data<std::int32_t>()[o * views + v] =
          static_cast<std::int32_t>(objects[static_cast<std::size_t>(o)] * static_cast<std::uint32_t>(views) + static_cast<std::uint32_t>(v));
  return streams;
}

}  // namespace mfl::mvdiffusion
