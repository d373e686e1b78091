// Stable Diffusion's autoencoder against diffusers: tests/golden/make_encoders.py, and every folder mv_* of MFL_GOLDEN.
#include "models/mvdiffusion/vae.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "models/mvdiffusion/pipeline_files.h"
#include "tests/models/diffusion_support.h"
#include "tests/support/compare.h"
#include "tests/support/op_case.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;
using mfl::test::relative_l2;
using test::Frozen;

const io::SafetensorsFile& golden() {
  static const io::SafetensorsFile file{std::string(MFL_SOURCE_DIR) + "/tests/golden/encoders.safetensors"};
  return file;
}

// [N, C, H, W] as torch has it to [N, H, W, C], times a factor plus an offset, f64 in host memory.
Tensor channels_last(const Tensor& t, double factor = 1, double offset = 0) {
  const Shape s = t.shape();
  const std::int64_t N = s[0], C = s[1], P = s[2] * s[3];
  const auto v = test::values(t);
  Tensor out = Tensor::on_heap({N, s[2], s[3], C}, DType::f64);
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t c = 0; c < C; ++c)
      for (std::int64_t p = 0; p < P; ++p)
        out.data<double>()[(n * P + p) * C + c] = factor * v[std::size_t((n * C + c) * P + p)] + offset;
  return out;
}
// x -> (x + 1) / 2: the golden images are in [-1, 1].
Tensor to_unit(const Tensor& host) {
  Tensor out = Tensor::on_heap(host.shape(), DType::f64);
  const auto v = test::values(host);
  for (std::size_t i = 0; i < v.size(); ++i) out.data<double>()[i] = (v[i] + 1) / 2;
  return out;
}
Tensor times(const Tensor& host, double factor) {
  Tensor out = Tensor::on_heap(host.shape(), DType::f64);
  const auto v = test::values(host);
  for (std::size_t i = 0; i < v.size(); ++i) out.data<double>()[i] = factor * v[i];
  return out;
}

struct Expected {
  Tensor image, mean, logvar, latents, decoded;   // channel-last, host; image in [-1, 1], latents unscaled
};

void reproduces(Frozen<Vae>& vae, const Expected& e, double tolerance) {
  const DType accum = vae.cx.precision.accum;
  const Tensor moments = vae.net.encode(vae.cx, vae.up(to_unit(e.image), accum), 1);
  const std::int64_t c = vae.net.config().latent;
  const auto m = vae.down(moments);
  std::vector<double> mean, logvar;
  for (std::size_t i = 0; i < m.size(); ++i)
    if (std::int64_t(i) % (2 * c) < c) mean.push_back(m[i]);
    else logvar.push_back(std::clamp(m[i], -30.0, 20.0));
  EXPECT_LT(relative_l2(mean, test::values(e.mean)), tolerance);
  EXPECT_LT(relative_l2(logvar, test::values(e.logvar)), tolerance);
  // The mode is the mean, scaled; a draw adds the deviation.
  const double scale = vae.net.config().scaling;
  EXPECT_LT(relative_l2(vae.down(vae.net.latents(vae.cx, moments)), test::values(times(e.mean, scale))), tolerance);
  const Tensor noise = vae.up(times(e.mean, 0.5), accum);
  std::vector<double> draw;
  for (std::size_t i = 0; i < mean.size(); ++i) draw.push_back(scale * (mean[i] + std::exp(logvar[i] / 2) * test::values(e.mean)[i] / 2));
  EXPECT_LT(relative_l2(vae.down(vae.net.latents(vae.cx, moments, noise)), draw), tolerance);
  const Tensor latents = vae.up(times(e.latents, scale), accum);
  const auto ref = test::values(e.decoded);
  EXPECT_LT(relative_l2(vae.down(vae.net.decode_raw(vae.cx, latents, 1)), ref), tolerance);
  const auto unit = vae.down(vae.net.decode(vae.cx, latents));
  for (std::size_t i = 0; i < ref.size(); ++i) ASSERT_NEAR(unit[i], std::clamp(ref[i] / 2 + 0.5, 0.0, 1.0), 10 * tolerance);
  // Nothing but the moments is left.
  EXPECT_EQ(vae.arena.live_bytes(), (moments.bytes() + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment);
}

// SD's layout: four levels, two resnets each.
void reproduces_formula(Device device, DType compute, double tolerance) {
  Frozen<Vae> vae(device, compute, VaeConfig{.channels = {32, 64, 96, 96}});
  vae.formula();
  EXPECT_EQ(vae.store.all().size(), 248u);
  reproduces(vae, {golden().load("vae.image"), golden().load("vae.mean"), golden().load("vae.logvar"),
                   golden().load("vae.latents"), golden().load("vae.decoded")}, tolerance);
}
TEST(Vae, MatchesDiffusersAtSdsLayout) { reproduces_formula(kCpu, DType::f64, 1e-6); }
TEST(Vae, MatchesDiffusersInF32) { reproduces_formula(kCpu, DType::f32, 2e-5); }
TEST(Vae, CudaMatchesDiffusersF32) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduces_formula({DeviceKind::cuda, 0}, DType::f32, 1e-4);
}
TEST(Vae, CudaMatchesDiffusersBf16) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduces_formula({DeviceKind::cuda, 0}, DType::bf16, 5e-2);
}

fs::path golden_root() {
  const char* given = std::getenv("MFL_GOLDEN");
  return given ? fs::path(given) : fs::path(MFL_SOURCE_DIR) / ".." / "shared" / "golden";
}
void reproduces_published(Device device) {
  int cases = 0;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(golden_root(), none)) {
    if (!entry.path().filename().string().starts_with("mv_") || !fs::exists(entry.path() / "vae")) continue;
    SCOPED_TRACE(entry.path().filename().string());
    ++cases;
    const io::SafetensorsFile e(entry.path() / "expected.safetensors");
    const fs::path folder = component_folder(entry.path(), "vae");
    Frozen<Vae> vae(device, DType::f32, VaeConfig::read(JsonConfig::read(folder / "config.json")));
    EXPECT_TRUE(load_component(vae.s, vae.store, folder, {.log = false}, Vae::adapt_names).unexpected.empty());
    // vae_decoded is the decoded mean.
    reproduces(vae, {channels_last(e.load("vae_image")), channels_last(e.load("vae_mean")), channels_last(e.load("vae_logvar")),
                     channels_last(e.load("vae_mean")), channels_last(e.load("vae_decoded"))}, 1e-4);
  }
  if (cases == 0) GTEST_SKIP() << "no golden cases mv_* in " << golden_root();
}
TEST(GoldenVae, ReproducesThePublishedModel) { reproduces_published(kCpu); }
TEST(GoldenVae, CudaReproducesThePublishedModel) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduces_published({DeviceKind::cuda, 0});
}

TEST(Vae, HasThePublishedNamesAndShapes) {
  Frozen<Vae> vae(kMeta, DType::bf16, VaeConfig{}, std::size_t{1} << 40);
  EXPECT_EQ(vae.store.all().size(), 248u);
  EXPECT_EQ(vae.store.numel(), 83653863);
  EXPECT_EQ(test::names_hash(vae.store), golden().metadata().at("vae.names"));
  // The full-size round trip, dry.
  const Tensor image = Tensor::on_heap({6, 512, 512, 3}, DType::f32, kMeta);
  const Tensor latents = vae.net.latents(vae.cx, vae.net.encode(vae.cx, image));
  EXPECT_TRUE((latents.shape() == Shape{6, 64, 64, 4}));
  const Tensor back = vae.net.decode(vae.cx, latents);
  EXPECT_TRUE((back.shape() == Shape{6, 512, 512, 3}));
  EXPECT_LT(vae.arena.peak_bytes(), std::size_t{3} << 30);
}

// fp16 weights as the library saves them, and the names of files from before 2023.
TEST(Vae, LoadsHalfPrecisionAndTheOldNames) {
  const fs::path folder = fs::path(MFL_SOURCE_DIR) / "tests" / "golden" / "pipeline" / "vae";
  const VaeConfig config = VaeConfig::read(JsonConfig::read(folder / "config.json"));
  Frozen<Vae> now(kCpu, DType::f32, config), old(kCpu, DType::f32, config);
  EXPECT_TRUE(load_component(now.s, now.store, folder, {.log = false}, Vae::adapt_names).complete());
  auto rename = [](std::vector<io::NamedStored>& tensors) {
    int renamed = 0;
    for (io::NamedStored& t : tensors) {
      auto swap = [&](const std::string& from, const std::string& to) {
        if (const auto at = t.name.find(from); at != std::string::npos) t.name.replace(at, from.size(), to), ++renamed;
      };
      swap(".to_q.", ".query."), swap(".to_k.", ".key."), swap(".to_v.", ".value."), swap(".to_out.0.", ".proj_attn.");
      if (t.name.ends_with("query.weight")) {
        const Shape s = t.tensor.shape;
        t.tensor.shape = {s[0], s[1], 1, 1}, t.tensor.stride = {s[1], 1, 1, 1};
      }
    }
    EXPECT_EQ(renamed, 16);
    Vae::adapt_names(tensors);
  };
  EXPECT_TRUE(load_component(old.s, old.store, folder, {.log = false}, rename).complete());
  EXPECT_EQ(std::memcmp(now.store.values().view().data, old.store.values().view().data, now.store.values().bytes()), 0);
}

TEST(Vae, RefusesWhatItDoesNotCompute) {
  const std::string good = R"("block_out_channels": [32, 64], "layers_per_block": 1, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"])";
  auto read = [&](const std::string& more) { return VaeConfig::read(JsonConfig::parse("{" + good + more + "}", "vae/config.json")); };
  EXPECT_EQ(read("").factor(), 2);
  EXPECT_EQ(read("").scaling, 0.18215);
  for (const char* bad : {R"(, "act_fn": "gelu")", R"(, "use_quant_conv": false)", R"(, "shift_factor": 0.1)",
                          R"(, "norm_num_groups": 24)", R"(, "in_channels": 4)", R"(, "scaling_factor": 0)", R"(, "scaling_factor": "1")"})
    EXPECT_THROW(read(bad), DataError) << bad;
}

}  // namespace
}  // namespace mfl::mvdiffusion
