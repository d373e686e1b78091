// CLIP's vision transformer against transformers: tests/golden/make_encoders.py.
#include "models/mvdiffusion/clip_vision.h"

#include <gtest/gtest.h>

#include "tests/models/diffusion_support.h"
#include "tests/support/compare.h"
#include "tests/support/op_case.h"

namespace mfl::mvdiffusion {
namespace {

using mfl::test::relative_l2;
using test::Frozen;

const io::SafetensorsFile& golden() {
  static const io::SafetensorsFile file{std::string(MFL_SOURCE_DIR) + "/tests/golden/encoders.safetensors"};
  return file;
}
ClipConfig narrow(std::int64_t hidden) {
  return {.hidden = hidden, .intermediate = 2 * hidden, .layers = 2, .heads = 2, .image = 56, .patch = 14, .projection = 64};
}

// `hidden` 160: two heads of 80, as wide as ViT-H's.
void reproduces(Device device, DType compute, std::int64_t hidden, double tolerance) {
  Frozen<ClipVision> clip(device, compute, narrow(hidden));
  clip.formula();
  const Tensor image = golden().load("clip.image");
  Tensor bytes = Tensor::on_heap(image.shape(), DType::u8, device);
  copy(clip.s, image, bytes);
  const Tensor embeds = clip.net.forward(clip.cx, clip_pixels(clip.cx, bytes, 56));
  const auto ref = test::values(golden().load(hidden == 160 ? "clip.embeds" : "clip32.embeds"));
  EXPECT_LT(relative_l2(clip.down(embeds), ref), tolerance);
}
// The pixels of the published processor are f32.
TEST(ClipVision, MatchesTransformers) { reproduces(kCpu, DType::f64, 160, 1e-6); }
TEST(ClipVision, MatchesTransformersWithNarrowHeads) { reproduces(kCpu, DType::f64, 64, 1e-6); }
TEST(ClipVision, MatchesTransformersInF32) { reproduces(kCpu, DType::f32, 160, 1e-5); }
TEST(ClipVision, MatchesTransformersInBf16) { reproduces(kCpu, DType::bf16, 160, 2e-2); }
TEST(ClipVision, CudaMatchesTransformersF32) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduces({DeviceKind::cuda, 0}, DType::f32, 160, 1e-5);
  reproduces({DeviceKind::cuda, 0}, DType::f32, 64, 1e-5);
}
TEST(ClipVision, CudaMatchesTransformersBf16) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduces({DeviceKind::cuda, 0}, DType::bf16, 160, 2e-2);
}

TEST(ClipVision, TrainingKeepsTheOvershootOfItsFloatImages) {
  Frozen<ClipVision> clip(kCpu, DType::f64, narrow(64));
  clip.formula();
  const Tensor image = golden().load("clip.image");
  Tensor floats = Tensor::on_heap(image.shape(), DType::f64);
  for (std::int64_t i = 0; i < image.numel(); ++i) floats.data<double>()[i] = image.data<std::uint8_t>()[i] / 255.0;
  const auto out = clip.down(clip.net.forward(clip.cx, clip_pixels(clip.cx, floats, 56)));
  EXPECT_LT(relative_l2(out, test::values(golden().load("clip32.embeds_training"))), 1e-7);
  EXPECT_GT(relative_l2(out, test::values(golden().load("clip32.embeds"))), 1e-4);   // the two preprocessings differ
}

TEST(ClipVision, HasThePublishedNamesAndShapes) {
  Frozen<ClipVision> clip(kMeta, DType::bf16, ClipConfig{}, std::size_t{1} << 40);
  EXPECT_EQ(clip.store.all().size(), 520u);
  EXPECT_EQ(clip.store.numel(), 632076800);
  EXPECT_EQ(test::names_hash(clip.store), golden().metadata().at("clip.names"));
  // The full-size forward, dry: everything fits together.
  Tensor image = Tensor::on_heap({6, 512, 512, 3}, DType::f32, kMeta);
  const Tensor embeds = clip.net.forward(clip.cx, clip_pixels(clip.cx, image, 224));
  EXPECT_TRUE((embeds.shape() == Shape{6, 1024}));
  EXPECT_EQ(embeds.dtype(), DType::f32);
}

TEST(ClipVision, RefusesWhatItDoesNotCompute) {
  const std::string good = R"("hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                              "image_size": 28, "patch_size": 14, "projection_dim": 8)";
  EXPECT_NO_THROW(ClipConfig::read(JsonConfig::parse("{" + good + R"(, "hidden_act": "gelu"})", "a")));
  EXPECT_THROW(ClipConfig::read(JsonConfig::parse("{" + good + R"(, "hidden_act": "quick_gelu"})", "a")), DataError);
  EXPECT_THROW(ClipConfig::read(JsonConfig::parse("{" + good + "}", "a")), DataError);   // CLIP's default is quick_gelu
  EXPECT_THROW(ClipConfig::read(JsonConfig::parse(R"({"hidden_act": "gelu"})", "a")), DataError);
}

}  // namespace
}  // namespace mfl::mvdiffusion
