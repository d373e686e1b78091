#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kernels/gemm/linear.h"
#include "runtime/profile.h"
#include "train/checkpoint.h"
#include "train/gslrm_stage.h"
#include "train/pictures.h"
#include "train/validation.h"

namespace mfl {
namespace {

// Device memory that the libraries take beside our arenas: CUDA context and modules, cuBLASLt and cuDNN workspaces.
constexpr std::size_t kLibraryBytes = std::size_t{600} << 20;
// The backend maps device memory in steps of this size, one arena at a time.
constexpr std::size_t kCommitStep = std::size_t{64} << 20;
std::size_t committed(std::size_t bytes) { return (bytes + kCommitStep - 1) / kCommitStep * kCommitStep; }

// Bytes that each module's forward leaves alive. Nested ranges count for the inner one.
class KeptByModule : public RangeObserver {
 public:
  explicit KeptByModule(const Arena& a) : arena_(a) { range_observer = this; }
  ~KeptByModule() override { range_observer = nullptr; }
  void enter(const char* name) override { open_.push_back({name, arena_.live_bytes(), 0}); }
  void leave(const char* name) override {
    const Open o = open_.back();
    open_.pop_back();
    const auto kept = static_cast<std::int64_t>(arena_.live_bytes()) - static_cast<std::int64_t>(o.before);
    if (!open_.empty()) open_.back().inner += kept;
    const std::int64_t own = kept - o.inner;
    if (std::string(name).find("backward") != std::string::npos || own <= 0) return;
    auto it = std::find_if(lines_.begin(), lines_.end(), [&](const auto& l) { return l.what == name; });
    if (it == lines_.end()) lines_.push_back({name, static_cast<std::size_t>(own), 1});
    else it->bytes += static_cast<std::size_t>(own), ++it->times;
  }
  std::vector<MemoryPlan::Line> lines() const { return lines_; }

 private:
  struct Open {
    std::string name;
    std::size_t before;
    std::int64_t inner;
  };
  const Arena& arena_;
  std::vector<Open> open_;
  std::vector<MemoryPlan::Line> lines_;
};

gslrm::Views meta_batch(GslrmStage& s, std::int64_t side) {
  const TrainingConfig& t = s.config().training;
  const std::int64_t B = t.dataloader.batch_size_per_gpu, V = t.dataset.num_views, S = side;
  const std::int64_t channels = t.dataset.remove_alpha ? 3 : 4;
  const DType accum = s.params.precision().accum;
  return {s.step.empty({B, V, S, S, channels}, accum, {"batch"}), s.step.empty({B, V, 4, 4}, accum, {"batch"}),
          s.step.empty({B, V, 4}, accum, {"batch"})};
}

MemoryPlan measure(const GslrmConfig& config, int segment) {
  const LpipsMetric metric = lpips_metric(config);
  GslrmStage stage(config, {.device = kMeta, .precision = Precision::of(config.compute()), .recompute_segment = segment,
                            .lpips_metric = metric.own_network});
  MemoryPlan p;
  p.missing_metric = metric.missing;
  p.recompute_segment = segment;
  p.parameters = stage.params.numel();
  for (const Param& x : stage.params.all()) p.trainable += x.trainable ? x.numel() : 0;
  for (ParamStore* n : stage.networks.stores()) p.network_parameters += n->numel();
  for (ParamStore* n : stage.metric_networks.stores()) p.metric_parameters += n->numel();
  p.forward_flops = stage.model.forward_flops();
  for (const Arena::Use& u : stage.weights.peak_uses()) p.state.push_back({std::string(u.purpose), u.bytes});
  p.state_bytes = committed(stage.weights.peak_bytes());

  Tensor terms = stage.step.empty({gslrm::kTerms}, stage.params.precision().accum, {"loss terms"});
  {
    const gslrm::Views batch = meta_batch(stage, stage.spec.image_size);
    const int crop = config.training.crop_size.value_or(stage.spec.image_size);
    const gslrm::Views target = crop < stage.spec.image_size ? meta_batch(stage, crop) : batch;
    KeptByModule modules(stage.step);
    stage.micro_batch(batch, target, config.training.losses, false, terms);
    p.modules = modules.lines();
  }
  for (const Arena::Use& u : stage.step.peak_uses()) p.peak.push_back({std::string(u.purpose), u.bytes});
  p.splat_bytes = committed(stage.splats.peak_bytes());
  if (config.validation.enabled) {   // Validation::run, without the pictures of single views
    stage.step.begin_step();
    gslrm::Views batch = meta_batch(stage, stage.spec.image_size);
    GslrmStage::Rendered r = stage.render(batch);
    if (const perceptual::LpipsLoss* lpips = stage.lpips()) {
      Ctx cx = stage.context();
      cx.saving = false;
      const Shape v = r.image.shape();
      lpips->run(cx, r.image.reshape({v[0] * v[1], v[2], v[3], 3}).rows(0, 1),
                 batch.image.reshape({v[0] * v[1], v[2], v[3], batch.image.shape()[4]}).rows(0, 1), 1, terms.rows(0, 1));
    }
    p.validation_bytes = stage.step.step_peak_bytes();
  }
  p.step_bytes = committed(stage.step.peak_bytes());
  const TrainingConfig& t = config.training;
  const std::size_t B = std::size_t(t.dataloader.batch_size_per_gpu), V = std::size_t(t.dataset.num_views);
  const std::size_t C = t.dataset.remove_alpha ? 3 : 4, S = std::size_t(stage.spec.image_size);
  const std::size_t side = std::min(S, std::size_t(t.crop_size.value_or(stage.spec.image_size)));
  p.host.push_back({"checkpoint staging", static_cast<std::size_t>(CheckpointWriter::staging_bytes(stage))});
  p.host.push_back({"batches ahead", std::size_t(t.dataloader.batches_ahead()) * B * V * C * 4 *
                                         (S * S + (side < S ? side * side : 0))});
  if (t.logging.vis_every > 0)
    p.host.push_back({"pictures", std::min(B, std::size_t(TrainingPictures::kSamples)) * V * side * side * (3 + C) * 4});
  p.library_bytes = kLibraryBytes + static_cast<std::size_t>(gemm_workspace_bytes({DeviceKind::cuda, 0}));
  return p;
}

}  // namespace

MemoryPlan plan_gslrm(const GslrmConfig& config, std::size_t memory_bytes, int segment) {
  const int published = std::max(1, config.training.runtime.grad_checkpoint_every);
  if (segment >= 0) return measure(config, segment);
  if (config.mfl.recompute == "none") return measure(config, 0);
  if (config.mfl.recompute == "block") return measure(config, published);
  MemoryPlan plain = measure(config, 0);   // auto: keep everything if that fits
  if (memory_bytes == 0 || plain.total() <= memory_bytes) return plain;
  return measure(config, published);
}

std::string human_bytes(std::size_t bytes) {
  if (bytes >= std::size_t{1} << 30) return fmt::format("{:.2f} GiB", double(bytes) / double(1 << 30));
  if (bytes >= std::size_t{1} << 20) return fmt::format("{:.1f} MiB", double(bytes) / double(1 << 20));
  return fmt::format("{:.1f} KiB", double(bytes) / 1024);
}

std::size_t parse_bytes(const std::string& s) {
  std::size_t used = 0;
  double n = 0;
  try {
    n = std::stod(s, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string unit = s.substr(used);
  unit.erase(std::remove_if(unit.begin(), unit.end(), [](char c) { return c == ' ' || c == 'i' || c == 'B' || c == 'b'; }),
             unit.end());
  const std::map<std::string, int> shift = {{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}, {"k", 10}, {"g", 30}, {"m", 20}};
  if (used == 0 || n <= 0 || !shift.contains(unit))
    throw_error<ConfigError>("\"", s, "\" is not an amount of memory; write 24G, 80GiB or a number of bytes");
  return static_cast<std::size_t>(n * double(std::size_t{1} << shift.at(unit)));
}

std::string describe(const GslrmConfig& config, const MemoryPlan& p, std::size_t memory_bytes) {
  const TrainingConfig& t = config.training;
  std::string out;
  auto line = [&](const std::string& s) { out += s + "\n"; };
  auto row = [&](const std::string& what, std::size_t bytes, const std::string& note = "") {
    line(fmt::format("  {:<34}{:>12}  {}", what, human_bytes(bytes), note));
  };
  const gslrm::ModelSpec spec = gslrm::ModelSpec::from(config.model, t.dataset.num_input_views);
  line(fmt::format("GS-LRM: {} parameters, {} trainable; loss networks {}{}", p.parameters, p.trainable, p.network_parameters,
                   p.metric_parameters ? fmt::format("; LPIPS of validation {}", p.metric_parameters) : ""));
  if (!p.missing_metric.empty()) line("validation reports no LPIPS. " + p.missing_metric);
  line(fmt::format("a sample: {} input and {} target views of {}x{}, {} tokens, {} Gaussians, {:.2f} TFLOP forward",
                   t.dataset.num_input_views, t.dataset.num_views, spec.image_size, spec.image_size, spec.tokens(),
                   spec.gaussians(), p.forward_flops * 1e-12));
  line(fmt::format("a step: batch {} x {} micro-batches, compute {}, {}", t.dataloader.batch_size_per_gpu,
                   t.runtime.grad_accum_steps, name_of(config.compute()),
                   p.recompute_segment == 0 ? std::string("all activations kept")
                                            : fmt::format("blocks recomputed in segments of {}", p.recompute_segment)));
  line("state");
  for (const auto& l : p.state) row(l.what, l.bytes);
  line("kept for backward, by module");
  for (const auto& l : p.modules) row(l.what, l.bytes, l.times > 1 ? fmt::format("{} x {}", l.times, human_bytes(l.bytes / std::size_t(l.times))) : "");
  line("at the peak of the step, by purpose");
  for (std::size_t i = 0; i < p.peak.size() && i < 14; ++i) row(p.peak[i].what, p.peak[i].bytes);
  line("device memory");
  row("state", p.state_bytes);
  row("activations, peak", p.step_bytes, p.validation_bytes ? fmt::format("validating: {}", human_bytes(p.validation_bytes)) : "");
  row("rasterizer", p.splat_bytes, "grows with the scene: this is one full depth chunk");
  row("CUDA and libraries", p.library_bytes);
  row("total", p.total());
  line("pinned host memory");
  for (const auto& l : p.host) row(l.what, l.bytes);
  if (memory_bytes == 0) return out;
  const bool fits = p.total() <= memory_bytes;
  line(fmt::format("{} in {}: {} {}", fits ? "fits" : "DOES NOT FIT", human_bytes(memory_bytes),
                   human_bytes(fits ? memory_bytes - p.total() : p.total() - memory_bytes), fits ? "to spare" : "too much"));
  if (!fits) {
    if (p.recompute_segment == 0) line("  mfl.recompute=block would keep only the input of every block");
    if (t.dataloader.batch_size_per_gpu > 1)
      line(fmt::format("  training.dataloader.batch_size_per_gpu=1 with training.runtime.grad_accum_steps={} gives the same update",
                       t.runtime.grad_accum_steps * t.dataloader.batch_size_per_gpu));
    if (t.losses.lpips_loss_weight > 0 || t.losses.perceptual_loss_weight > 0)
      line("  LPIPS and perceptual weights of 0 leave their networks out");
    line("  a smaller model.image_tokenizer.image_size or fewer training.dataset.num_input_views");
  }
  return out;
}

}  // namespace mfl
