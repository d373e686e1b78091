// The diffusion stage as a whole: a narrow network trained from scratch on one procedural animal by the program's own loop. The loss
// falls, and the six views that its final pipeline then samples from one image are each nearest to their own slot's truth. Nothing but
// the prompts tells the slots apart.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/scenes.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "models/mvdiffusion/view_pipeline.h"
#include "tests/support/temp_folder.h"
#include "train/mvdiffusion/trainer.h"
#include "train/mvdiffusion/view_set.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

// An animal whose views differ: at this size the nearest two by 21 dB.
void write_animal(const fs::path& file, int side) {
  data::PackInfo info;
  info.width = info.height = side, info.samples = 1, info.max_views = 6;
  data::ViewWriter writer(file.string(), info, false);
  writer.add(data::make_scene({.views = 6, .image_size = side, .seed = 3}, 34));
  writer.finish();
}

TEST(ViewLearning, SixViewsComeOutInTheirSlots) {
  constexpr int kSide = 8, kSteps = 300;
  const test::TempFolder folder;
  write_animal(folder / "animal.h5", kSide);
  write_tiny_pipeline(folder / "p", {.image = kSide, .widths = {32, 32}, .seed = 1});
  const TrainConfig config = parse_train_config(text("n_views: 6\nimg_wh: ", kSide, "\npretrained_model_name_or_path: ", (folder / "p").string(),
      "\nprompt_embed_path: ", tiny_prompts(folder / "p").string(), "\ndataset_type: mouse\ntrain_dataset: {path: ", (folder / "animal.h5").string(),
      "}\noutput_dir: ", (folder / "run").string(), "\ntrain_batch_size: 1\nmax_train_steps: ", kSteps,
      "\nlearning_rate: 4e-3\nlr_scheduler: linear\nlr_warmup_steps: 10\nadam_beta2: 0.99\nadam_weight_decay: 0\nsnr_gamma: 5.0\n"
      "condition_drop_rate: 0.0\ngradient_checkpointing: false\ndataloader_num_workers: 0\ncheckpointing_steps: ", kSteps,
      "\nunet_from_pretrained_kwargs: {sample_size: ", kSide, "}\nmfl: {device: cpu, allow_unsound_data: true}\n"), "learning.yaml").config;
  const auto comm = make_single(kCpu);
  ASSERT_EQ(train(config, *comm), kExitOk);

  std::vector<double> losses;
  std::ifstream log(config.log_dir() / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    const auto j = nlohmann::json::parse(line);
    if (j["event"] == "step") losses.push_back(j["loss"]);
  }
  ASSERT_EQ(losses.size(), std::size_t(kSteps));
  auto mean_of = [&](std::size_t first, std::size_t count) {
    return std::accumulate(losses.begin() + std::ptrdiff_t(first), losses.begin() + std::ptrdiff_t(first + count), 0.0) / double(count);
  };
  EXPECT_LT(mean_of(kSteps - 60, 60), 0.25 * mean_of(0, 60));

  ViewPipeline pipeline(PipelineFiles(folder / "run" / "pipeckpts"),
                        {.device = kCpu, .compute = DType::f32, .encoders = DType::f32, .prompts = tiny_prompts(folder / "p"), .memory_bytes = std::size_t{1} << 30});
  const ViewSample sample = packed_view_set(std::make_shared<const data::ViewReader>((folder / "animal.h5").string()), {.image_size = kSide}).sample(0);
  const std::vector<ViewPipeline::Request> request = {{sample.reference, sample.noise, sample.prompts}};
  for (std::uint64_t seed : {1, 2}) {
    const Tensor views = pipeline.sample(request, {.steps = 8, .guidance = 1, .eta = 0}, seed).reshape({6, kSide, kSide, 3});
    EXPECT_EQ(slot_order(views, sample.truth), 1) << "seed " << seed;
  }
}

}  // namespace
}  // namespace mfl::mvdiffusion
