// The pipeline folder without published weights: its autoencoder is the identity on pixels, everything loads by name.
#include "models/mvdiffusion/tiny_pipeline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "models/mvdiffusion/conditioning.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/prompts.h"
#include "models/mvdiffusion/unet.h"
#include "runtime/rng.h"
#include "tests/models/diffusion_support.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::mvdiffusion {
namespace {

using mfl::test::TempFolder;
using test::Frozen;

// White images with a patch of noise, of different brightness: [3, S, S, 3] in [0, 1].
Tensor pictures(std::int64_t side, DType type) {
  Tensor host = Tensor::on_heap({3, side, side, 3}, DType::f64);
  const Rng rng(7, Draw::test);
  for (std::int64_t n = 0; n < 3; ++n)
    for (std::int64_t i = 0; i < side * side * 3; ++i) {
      const std::int64_t x = i / 3 % side, y = i / 3 / side;
      const bool inside = n == 2 || std::hypot(double(x) - 0.5 * double(side), double(y) - 0.4 * double(side)) < 0.3 * double(side);
      host.data<double>()[n * side * side * 3 + i] = inside ? double(rng.uniform_at(std::uint64_t(n * 100000 + i))) : n == 1 ? 0.0 : 1.0;
    }
  Tensor out = Tensor::on_heap(host.shape(), type);
  cpu::cast({.x = host, .y = out});
  return out;
}

void identity_on_pixels(Device device, DType compute, double decibels) {
  Frozen<Vae> vae(device, compute, identity_vae());
  set_identity_vae(vae.s, vae.store);
  const DType accum = vae.cx.precision.accum;
  const Tensor images = pictures(16, accum);
  const Tensor moments = vae.net.encode(vae.cx, vae.up(images, accum));
  const auto m = vae.down(moments);
  for (std::size_t i = 0; i < m.size(); ++i) {
    if (i % 8 < 4) continue;
    ASSERT_LE(m[i], -29);   // deviation exp(-15)
  }
  const Tensor latents = vae.net.latents(vae.cx, moments);
  const auto z = vae.down(latents), truth = test::values(images), back = vae.down(vae.net.decode(vae.cx, latents));
  double error = 0, latent_error = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    error += (back[i] - truth[i]) * (back[i] - truth[i]);
    latent_error += std::pow(z[i / 3 * 4 + i % 3] - (2 * truth[i] - 1), 2);
  }
  EXPECT_GT(-10 * std::log10(error / double(truth.size())), decibels);
  EXPECT_GT(-10 * std::log10(latent_error / double(truth.size())), decibels - 6);   // latents are the image in [-1, 1]
}

TEST(TinyPipeline, AutoencoderIsTheIdentityOnPixels) {
  identity_on_pixels(kCpu, DType::f32, 75);
  identity_on_pixels(kCpu, DType::bf16, 45);
}
TEST(TinyPipeline, CudaAutoencoderIsTheIdentityOnPixels) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  identity_on_pixels({DeviceKind::cuda, 0}, DType::f32, 70);
  identity_on_pixels({DeviceKind::cuda, 0}, DType::bf16, 45);
}

TEST(TinyPipeline, LoadsByNameAsAPublishedOne) {
  const TempFolder folder;
  TinyPipeline tiny;
  tiny.image = 16;
  write_tiny_pipeline(folder / "p", tiny);
  const PipelineFiles files(folder / "p");
  EXPECT_EQ(files.scheduler().steps_offset, 1);
  EXPECT_NEAR(files.scheduler().schedule.alpha_bar(999), 0.00466010, 1e-6);
  EXPECT_NEAR(files.embedding_noise().alpha_bar(0), 0.99995869, 1e-7);
  const UnetSpec spec = UnetSpec::read(files.component("unet") / "config.json");
  const ClipConfig clip = ClipConfig::read(JsonConfig::read(files.component("image_encoder") / "config.json"));
  EXPECT_EQ(spec.class_width, 2 * clip.projection);
  EXPECT_EQ(VaeConfig::read(JsonConfig::read(files.component("vae") / "config.json")).factor(), 1);
  const Stream s = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "test");
  ParamStore store(arena, Precision::of(DType::f32));
  const Unet net(Scope{store}, spec);
  store.seal(s);
  load_unet(s, store, files.component("unet"));
  // Bounds of the uniform draws, and that they are used.
  const Param* conv = store.find("down_blocks.0.resnets.0.conv1.weight");
  double largest = 0;
  for (std::int64_t i = 0; i < conv->numel(); ++i) largest = std::max(largest, std::abs(double(conv->value.data<float>()[i])));
  EXPECT_NEAR(largest, 1 / std::sqrt(9 * 32.0), 1e-3);
  EXPECT_EQ(store.find("conv_norm_out.weight")->value.data<float>()[0], 1);
  Frozen<ClipVision> encoder(kCpu, DType::f32, clip);
  EXPECT_TRUE(load_component(encoder.s, encoder.store, files.component("image_encoder"), {.log = false}).complete());
  EXPECT_TRUE(Normalizer::load(s, arena, DType::f32, files.component("image_normalizer"), clip.projection).mean);
  const Tensor prompts = read_prompt_embeddings(tiny_prompts(folder / "p"), 6, spec.text_width);
  const std::int64_t slot = kPromptTokens * spec.text_width;
  for (int a = 0; a < 6; ++a)
    for (int b = 0; b < a; ++b) {
      double squared = 0;
      for (std::int64_t i = 0; i < slot; ++i) squared += std::pow(prompts.data<float>()[a * slot + i] - prompts.data<float>()[b * slot + i], 2);
      EXPECT_GT(squared / double(slot), 0.7);
    }
}

TEST(TinyPipeline, RefusesSizesThatDoNotFitAndFoldersInUse) {
  const TempFolder folder;
  EXPECT_THROW(write_tiny_pipeline(folder / "a", {.image = 15}), ConfigError);
  EXPECT_THROW(write_tiny_pipeline(folder / "b", {.widths = {48, 64}}), ConfigError);
  EXPECT_THROW(write_tiny_pipeline(folder / "c", {.widths = {}}), ConfigError);
  std::ofstream(folder / "file") << "x";
  EXPECT_THROW(write_tiny_pipeline(folder.path(), {}), DataError);
}

}  // namespace
}  // namespace mfl::mvdiffusion
