// What the tests of MVDiffusion's runs share: a tiny pipeline folder, a packed file of procedural objects, a configuration.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/scenes.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "tests/support/run_log_lines.h"
#include "tests/support/temp_folder.h"
#include "train/mvdiffusion/config.h"

namespace mfl::mvdiffusion::test {

// `slots`: the table of prompts, by view; `ring`: the rig's.
inline void write_objects(const std::filesystem::path& file, int side, int objects, const std::vector<int>& slots = {}, const std::vector<int>& ring = {}) {
  data::SceneOptions o;
  o.views = 6, o.image_size = side;
  data::PackInfo info;
  info.width = info.height = side, info.samples = objects, info.max_views = 6;
  info.ring_order = ring;
  if (!slots.empty()) info.slot_names = {"front", "front_right", "right", "back", "left", "front_left"};
  data::ViewWriter w(file.string(), info, true);
  for (int i = 0; i < objects; ++i) {
    data::Sample s = data::make_scene(o, i);
    for (std::size_t v = 0; v < slots.size(); ++v) s.views[v].prompt_slot = slots[v];
    w.add(s);
  }
  w.finish();
}

struct TinyRun {
  mfl::test::TempFolder root;
  explicit TinyRun(int side = 8, int objects = 8) {
    write_tiny_pipeline(root / "pipeline", {.image = side, .widths = {32}});
    write_objects(root / "objects.h5", side, objects);
    side_ = side;
  }
  TrainConfig config(const std::string& run, std::vector<ConfigOverride> more = {}) const {
    const std::string yaml = R"(
n_views: 6
pretrained_model_name_or_path: PIPELINE
train_dataset: {bg_color: three_choices}
train_batch_size: 2
max_train_steps: 4
learning_rate: 1e-3
snr_gamma: 5.0
max_grad_norm: 1.0
checkpointing_steps: 2
dataloader_num_workers: 2
resume_from_checkpoint: latest
mfl: {device: cpu, print_every: 100}
)";
    more.insert(more.begin(), {{"img_wh", std::to_string(side_)}, {"pretrained_model_name_or_path", (root / "pipeline").string()},
                               {"prompt_embed_path", tiny_prompts(root / "pipeline").string()},
                               {"train_dataset.path", (root / "objects.h5").string()}, {"output_dir", (root / run).string()}});
    return parse_train_config(yaml, "training.yaml", more).config;
  }
  // Lines of a run's log with this event.
  std::vector<nlohmann::json> lines(const std::string& run, const std::string& event) const {
    return mfl::test::log_lines(root / run / "logs" / "log.jsonl", event);
  }
  std::vector<double> losses(const std::string& run) const {
    std::vector<double> out;
    for (const auto& j : lines(run, "step")) out.push_back(j["loss"]);
    return out;
  }
  // The bytes of the files of a checkpoint that hold state.
  std::string state(const std::string& run, int step) const {
    std::string all;
    const std::filesystem::path folder = root / run / ("checkpoint-" + std::to_string(step));
    for (const char* file : {"unet/diffusion_pytorch_model.safetensors", "unet_ema/diffusion_pytorch_model.safetensors",
                             "unet_ema/config.json", "optimizer.bin", "scheduler.bin"}) {
      std::ifstream in(folder / file, std::ios::binary);
      EXPECT_TRUE(in.good()) << folder / file;
      all.append(std::istreambuf_iterator<char>(in), {});
    }
    return all;
  }

 private:
  int side_;
};

}  // namespace mfl::mvdiffusion::test
