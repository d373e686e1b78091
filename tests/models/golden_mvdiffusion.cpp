// The published UNet's own outputs: every folder mv_* of MFL_GOLDEN (default ../shared/golden), on the CPU and on CUDA, with
// f32 compute. Nothing here knows a particular case.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/loss/weighted_mse.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "models/mvdiffusion/schedulers.h"
#include "models/mvdiffusion/unet.h"
#include "models/weights/coverage.h"
#include "runtime/io/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/op_case.h"
#include "tests/support/shared_files.h"

namespace mfl::mvdiffusion {

namespace {

namespace fs = std::filesystem;
using mfl::test::relative_l2;

std::vector<fs::path> cases() {
  std::vector<fs::path> out;
  std::error_code none;
  for (const auto& e : fs::directory_iterator(mfl::test::golden_folder(), none))
    if (e.is_directory() && e.path().filename().string().starts_with("mv_") && fs::exists(e.path() / "unet")) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}
nlohmann::json json(const fs::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

std::vector<double> values(const Tensor& t) {
  std::vector<double> v(std::size_t(t.numel()));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = double(t.data<float>()[i]);
  return v;
}
double norm(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x * x;
  return std::sqrt(sum);
}
// [N, C, H, W] to [N, H, W, C] and back.
Tensor channels_last(const Tensor& t) {
  const Shape s = t.shape();
  Tensor out = Tensor::on_heap({s[0], s[2], s[3], s[1]}, DType::f32);
  const std::int64_t P = s[2] * s[3];
  for (std::int64_t n = 0; n < s[0]; ++n)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t p = 0; p < P; ++p) out.data<float>()[(n * P + p) * s[1] + c] = t.data<float>()[(n * s[1] + c) * P + p];
  return out;
}
// Two feature maps beside each other in channels, rows [from, from + count) of each; b times `keep`.
Tensor beside(const Tensor& a, const Tensor& b, float keep) {
  const Shape s = a.shape();
  const std::int64_t C = s[3], D = b.shape()[3];
  Tensor out = Tensor::on_heap({s[0], s[1], s[2], C + D}, DType::f32);
  for (std::int64_t r = 0; r < s.rows(); ++r) {
    for (std::int64_t c = 0; c < C; ++c) out.data<float>()[r * (C + D) + c] = a.data<float>()[r * C + c];
    for (std::int64_t c = 0; c < D; ++c) out.data<float>()[r * (C + D) + C + c] = keep * b.data<float>()[r * D + c];
  }
  return out;
}
// Rows of a, then rows of b.
Tensor below(const Tensor& a, const Tensor& b) {
  Shape s = a.shape();
  s[0] += b.shape()[0];
  Tensor out = Tensor::on_heap(s, DType::f32);
  std::copy(a.data<float>(), a.data<float>() + a.numel(), out.data<float>());
  std::copy(b.data<float>(), b.data<float>() + b.numel(), out.data<float>() + a.numel());
  return out;
}
Tensor zeros_like(const Tensor& t) {
  Tensor out = Tensor::on_heap(t.shape(), DType::f32);
  std::fill(out.data<float>(), out.data<float>() + out.numel(), 0.0f);
  return out;
}

// The network of a folder on a device.
struct Network {
  Stream s;
  Arena weights, arena;
  ParamStore store;
  Unet unet;
  Ctx cx;
  Network(Device device, const UnetSpec& spec, const fs::path& folder)
      : s(Stream::create(device, "test")), weights(device, std::size_t{1} << 30, "weights"),
        arena(device, std::size_t{4} << 30, "activations"), store(weights, Precision::of(DType::f32)),
        unet(Scope{store}, spec), cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f32)} {
    store.seal(s);
    load_unet(s, store, folder);
  }
  Tensor up(const Tensor& host) {
    Tensor t = arena.empty(host.shape(), host.dtype());
    copy(s, host, t);
    s.synchronize();
    return t;
  }
  Tensor down(const Tensor& t) {
    Tensor host = Tensor::on_heap(t.shape(), t.dtype());
    copy(s, t, host);
    s.synchronize();
    return host;
  }
  // In the checkpoint's layout.
  std::vector<double> published(const Param& p, const Tensor& t) {
    return values(io::load(weights::published(p, down(t)).tensor, DType::f32, p.name));
  }
};

Tensor timesteps_of(const std::vector<std::int64_t>& t) {
  Tensor out = Tensor::on_heap({std::int64_t(t.size())}, DType::i32);
  for (std::size_t i = 0; i < t.size(); ++i) out.data<std::int32_t>()[i] = std::int32_t(t[i]);
  return out;
}
std::vector<std::int64_t> integers(const Tensor& t) { return {t.data<std::int64_t>(), t.data<std::int64_t>() + t.numel()}; }

class GoldenMvDiffusion : public ::testing::TestWithParam<const char*> {
 protected:
  Device device() const { return {std::string(GetParam()) == "Cuda" ? DeviceKind::cuda : DeviceKind::cpu, 0}; }
};

TEST_P(GoldenMvDiffusion, TrainsAsThePublishedUnet) {
  if (device().is_cuda()) MFL_SKIP_WITHOUT_CUDA();
  const auto folders = cases();
  if (folders.empty()) GTEST_SKIP() << "no golden cases mv_* in " << mfl::test::golden_folder();
  for (const fs::path& folder : folders) {
    SCOPED_TRACE(folder.filename().string());
    const io::SafetensorsFile expected(folder / "expected.safetensors");
    Network n(device(), UnetSpec::read(folder / "unet" / "config.json"), folder / "unet");
    const NoiseSchedule schedule = NoiseSchedule::scaled_linear();
    const std::vector<std::int64_t> t = integers(expected.load("timesteps"));

    // The training batch, made here; the file holds what it must be.
    const Tensor latents = channels_last(expected.load("latents")), noise = channels_last(expected.load("noise"));
    Tensor noisy = Tensor::on_heap(latents.shape(), DType::f32), velocity = Tensor::on_heap(latents.shape(), DType::f32);
    Tensor weights = Tensor::on_heap({std::int64_t(t.size())}, DType::f32);
    const std::int64_t each = latents.numel() / std::int64_t(t.size());
    for (std::int64_t i = 0; i < latents.numel(); ++i) {
      const auto a = schedule.noisy(t[std::size_t(i / each)]), v = schedule.velocity(t[std::size_t(i / each)]);
      const double x0 = double(latents.data<float>()[i]), e = double(noise.data<float>()[i]);
      noisy.data<float>()[i] = float(a[0] * x0 + a[1] * e), velocity.data<float>()[i] = float(v[0] * x0 + v[1] * e);
    }
    for (std::size_t i = 0; i < t.size(); ++i) weights.data<float>()[i] = float(schedule.loss_weight(t[i], 5));
    EXPECT_LT(relative_l2(values(noisy), values(channels_last(expected.load("noisy")))), 1e-5);
    EXPECT_LT(relative_l2(values(velocity), values(channels_last(expected.load("velocity")))), 1e-5);

    const Unet::Input input{n.up(beside(noisy, channels_last(expected.load("cond_latents")), 1)), n.up(timesteps_of(t)),
                            n.up(expected.load("class_labels")), n.up(expected.load("prompt_embeds"))};
    const Tensor target = n.up(velocity), loss_weights = n.up(weights);
    Tensor loss = n.arena.empty({1}, DType::f32), per_sample = n.arena.empty({std::int64_t(t.size())}, DType::f32);
    Tensor out;
    auto micro_batch = [&] {
      Unet::Saved saved;
      out = n.unet.forward(n.cx, input, saved);
      weighted_mse_fwd(n.s, {.x = out, .target = target, .weights = loss_weights, .loss = loss, .per_sample = per_sample});
      Tensor dy = n.cx.compute(out.shape());
      weighted_mse_bwd(n.s, {.x = out, .target = target, .weights = loss_weights, .dx = dy});
      n.unet.backward(n.cx, std::move(saved), std::move(dy));
      return double(n.down(loss).data<float>()[0]);
    };

    // ---- step 0: output, loss, gradients ----
    const double loss0 = micro_batch(), wanted = double(expected.load("loss").data<float>()[0]);
    EXPECT_LT(relative_l2(values(n.down(out)), values(channels_last(expected.load("unet_out")))), 1e-4);
    EXPECT_NEAR(loss0, wanted, 1e-5 * wanted);
    const nlohmann::json grad_norms = json(folder / "grad_norms.json");
    EXPECT_EQ(grad_norms.size(), n.store.all().size());
    for (const Param& p : n.store.all()) {
      const std::vector<double> g = n.published(p, p.grad);
      ASSERT_TRUE(grad_norms.contains(p.name)) << p.name;
      const double ref = grad_norms[p.name][0];
      EXPECT_NEAR(norm(g), ref, 1e-3 * ref + 1e-9) << p.name;
      if (!expected.find("grad." + p.name)) continue;
      EXPECT_LT(relative_l2(g, values(expected.load("grad." + p.name))), 1e-3) << p.name;
    }

    // ---- three steps of AdamW, everything decays ----
    std::map<std::string, std::vector<double>> before;
    std::vector<ParamSegment> segments;
    for (const Param& p : n.store.all()) {
      before[p.name] = n.published(p, p.value);
      segments.push_back({p.first, p.numel(), 0});
    }
    const std::vector<std::int64_t> table = chunk_table(segments);
    const auto chunks = std::int64_t(table.size() / 4);
    Tensor host_chunks = Tensor::on_heap({chunks, 4}, DType::i64);
    std::copy(table.begin(), table.end(), host_chunks.data<std::int64_t>());
    const Tensor chunk = n.up(host_chunks), flat = n.store.values();
    Tensor exp_avg = n.arena.empty(flat.shape(), DType::f32), exp_avg_sq = n.arena.empty(flat.shape(), DType::f32);
    Tensor partial = n.arena.empty({chunks}, DType::f64), scalars = n.arena.empty(kStepScalarsShape, DType::u8);
    fill_zero(n.s, exp_avg), fill_zero(n.s, exp_avg_sq);
    init_scalars(n.s, {.scalars = scalars});
    const nlohmann::json trace = json(folder / "trace.json");
    for (std::size_t step = 0; step < trace.size(); ++step) {
      const double loss_here = step == 0 ? loss0 : micro_batch(), ref = trace[step]["loss"], ref_norm = trace[step]["grad_norm"];
      set_learning_rate(n.s, {.scalars = scalars, .learning_rate = 1e-4});
      grad_norm(n.s, {.grad = n.store.grads(), .chunks = chunk, .partial = partial, .scalars = scalars});
      decide_update(n.s, {.scalars = scalars, .max_norm = 1, .beta1 = 0.9, .beta2 = 0.999});
      adamw(n.s, {.value = n.store.values(), .grad = n.store.grads(), .exp_avg = exp_avg, .exp_avg_sq = exp_avg_sq,
                  .chunks = chunk, .scalars = scalars, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .groups = {{{1, 0.01}}}});
      StepScalars now;
      copy(n.s, scalars, make_view(static_cast<void*>(&now), kStepScalarsShape, DType::u8));
      n.s.synchronize();
      EXPECT_NEAR(loss_here, ref, 1e-3 * ref) << "step " << step;
      EXPECT_NEAR(now.norm, ref_norm, 1e-3 * ref_norm) << "step " << step;
    }
    const nlohmann::json updates = json(folder / "update_norms_after_3_steps.json");
    for (const Param& p : n.store.all()) {
      std::vector<double> after = n.published(p, p.value);
      for (std::size_t i = 0; i < after.size(); ++i) after[i] -= before[p.name][i];
      const double ref = updates.at(p.name);
      EXPECT_NEAR(norm(after), ref, 1e-3 * ref) << "change of " << p.name << " after " << trace.size() << " steps";
    }
  }
}

TEST_P(GoldenMvDiffusion, SamplesAsThePublishedPipeline) {
  if (device().is_cuda()) MFL_SKIP_WITHOUT_CUDA();
  const auto folders = cases();
  if (folders.empty()) GTEST_SKIP() << "no golden cases mv_* in " << mfl::test::golden_folder();
  for (const fs::path& folder : folders) {
    SCOPED_TRACE(folder.filename().string());
    const io::SafetensorsFile expected(folder / "expected.safetensors");
    Network n(device(), UnetSpec::read(folder / "unet" / "config.json"), folder / "unet");
    n.cx.saving = false;
    const std::vector<std::int64_t> t = integers(expected.load("sample_timesteps"));
    const SamplerTable table(n.s, n.arena, DType::f32,
                             sampler_steps(NoiseSchedule::scaled_linear(), {.steps = int(t.size()), .guidance = 3.0, .eta = 1.0}));
    const Tensor cond = channels_last(expected.load("cond_latents")), classes = expected.load("class_labels"),
                 text = expected.load("prompt_embeds"), noise = expected.load("sample_noise");
    const Tensor all_classes = n.up(below(zeros_like(classes), classes)), all_text = n.up(below(text, text));
    Tensor x = n.up(channels_last(expected.load("sample_init")));
    const Shape s = noise.shape();
    for (std::size_t k = 0; k < t.size(); ++k) {
      ASSERT_EQ(table.steps()[k].t, t[k]);
      const Tensor now = n.down(x);
      Unet::Saved none;
      const Unet::Input input{n.up(below(beside(now, cond, 0), beside(now, cond, 1))),
                              n.up(timesteps_of(std::vector<std::int64_t>(std::size_t(2 * s[1]), t[k]))), all_classes, all_text};
      const Tensor v = n.unet.forward(n.cx, input, none);
      const Tensor z = n.up(channels_last(noise.rows(std::int64_t(k), 1).reshape({s[1], s[2], s[3], s[4]})));
      Tensor x0 = n.arena.empty(x.shape(), DType::f32);
      table.advance(n.s, k, x, v, {}, z, x0);
    }
    EXPECT_LT(relative_l2(values(n.down(x)), values(channels_last(expected.load("sample_out")))), 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenMvDiffusion, ::testing::Values("Cpu", "Cuda"), [](const auto& i) { return i.param; });

}  // namespace
}  // namespace mfl::mvdiffusion
