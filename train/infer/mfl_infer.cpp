// mfl_infer: an image in, its views out. (The second stage, --gslrm, joins them to a 3D animal.)
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/sha256.h"
#include "models/weights/loss_networks.h"
#include "runtime/log.h"
#include "train/infer/generate.h"
#include "train/infer/input_image.h"
#include "train/infer/pipeline_argument.h"
#include "train/mvdiffusion/view_set.h"
#include "train/plan.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;
using mvdiffusion::ReferenceRule;
using mvdiffusion::ViewPipeline;
using mvdiffusion::ViewPipelineOptions;

struct Arguments {
  std::vector<std::string> images;
  std::string dataset, split, pipeline, unet, prompts, out, device = "auto", compute = "bf16", encoders = "bf16", sampler = "ddim", order = "fixed",
                              background = "white", vgg16, lpips, memory;
  std::string reference = "0";
  int steps = 50;
  double guidance = 3, eta = 1;
  std::uint64_t seed = 42;
  std::int64_t batch = 1, limit = 0;
  bool plan = false;
};

DType dtype(const std::string& s) { return s == "f32" ? DType::f32 : DType::bf16; }

std::array<double, 3> background(const std::string& s) {
  const data::Background b = data::parse_background(s);
  if (b.kind != data::Background::Kind::constant)
    throw_error<ConfigError>("--background ", s, ": expected white, black, gray or a number from 0 to 1; nothing is drawn at random here.");
  return {b.value, b.value, b.value};
}

ReferenceRule rule(const std::string& s) {
  return s == "random" ? ReferenceRule::random : s == "ring" ? ReferenceRule::ring : ReferenceRule::fixed;
}

// Path, size and time of a component's weights: enough to see that they were exchanged.
nlohmann::ordered_json identity(const fs::path& folder) {
  const fs::path file = mvdiffusion::component_weights(folder);
  return {{"file", fs::absolute(file).lexically_normal().string()},
          {"bytes", fs::file_size(file)},
          {"time", std::chrono::duration_cast<std::chrono::seconds>(std::chrono::file_clock::to_sys(fs::last_write_time(file)).time_since_epoch()).count()}};
}

ViewSet image_set(const Arguments& a, std::int64_t side, GenerateOptions& g) {
  struct Image {
    ViewSample sample;
    std::string sha256;
  };
  auto images = std::make_shared<std::vector<Image>>();
  for (const std::string& path : a.images) {
    const InputImage im = read_input_image(path, side, background(a.background));
    const std::string name = fs::path(path).stem().string();
    for (const Image& other : *images)
      if (other.sample.name == name)
        throw_error<ConfigError>("Two images are called ", name, "; their views would lie in one folder. Give them one at a time, each with its own --out.");
    Image& image = images->emplace_back();
    image.sha256 = im.sha256;
    image.sample.name = name;
    image.sample.noise = noise_number(im.pixels);
    image.sample.reference = im.pixels;
    image.sample.prompts = {0, 1, 2, 3, 4, 5};
  }
  auto at = [images](std::int64_t i) -> const Image& { return (*images)[static_cast<std::size_t>(i)]; };
  g.source = [at](std::int64_t i) { return at(i).sha256; };
  g.in_place = images->size() == 1;
  return {static_cast<std::int64_t>(images->size()), [at](std::int64_t i) { return at(i).sample; }, [at](std::int64_t i) { return at(i).sample.name; }};
}

ViewSet packed_set(const Arguments& a, std::int64_t side, int views, nlohmann::ordered_json& settings, GenerateOptions& g) {
  std::string path = a.dataset;
  if (!a.split.empty()) {
    if (path.find('#') != std::string::npos)
      throw_error<ConfigError>("--dataset ", path, " names a split already; leave --split out.");
    path += "#" + a.split;
  }
  auto reader = std::make_shared<const data::ViewReader>(path);
  if (reader->size() == 0) throw_error<DataError>(path, " has no samples.");
  settings["reference"] = a.reference, settings["view_order"] = a.order;
  g.source = [reader](std::int64_t sample) {
    data::Sha256 all;
    for (int v = 0; v < reader->views(sample); ++v) {
      const data::Hash& h = reader->pixel_hash(sample, v);
      all.add(h.data(), h.size());
    }
    return data::hex(all.finish());
  };
  std::optional<int> reference;
  if (a.reference != "random") try {
      reference = std::stoi(a.reference);
    } catch (const std::exception&) {
      throw_error<ConfigError>("--reference ", a.reference, ": expected the index of a view, or random.");
    }
  return packed_view_set(std::move(reader), {.image_size = side, .views = views, .rule = rule(a.order), .reference = reference,
                                             .background = background(a.background), .seed = a.seed, .limit = a.limit});
}

// LPIPS of its own precision and memory, where the weights are given.
struct LpipsNetwork {
  Arena weights;
  ParamStore store;
  perceptual::LpipsLoss loss;
  LpipsNetwork(const Stream& s, DType compute, const weights::LossNetworkSources& sources)
      : weights(s.device(), std::size_t{2} << 30, "lpips"), store(weights, Precision::of(compute), false),
        loss(Scope{store, std::string(perceptual::LpipsLoss::kScope)}) {
    store.seal(s);
    weights::load_loss_networks(s, store, sources);
    loss.prepare(s, weights, compute);
  }
};

int plan(const Arguments& a, const mvdiffusion::PipelineFiles& files, ViewPipelineOptions o, const mvdiffusion::SamplerConfig& sampler) {
  o.device = kMeta;
  ViewPipeline dry(files, o);
  const Tensor image = Tensor::on_heap({dry.image_size(), dry.image_size(), 3}, DType::u8);
  std::vector<int> prompts(static_cast<std::size_t>(dry.views()), 0);
  mvdiffusion::SamplerConfig two = sampler;
  two.steps = std::min(two.steps, 2);
  dry.sample(std::vector<ViewPipeline::Request>(static_cast<std::size_t>(o.batch), {image, 0, prompts}), two, 0);
  // Context, cuDNN and cuBLAS take about this beside the arenas.
  constexpr std::size_t kLibraries = std::size_t{800} << 20;
  const std::size_t all = dry.weight_bytes() + dry.sampling_bytes() + kLibraries;
  std::cout << "weights " << human_bytes(dry.weight_bytes()) << ", sampling " << o.batch << " at a time " << human_bytes(dry.sampling_bytes())
            << ", CUDA's libraries about " << human_bytes(kLibraries) << ": " << human_bytes(all) << '\n';
  if (a.memory.empty()) return kExitOk;
  const std::size_t limit = parse_bytes(a.memory);
  std::cout << (all <= limit ? "fits" : "does not fit") << " in " << human_bytes(limit)
            << (all <= limit || o.batch == 1 ? "" : "; a smaller --batch needs less") << '\n';
  return all <= limit ? kExitOk : kExitMemory;
}

int run(const Arguments& a) {
  if (a.images.empty() == a.dataset.empty()) throw_error<ConfigError>("Give either --image or --dataset.");
  const mvdiffusion::PipelineFiles files = open_pipeline(a.pipeline);
  ViewPipelineOptions o{.compute = dtype(a.compute), .encoders = dtype(a.encoders), .unet = a.unet, .prompts = find_prompts(a.prompts, files),
                        .batch = a.batch};
  GenerateOptions g;
  g.sampler.kind = a.sampler == "dpm" ? mvdiffusion::SamplerKind::dpm_solver : mvdiffusion::SamplerKind::ddim;
  g.sampler.steps = a.steps, g.sampler.guidance = a.guidance, g.sampler.eta = g.sampler.kind == mvdiffusion::SamplerKind::ddim ? a.eta : 0;
  g.seed = a.seed;
  g.folder = a.out;
  if (a.plan) return plan(a, files, o, g.sampler);
  if (a.out.empty()) throw_error<ConfigError>("--out is missing: the folder for the views.");

  Device wanted = kCpu;
  if (a.device == "auto") wanted = cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : kCpu;
  else wanted = parse_device(a.device);
  const auto comm = make_communicator(wanted);
  set_log_rank(comm->rank(), comm->size());
  return run_rank(*comm, [&] {
    o.device = comm->device();
    ViewPipeline pipeline(files, o);
    nlohmann::ordered_json settings = {{"pipeline", fs::absolute(files.folder()).lexically_normal().string()},
                                       {"unet", identity(a.unet.empty() ? files.component("unet") : mvdiffusion::component_folder(a.unet, "unet"))},
                                       {"prompts", fs::absolute(o.prompts).lexically_normal().string()},
                                       {"compute", a.compute}, {"encoders", a.encoders}, {"background", a.background}};
    if (!a.vgg16.empty() || !a.lpips.empty()) settings["lpips"] = {a.vgg16, a.lpips};
    const ViewSet set = a.dataset.empty() ? image_set(a, pipeline.image_size(), g)
                                          : packed_set(a, pipeline.image_size(), static_cast<int>(pipeline.views()), settings, g);
    g.settings = settings.dump();
    std::optional<LpipsNetwork> lpips;
    if (!a.vgg16.empty() || !a.lpips.empty())
      lpips.emplace(pipeline.stream(), o.compute, weights::LossNetworkSources{.vgg16 = a.vgg16, .lpips = a.lpips});
    const Generated made = generate_views(pipeline, set, *comm, g, lpips ? &lpips->loss : nullptr);
    if (comm->rank() != 0) return int(kExitOk);
    std::string line = fmt::format("{}: views of {} object{}", a.out, made.made, made.made == 1 ? "" : "s");
    if (made.finished_before > 0) line += fmt::format(", {} were there", made.finished_before);
    for (const auto& [name, value] : made.means) line += fmt::format(", {} {:.4f}", name, value);
    std::cout << line << '\n';
    return int(kExitOk);
  });
}

int main_(int argc, char** argv) {
  CLI::App app(
      "Views of an animal from one image (MVDiffusion). Of a packed set, compared with the truth; alone, under mpirun, or under srun.");
  app.footer("Exit codes: 0 done, 2 command line, 3 image, data set or weights, 4 memory, 5 device, 6 communication.\n"
             "What is finished is left alone: the same command again goes on where it stopped.");
  Arguments a;
  app.add_option("--image", a.images, "image file (PNG or JPEG); RGBA with a transparent background. May be repeated")->allow_extra_args(false);
  app.add_option("--dataset", a.dataset, "packed file or list of packed files (data/FORMAT.md)");
  app.add_option("--split", a.split, "of the data set")->check(CLI::IsMember({"train", "val", "test"}));
  app.add_option("--limit", a.limit, "the first samples of the data set only")->check(CLI::Range(1, 1 << 30));
  app.add_option("--mvdiffusion", a.pipeline, "pipeline folder in the diffusers layout, or a run's folder with pipeckpts/")->required();
  app.add_option("--unet", a.unet, "another UNet, such as checkpoint-N/unet_ema");
  app.add_option("--prompts", a.prompts, "prompt embeddings; default: prompt_embeds/clr_embeds.pt of the pipeline");
  app.add_option("-o,--out", a.out, "folder for views/, grid.png, views.json, metrics.json");
  app.add_option("--steps", a.steps, "of the sampler")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--guidance", a.guidance, "1: none")->check(CLI::Range(0.0, 100.0))->capture_default_str();
  app.add_option("--sampler", a.sampler, "ddim, or dpm (DPM-Solver++ 2M, good from about 20 steps)")->check(CLI::IsMember({"ddim", "dpm"}))->capture_default_str();
  app.add_option("--eta", a.eta, "of ddim: share of ancestral noise")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--seed", a.seed, "of the noise; an image's noise depends on it and the image only")->capture_default_str();
  app.add_option("--reference", a.reference, "of a data set: the view that is given to the network, or random")->capture_default_str();
  app.add_option("--view-order", a.order,
                 "of a data set: fixed (views keep their slots), random (views rotate by index so that the reference is in slot 0, and keep\n"
                 "their prompts) or ring (they rotate along the ring, slots keep their prompts)")
      ->check(CLI::IsMember({"fixed", "random", "ring"}))->capture_default_str();
  app.add_option("--background", a.background, "white, black, gray or a number from 0 to 1")->capture_default_str();
  app.add_option("--batch", a.batch, "objects in flight; changes no result")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--compute", a.compute, "of the UNet")->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  app.add_option("--encoders", a.encoders, "compute type of VAE and CLIP")->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  app.add_option("--device", a.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--vgg16", a.vgg16, "for LPIPS: vgg16-397923af.pth, or formula");
  app.add_option("--lpips", a.lpips, "for LPIPS: vgg.pth of lpips v0.1, or formula");
  app.add_flag("--plan", a.plan, "print the memory that is needed; needs no GPU and no images");
  app.add_option("--gpu-memory", a.memory, "for --plan: the device's memory, such as 12G");
  try {
    app.parse(argc, argv);
    return run(a);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitConfig;
  } catch (const std::exception& e) {
    log_error(e.what());
    return exit_code(e);
  }
}

}  // namespace
}  // namespace mfl::infer

int main(int argc, char** argv) { return mfl::infer::main_(argc, argv); }
