#include "train/infer/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/memory_plan.h"

namespace mfl::infer {
namespace {

std::string row(std::string_view what, std::size_t bytes) { return fmt::format("  {:<40}{:>12}\n", what, human_bytes(bytes)); }

std::string table(const std::string& title, const Arena& arena) {
  std::string out = title + "\n";
  const auto uses = arena.peak_uses();
  for (std::size_t i = 0; i < uses.size() && i < 10; ++i) out += row(uses[i].purpose, uses[i].bytes);
  return out;
}

}  // namespace

StagePlan plan_views(const mvdiffusion::PipelineFiles& files, mvdiffusion::ViewPipelineOptions o, const mvdiffusion::SamplerConfig& sampler) {
  o.device = kMeta;
  mvdiffusion::ViewPipeline dry(files, o);
  const Tensor image = Tensor::on_heap({dry.image_size(), dry.image_size(), 3}, DType::u8);
  const std::vector<int> prompts(static_cast<std::size_t>(dry.views()), 0);
  mvdiffusion::SamplerConfig two = sampler;
  two.steps = std::min(two.steps, 2);
  dry.sample(std::vector<mvdiffusion::ViewPipeline::Request>(static_cast<std::size_t>(o.batch), {image, 0, prompts}), two, 0);
  // cuDNN and cuBLAS take about this beside the arenas and the context.
  constexpr std::size_t kLibraries = std::size_t{800} << 20;
  StagePlan p;
  p.bytes = committed_bytes(dry.weight_bytes()) + committed_bytes(dry.sampling_bytes()) + kLibraries;
  p.text = fmt::format("stage 1, views: {} object{} at a time, {} views of {} x {}\n", o.batch, o.batch == 1 ? "" : "s", dry.views(), dry.image_size(), dry.image_size()) +
           table("weights", dry.weight_arena()) + table("at the peak of sampling, by purpose", dry.sampling_arena()) + "device memory\n" +
           row("weights", committed_bytes(dry.weight_bytes())) + row("sampling, peak", committed_bytes(dry.sampling_bytes())) + row("CUDA and libraries", kLibraries) +
           row("total of stage 1", p.bytes);
  return p;
}

StagePlan plan_reconstruction(const GslrmConfig& config, ReconstructorOptions o, int side) {
  o.device = kMeta;
  Reconstructor dry(config, o);
  const gslrm::ModelSpec& spec = dry.spec();
  const std::int64_t V = spec.num_input_views, S = spec.image_size;
  {
    const Tensor images = Tensor::on_heap({V, S, S, 3}, DType::f32);
    const gslrm::Cameras cameras{Tensor::on_heap({V, 4, 4}, DType::f32), Tensor::on_heap({V, 4}, DType::f32), side, side};
    const gslrm::Gaussians all = dry.reconstruct(images, cameras), kept = dry.to_device(all);
    dry.render(kept, cameras);
  }
  StagePlan p;
  const std::size_t weights = committed_bytes(dry.weight_arena().peak_bytes()), step = committed_bytes(dry.step_arena().peak_bytes()),
                    splats = committed_bytes(dry.splat_arena().peak_bytes());
  p.bytes = weights + step + splats + library_bytes();
  p.text = fmt::format("stage 2, Gaussians: {} views of {} x {}, {} tokens, {} Gaussians; pictures of {} x {}, one at a time\n", V, S, S, spec.tokens(), spec.gaussians(), side, side) +
           table("weights", dry.weight_arena()) + table("at the peak, by purpose", dry.step_arena()) + "device memory\n" + row("weights", weights) + row("activations, peak", step) +
           row("rasterizer (grows with the scene)", splats) + row("CUDA and libraries", library_bytes()) + row("total of stage 2", p.bytes);
  return p;
}

}  // namespace mfl::infer
