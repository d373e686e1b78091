// A training step of MVDiffusion on the stage: whose noise it draws, and the published network's own three steps.
#include "train/mvdiffusion/stage.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/io/safetensors.h"
#include "tests/support/op_case.h"
#include "tests/support/shared_files.h"
#include "tests/train/mvdiffusion/run_support.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

struct Step {
  test::TinyRun tiny;
  TrainConfig config;
  PipelineFiles files;
  Stage stage;
  Step(int side, Device device, std::vector<ConfigOverride> more = {})
      : tiny(side, 2), config(tiny.config("run", std::move(more))), files(config.pretrained_model_name_or_path),
        stage(config, &files, {.device = device, .compute = config.compute(), .offload = config.offload(), .recompute = config.recompute()}) {}

  double number(const Tensor& t) {
    Tensor host = Tensor::on_heap(t.shape(), t.dtype());
    copy(stage.stream, t, host);
    stage.stream.synchronize();
    return double(host.data<float>()[0]);
  }
};

TEST(MvDiffusionStage, NoiseIsTheObjectsOwnWhateverTheBatch) {
  Step one(8, kCpu, {{"train_batch_size", "1"}});
  one.stage.load();
  ObjectSet set(std::make_shared<data::ViewReader>(one.config.train_data()), {.side = 8});
  StepEncoder encoder(one.stage.encoders, nullptr);
  ObjectBatch batch;
  const ObjectPlan plan = set.plan({});
  batch.pixels = Tensor::on_heap({6, 8, 8, 3}, DType::f32);
  set.render(plan, std::vector<bool>(6, true), batch.pixels.data<float>());
  batch.references = {plan.reference_slot}, batch.prompts = plan.order.prompts;
  for (int v = 0; v < 6; ++v) batch.images.push_back({.embedding = v == plan.reference_slot});
  Tensor loss = one.stage.weights.empty({1}, DType::f32);
  auto loss_of = [&](std::uint64_t step, std::uint32_t object) {
    one.stage.micro_batch(one.stage.encode(batch, batch.pixels, encoder), {.step = step, .first_object = object}, loss);
    return one.number(loss);
  };
  const double first = loss_of(0, 0);
  EXPECT_EQ(first, loss_of(0, 0));
  EXPECT_NE(first, loss_of(0, 1));   // what the next rank draws
  EXPECT_NE(first, loss_of(1, 0));
  EXPECT_EQ(encoder.encoded(), 4 * 6);   // six images an object and step, the reference not once more
}

class GoldenMvDiffusionStage : public ::testing::TestWithParam<const char*> {};

// mv_small's batch through the stage: losses, gradient norms and the change of every parameter after three updates.
TEST_P(GoldenMvDiffusionStage, ThreeStepsAreThePublishedOnes) {
  const Device device = std::string(GetParam()) == "Cuda" ? Device{DeviceKind::cuda, 0} : kCpu;
  if (device.is_cuda()) MFL_SKIP_WITHOUT_CUDA();
  const fs::path folder = mfl::test::golden_folder() / "mv_small";
  if (!fs::exists(folder)) GTEST_SKIP() << "no golden case " << folder;
  const io::SafetensorsFile expected(folder / "expected.safetensors");
  Step s(16, device, {{"train_batch_size", "1"}, {"pretrained_unet_path", (folder / "unet").string()}, {"learning_rate", "1e-4"}});
  Stage& stage = s.stage;
  load_unet(stage.stream, stage.params, folder / "unet");
  stage.ema.emplace(stage.stream, stage.weights, stage.params);

  auto up = [&](const Tensor& host) {
    Tensor t = stage.weights.empty(host.shape(), host.dtype());
    copy(stage.stream, host, t);
    stage.stream.synchronize();
    return t;
  };
  auto channels_last = [&](const std::vector<const char*>& names) {   // [N, C, H, W] each, joined over channels
    std::vector<Tensor> parts;
    for (const char* n : names) parts.push_back(expected.load(n));
    const Shape p = parts[0].shape();
    const std::int64_t P = p[2] * p[3], C = p[1], K = std::int64_t(parts.size());
    Tensor out = Tensor::on_heap({p[0], p[2], p[3], C * K}, DType::f32);
    for (std::int64_t k = 0; k < K; ++k)
      for (std::int64_t n = 0; n < p[0]; ++n)
        for (std::int64_t c = 0; c < C; ++c)
          for (std::int64_t i = 0; i < P; ++i)
            out.data<float>()[(n * P + i) * C * K + k * C + c] = parts[std::size_t(k)].data<float>()[(n * C + c) * P + i];
    return out;
  };
  const Tensor t = expected.load("timesteps");
  Tensor steps = Tensor::on_heap({6}, DType::i32), weights = Tensor::on_heap({6}, DType::f32);
  for (int i = 0; i < 6; ++i) {
    steps.data<std::int32_t>()[i] = std::int32_t(t.data<std::int64_t>()[i]);
    weights.data<float>()[i] = float(stage.encoders.schedule().loss_weight(t.data<std::int64_t>()[i], 5));
  }
  const Unet::Input input{up(channels_last({"noisy", "cond_latents"})), up(steps), up(expected.load("class_labels")), up(expected.load("prompt_embeds"))};
  const Tensor velocity = up(channels_last({"velocity"})), loss_weights = up(weights), before = up([&] {
                 Tensor host = Tensor::on_heap(stage.params.values().shape(), DType::f32);
                 copy(stage.stream, stage.params.values(), host);
                 stage.stream.synchronize();
                 return host;
               }());
  Tensor loss = stage.weights.empty({1}, DType::f32);
  std::ifstream trace_file(folder / "trace.json"), update_file(folder / "update_norms_after_3_steps.json");
  const nlohmann::json trace = nlohmann::json::parse(trace_file), updates = nlohmann::json::parse(update_file);
  for (const auto& wanted : trace) {
    stage.pass(input, velocity, loss_weights, false, loss);
    stage.optimizer->step(stage.stream, s.config.learning_rate, 1, loss);
    stage.ema->update(stage.stream);
    stage.optimizer->request(stage.stream);
    EXPECT_NEAR(s.number(loss), wanted["loss"].get<double>(), 1e-3 * wanted["loss"].get<double>());
    EXPECT_NEAR(stage.optimizer->take().norm, wanted["grad_norm"].get<double>(), 1e-3 * wanted["grad_norm"].get<double>());
  }
  Tensor a = Tensor::on_heap(before.shape(), DType::f32), b = Tensor::on_heap(before.shape(), DType::f32);
  copy(stage.stream, before, a);
  copy(stage.stream, stage.params.values(), b);
  stage.stream.synchronize();
  for (const Param& p : stage.params.all()) {
    double sum = 0;
    for (std::int64_t i = p.first; i < p.first + p.numel(); ++i) sum += std::pow(double(b.data<float>()[i]) - double(a.data<float>()[i]), 2);
    const double ref = updates.at(p.name);
    EXPECT_NEAR(std::sqrt(sum), ref, 1e-3 * ref) << p.name;
  }
  EXPECT_EQ(stage.ema->updates(), std::int64_t(trace.size()));
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenMvDiffusionStage, ::testing::Values("Cpu", "Cuda"), [](const auto& i) { return i.param; });

}  // namespace
}  // namespace mfl::mvdiffusion
