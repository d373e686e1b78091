// The composition of the multi-view UNet: gradients by directional differences in f64, recomputation, the three view modes,
// loading and writing, and the full-size network by name, shape and dry run.
#include "models/mvdiffusion/unet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "models/mvdiffusion/pipeline_files.h"
#include "runtime/rng.h"
#include "tests/support/temp_folder.h"

namespace mfl::mvdiffusion {
namespace {

UnetSpec tiny(ViewMode mode = ViewMode::sparse) {
  UnetSpec s;
  s.in_channels = 5, s.out_channels = 3;
  s.widths = {32, 64}, s.heads = {1, 2}, s.attends = {true, false};
  s.layers = 1, s.text_width = 6, s.class_width = 10, s.groups = 8, s.views = 3, s.mode = mode;
  return s;
}

void each(const Tensor& t, const std::function<double(double)>& f) {
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    if (t.dtype() == DType::f64) t.data<double>()[i] = f(t.data<double>()[i]);
    else t.data<float>()[i] = float(f(double(t.data<float>()[i])));
  }
}

// A network with random weights and inputs; no data on meta.
struct Bench {
  Stream stream;
  Arena weights, step;
  ParamStore store;
  Unet unet;
  Unet::Input input;

  Bench(Device device, Precision precision, const UnetSpec& spec, std::int64_t objects = 2, std::int64_t side = 4,
        std::int64_t tokens = 4, std::size_t bytes = std::size_t{256} << 20)
      : stream(Stream::create(device, "test")), weights(device, bytes, "weights"), step(device, bytes, "step"),
        store(weights, precision), unet(Scope{store}, spec) {
    store.seal(stream);
    const std::int64_t N = objects * spec.views;
    const DType c = precision.compute;
    input = {weights.empty({N, side, side, spec.in_channels}, c), weights.empty({N}, precision.accum),
             weights.empty({N, spec.class_width}, c), weights.empty({N, tokens, spec.text_width}, c)};
    if (device.is_meta()) return;
    Rng rng(5, Draw::test);
    for (Param& p : store.all())
      each(p.value, [&](double) {
        if (p.shape.rank() < 2) return (p.name.ends_with("weight") ? 1 : 0) + 0.2 * rng.normal();
        return rng.normal() / std::sqrt(double(p.numel() / p.shape[0]));
      });
    for (const Tensor* t : {&input.sample, &input.class_labels, &input.text}) each(*t, [&](double) { return rng.normal(); });
    each(input.timesteps, [&](double) { return std::floor(999 * rng.uniform()); });
  }
  Ctx context() { return {.stream = stream, .arena = step, .precision = store.precision()}; }
  Tensor cotangent(Shape s) {
    Rng rng(11, Draw::test);
    Tensor d = step.empty(s, store.precision().compute);
    if (!stream.device().is_meta()) each(d, [&](double) { return rng.normal(); });
    return d;
  }
  std::vector<double> output() {
    Ctx cx = context();
    cx.saving = false;
    Unet::Saved nothing;
    const Tensor y = unet.forward(cx, input, nothing);
    return {y.data<double>(), y.data<double>() + y.numel()};
  }
  std::vector<ParamRange> gradient() {
    Ctx cx = context();
    std::vector<ParamRange> ready;
    cx.grads_ready = [&](ParamRange r) { ready.push_back(r); };
    Unet::Saved saved;
    const Shape s = unet.forward(cx, input, saved).shape();
    unet.backward(cx, std::move(saved), cotangent(s));
    return ready;
  }
};

class UnetModes : public ::testing::TestWithParam<ViewMode> {};

TEST_P(UnetModes, GradientIsTheDerivative) {
  Bench b(kCpu, Precision::of(DType::f64), tiny(GetParam()), 1);
  b.gradient();
  const double* g = b.store.grads().data<double>();
  const std::vector<double> grad(g, g + b.store.flat_numel());
  double* value = b.store.values().data<double>();
  const std::vector<double> at(value, value + b.store.flat_numel());
  const Tensor w = b.cotangent({3, 4, 4, 3});
  auto objective = [&] {
    const std::vector<double> y = b.output();
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * w.data<double>()[i];
    return sum;
  };
  for (std::uint64_t direction = 0; direction < 3; ++direction) {
    const Rng rng(17, Draw::test, direction);
    double predicted = 0, scale = 0;
    std::vector<double> u(at.size(), 0.0);
    for (const Param& p : b.store.all())
      for (std::int64_t i = p.first; i < p.first + p.numel(); ++i) {
        u[std::size_t(i)] = rng.normal_at(std::uint64_t(i));
        predicted += grad[std::size_t(i)] * u[std::size_t(i)];
        scale += grad[std::size_t(i)] * grad[std::size_t(i)];
      }
    const double h = 1e-6;
    double measured = 0;
    for (double sign : {1.0, -1.0}) {
      for (std::size_t i = 0; i < at.size(); ++i) value[i] = at[i] + sign * h * u[i];
      measured += sign * objective() / (2 * h);
    }
    for (std::size_t i = 0; i < at.size(); ++i) value[i] = at[i];
    EXPECT_NEAR(predicted, measured, 1e-6 * std::max(std::sqrt(scale), std::abs(measured))) << "direction " << direction;
  }
}

TEST_P(UnetModes, EveryGradientIsAnnouncedOnce) {
  Bench b(kCpu, Precision::of(DType::f32), tiny(GetParam()));
  std::vector<int> seen(std::size_t(b.store.flat_numel()), 0);
  for (const ParamRange& r : b.gradient())
    for (std::int64_t i = r.first; i < r.first + r.count; ++i) ++seen[std::size_t(i)];
  for (int n : seen) ASSERT_EQ(n, 1);
}

TEST_P(UnetModes, RecomputedGradientsAreTheSameBits) {
  UnetSpec again = tiny(GetParam());
  again.recompute = true;
  Bench plain(kCpu, Precision::of(DType::f32), tiny(GetParam())), recomputed(kCpu, Precision::of(DType::f32), again);
  plain.gradient(), recomputed.gradient();
  EXPECT_EQ(std::memcmp(plain.store.grads().data<float>(), recomputed.store.grads().data<float>(),
                        std::size_t(plain.store.flat_numel()) * sizeof(float)), 0);
  EXPECT_LT(recomputed.step.peak_bytes(), plain.step.peak_bytes());
}

INSTANTIATE_TEST_SUITE_P(Unet, UnetModes, ::testing::Values(ViewMode::sparse, ViewMode::dense, ViewMode::per_view),
                         [](const auto& i) {
                           return i.param == ViewMode::sparse ? "Sparse" : i.param == ViewMode::dense ? "Dense" : "PerView";
                         });

// attention_fwd over keys that are listed one by one.
TEST(ViewAttention, SparseIsAttentionOverTheFirstViewAndItsOwn) {
  const Stream s = Stream::create(kCpu, "test");
  Arena arena(kCpu, 16 << 20, "test");
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f64), .saving = false};
  const std::int64_t O = 2, V = 3, T = 5, A = 2, D = 32, row = A * D;
  Rng rng(3, Draw::test);
  auto random = [&] {
    Tensor t = arena.empty({O * V, T, A, D}, DType::f64);
    each(t, [&](double) { return rng.normal(); });
    return t;
  };
  const Tensor q = random(), k = random(), v = random();
  ViewAttention::Saved saved;
  const Tensor y = ViewAttention{V, ViewMode::sparse}.forward(cx, q, k, v, saved);
  Tensor keys = arena.empty({O * V, 2 * T, A, D}, DType::f64), values = arena.empty({O * V, 2 * T, A, D}, DType::f64),
         expected = arena.empty({O * V, T, A, D}, DType::f64);
  for (std::int64_t n = 0; n < O * V; ++n)
    for (const auto& [from, to] : {std::pair{&k, &keys}, {&v, &values}}) {
      const double* x = from->data<double>();
      std::copy(x + n / V * V * T * row, x + (n / V * V + 1) * T * row, to->data<double>() + n * 2 * T * row);
      std::copy(x + n * T * row, x + (n + 1) * T * row, to->data<double>() + (n * 2 + 1) * T * row);
    }
  attention_fwd(s, {.q = q, .k = keys, .v = values, .y = expected});
  for (std::int64_t i = 0; i < y.numel(); ++i) ASSERT_NEAR(ConstView(y).as<double>()[i], expected.data<double>()[i], 1e-12);
}

TEST(Unet, OtherObjectsDoNotMatter) {
  Bench b(kCpu, Precision::of(DType::f64), tiny(), 2);
  const std::vector<double> before = b.output();
  const std::int64_t half = b.input.sample.numel() / 2;
  for (std::int64_t i = half; i < 2 * half; ++i) b.input.sample.data<double>()[i] += 1;
  const std::vector<double> after = b.output();
  for (std::size_t i = 0; i < before.size() / 2; ++i) ASSERT_EQ(before[i], after[i]);
  double change = 0;
  for (std::size_t i = before.size() / 2; i < before.size(); ++i) change += std::abs(before[i] - after[i]);
  EXPECT_GT(change, 1e-3);
}

TEST(Unet, LoadsWhatItWroteAndWidensFourInputChannels) {
  const test::TempFolder folder;
  UnetSpec four = tiny();
  four.in_channels = 4;
  Bench source(kCpu, Precision::of(DType::f32), four);
  std::vector<io::NamedStored> tensors;
  for (const Param& p : source.store.all()) tensors.push_back(weights::published(p, p.value));
  write_component(folder.path(), "diffusion_pytorch_model.safetensors", four.json(16), tensors);
  const UnetSpec read = UnetSpec::read(folder.path() / "config.json");
  EXPECT_EQ(read.json(16), four.json(16));

  Bench same(kCpu, Precision::of(DType::f32), read);
  each(same.store.values(), [](double) { return 7.0; });
  load_unet(same.stream, same.store, folder.path());
  for (const Param& p : source.store.all())
    EXPECT_EQ(std::memcmp(p.value.data<float>(), same.store.find(p.name)->value.data<float>(), p.value.bytes()), 0) << p.name;

  UnetSpec eight = tiny();
  eight.in_channels = 8;
  Bench wide(kCpu, Precision::of(DType::f32), eight);
  load_unet(wide.stream, wide.store, folder.path());
  const Param &w = *wide.store.find("conv_in.weight"), &n = *source.store.find("conv_in.weight");   // [O, KH, KW, I] in memory
  for (std::int64_t i = 0; i < w.numel(); ++i)
    ASSERT_EQ(w.value.data<float>()[i], i % 8 < 4 ? n.value.data<float>()[i / 8 * 4 + i % 8] : 0.0f);

  UnetSpec six = tiny();
  six.in_channels = 6;
  Bench other(kCpu, Precision::of(DType::f32), six);
  EXPECT_THROW(load_unet(other.stream, other.store, folder.path()), DataError);
}

TEST(Unet, RefusesConfigurationsOfOtherNetworks) {
  const std::string good = tiny().json(16);
  auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return JsonConfig::parse(text.replace(at, from.size(), to), "unet/config.json");
  };
  EXPECT_NO_THROW(UnetSpec::from(JsonConfig::parse(good, "unet/config.json")));
  EXPECT_THROW(UnetSpec::from(with("\"act_fn\": \"silu\"", "\"act_fn\": \"gelu\"")), DataError);
  EXPECT_THROW(UnetSpec::from(with("\"cd_attention_mid\": false", "\"cd_attention_mid\": true")), DataError);
  EXPECT_THROW(UnetSpec::from(with("\"norm_num_groups\": 8", "\"norm_num_groups\": 7")), DataError);
  EXPECT_THROW(UnetSpec::from(with("\"CrossAttnDownBlockMV2D\"", "\"AttnDownBlock2D\"")), DataError);
}

// ---- the published size ----

UnetSpec full(bool recompute = false) {
  UnetSpec s;
  s.recompute = recompute;
  return s;
}

TEST(UnetFullSize, NamesAndShapesAreThePublishedOnes) {
  const Device meta{DeviceKind::meta, 0};
  Arena arena(meta, std::size_t{64} << 30, "weights");
  ParamStore store(arena, Precision::of(DType::bf16));
  const Unet unet(Scope{store}, full());
  EXPECT_EQ(store.all().size(), 690u);
  EXPECT_EQ(store.numel(), 870184644);
  // Tensors and parameters of every part, and the order of the parts: the table of the published state dict.
  const std::vector<std::tuple<std::string, int, std::int64_t>> parts = {
      {"conv_in.", 2, 23360},           {"time_embedding.", 4, 2050560},   {"class_embedding.", 4, 4262400},
      {"down_blocks.0.", 74, 10852160}, {"down_blocks.1.", 76, 37473920},  {"down_blocks.2.", 76, 141303040},
      {"down_blocks.3.", 20, 62277120}, {"up_blocks.0.", 38, 162241280},   {"up_blocks.1.", 116, 260296960},
      {"up_blocks.2.", 116, 72396160},  {"up_blocks.3.", 114, 19302080},   {"mid_block.", 46, 97693440},
      {"conv_norm_out.", 2, 640},       {"conv_out.", 2, 11524}};
  std::size_t i = 0;
  for (const auto& [prefix, tensors, numel] : parts) {
    int count = 0;
    std::int64_t sum = 0;
    for (; i < store.all().size() && store.all()[i].name.starts_with(prefix); ++i) ++count, sum += store.all()[i].numel();
    EXPECT_EQ(count, tensors) << prefix;
    EXPECT_EQ(sum, numel) << prefix;
  }
  EXPECT_EQ(i, store.all().size());
  auto shape = [&](const char* name) { return store.find(name) ? store.find(name)->shape : Shape{}; };
  EXPECT_EQ(shape("up_blocks.1.resnets.2.conv_shortcut.weight"), (Shape{1280, 1920, 1, 1}));
  EXPECT_EQ(shape("down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_v.weight"), (Shape{640, 1024}));
  EXPECT_EQ(shape("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight"), (Shape{10240, 1280}));
  EXPECT_EQ(shape("up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_out.0.bias"), (Shape{320}));
  EXPECT_EQ(shape("up_blocks.2.upsamplers.0.conv.weight"), (Shape{640, 640, 3, 3}));
  EXPECT_EQ(shape("down_blocks.2.downsamplers.0.conv.weight"), (Shape{1280, 1280, 3, 3}));
  EXPECT_EQ(shape("class_embedding.linear_1.weight"), (Shape{1280, 2048}));
  // 463.4 GMAC a sample, less a sixth of the attention to the first view, which the first view does not repeat.
  EXPECT_NEAR(unet.forward_flops(64, 77) / 2e9, 463.4 - 122.5 / 12, 1.0);
}

TEST(UnetFullSize, DryRunKnowsItsMemory) {
  const Device meta{DeviceKind::meta, 0};
  std::map<bool, std::size_t> peak;
  for (bool recompute : {false, true}) {
    Bench b(meta, Precision::of(DType::bf16), full(recompute), /*objects=*/8, 64, 77, std::size_t{256} << 30);
    b.gradient();
    peak[recompute] = b.step.peak_bytes();
    std::printf("batch 8 of 6 views, bf16, %s: weights %.2f GiB, activations %.2f GiB\n", recompute ? "recomputed" : "kept",
                double(b.weights.peak_bytes()) / (1 << 30), double(b.step.peak_bytes()) / (1 << 30));
    std::size_t shown = 0;
    for (const Arena::Use& use : b.step.peak_uses())
      if (shown++ < 8) std::printf("  %6.2f GiB  %.*s\n", double(use.bytes) / (1 << 30), int(use.purpose.size()), use.purpose.data());
  }
  EXPECT_LT(peak[false], std::size_t{28} << 30);
  EXPECT_LT(peak[true], peak[false] / 2);
}

}  // namespace
}  // namespace mfl::mvdiffusion
