// mfl_convert: checkpoints and network weights, looked into and converted.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "models/mvdiffusion/tiny_pipeline.h"
#include "models/mvdiffusion/folder_info.h"
#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "models/weights/loss_networks.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"
#include "runtime/io/zip.h"
#include "runtime/log.h"

namespace mfl {
namespace {

using io::NamedStored;

std::string human(std::uint64_t bytes) {
  char s[32];
  if (bytes < 10'000)
    std::snprintf(s, sizeof s, "%llu B", static_cast<unsigned long long>(bytes));
  else if (bytes < 10'000'000)
    std::snprintf(s, sizeof s, "%.1f kB", static_cast<double>(bytes) / 1e3);
  else
    std::snprintf(s, sizeof s, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return s;
}

struct List {
  std::string file;
  bool json = false;

  void run() const {
    if (std::filesystem::is_directory(file)) {
      if (json) throw_error<ConfigError>("--json lists the tensors of a file; ", file, " is a folder.");
      std::cout << mvdiffusion::describe_folder(file) << '\n';
      return;
    }
    const io::WeightFile f = io::open_weights(file);
    nlohmann::ordered_json lines = nlohmann::ordered_json::array();
    std::size_t longest = 4;
    std::uint64_t total = 0;
    for (const NamedStored& t : f.tensors) longest = std::max(longest, t.name.size()), total += t.tensor.bytes();
    for (const NamedStored& t : f.tensors) {
      if (json) {
        lines.push_back({{"name", t.name},
                         {"dtype", io::name_of(t.tensor.type())},
                         {"shape", std::vector<std::int64_t>(t.tensor.shape.begin(), t.tensor.shape.end())},
                         {"bytes", t.tensor.bytes()},
                         {"row_major", t.tensor.contiguous()}});
        continue;
      }
      std::cout << t.name << std::string(longest + 2 - t.name.size(), ' ') << text(t.tensor.type()) << "  "
                << t.tensor.shape << "  " << human(t.tensor.bytes()) << (t.tensor.contiguous() ? "" : "  (strided)")
                << '\n';
    }
    if (json)
      std::cout << lines.dump(1) << '\n';
    else
      std::cout << f.tensors.size() << " tensors, " << human(total) << ", " << f.format << '\n';
  }
};

struct Verify {
  std::vector<std::string> paths;

  void run() const {
    for (const std::string& path : paths) {
      if (std::filesystem::is_directory(path)) {
        std::cout << path << ": " << mvdiffusion::verify_folder(path) << '\n';
        continue;
      }
      const io::Source source = io::open_file(path);
      const bool zip = io::is_zip(io::head(*source, 8));
      if (zip) io::ZipReader(source).verify();
      std::cout << path << ": " << io::open_weights(path).tensors.size() << " tensors; "
                << (zip ? "every entry has its CRC" : "the format records no checksums, its index fits the file") << '\n';
    }
  }
};

struct Convert {
  std::string from, to, dtype;
  std::vector<std::string> keep, drop;
  bool model_only = false;

  void run() const {
    io::WeightFile f = model_only ? io::open_model_weights(from) : io::open_weights(from);
    auto begins = [](const NamedStored& t, const std::vector<std::string>& prefixes) {
      return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& p) { return t.name.starts_with(p); });
    };
    const std::size_t before = f.tensors.size();
    std::erase_if(f.tensors,
                  [&](const NamedStored& t) { return begins(t, drop) || (!keep.empty() && !begins(t, keep)); });
    if (f.tensors.empty())
      throw_error<ConfigError>("none of the ", before, " tensors of ", from,
                               " is left after --keep and --drop; mfl_convert list ", from, " shows their names.");
    std::vector<Tensor> held;  // converted copies, alive until they are written
    if (!dtype.empty()) {
      const DType wanted = dtype == "f32" ? DType::f32 : dtype == "bf16" ? DType::bf16 : DType::f64;
      for (NamedStored& t : f.tensors) {
        const io::StoredType type = t.tensor.type();
        if (type != io::StoredType::f64 && type != io::StoredType::f32 && type != io::StoredType::bf16 &&
            type != io::StoredType::f16)
          continue;
        held.push_back(io::load(t.tensor, wanted, t.name));
        t.tensor = io::stored(ConstView(held.back()));
      }
    }
    write(to, f.tensors);
    std::cout << to << ": " << f.tensors.size() << " of " << before << " tensors\n";
  }
  // By the name's ending: .safetensors, or a flat state dict for .pt, .pth and .bin.
  static void write(const std::filesystem::path& to, const std::vector<NamedStored>& tensors) {
    if (to.extension() == ".safetensors") return io::write_safetensors(to, tensors, {{"format", "pt"}});
    if (to.extension() != ".pt" && to.extension() != ".pth" && to.extension() != ".bin")
      throw_error<ConfigError>("the output ", to.string(), " should end in .safetensors, .pt, .pth or .bin.");
    io::Value dict = io::Value::ordered_dict();
    for (const NamedStored& t : tensors) dict.set(t.name, io::row_major(t.tensor));
    io::write_torch_file(to, dict);
  }
};

struct ExtractLosses {
  std::string to;
  weights::LossNetworkSources sources;
  bool perceptual = false, lpips = false;

  void run() const {
    const bool both = !perceptual && !lpips;
    const Stream stream = Stream::create(kCpu, "convert");
    Arena arena(kCpu, std::size_t{1} << 30, "loss networks");
    ParamStore store(arena, Precision::of(DType::f32), /*gradients=*/false);
    std::optional<mfl::perceptual::LpipsLoss> l;
    std::optional<mfl::perceptual::PerceptualLoss> p;
    if (lpips || both) l.emplace(Scope{store, std::string(mfl::perceptual::LpipsLoss::kScope)});
    if (perceptual || both) p.emplace(Scope{store, std::string(mfl::perceptual::PerceptualLoss::kScope)});
    store.seal(stream);
    weights::load_loss_networks(stream, store, sources);
    if (l) l->prepare(stream, arena, DType::f32);  // the scaling constants and the aliases of the heads
    std::vector<NamedStored> all;
    for (const Param& param : store.all()) all.push_back({param.name, io::stored(ConstView(param.value))});
    Convert::write(to, all);
    std::cout << to << ": " << all.size() << " tensors\n";
  }
};

struct MakeTinyPipeline {
  std::string to;
  mvdiffusion::TinyPipeline tiny;
  bool published_sizes = false;

  void run() const {
    if (published_sizes) mvdiffusion::write_full_size_pipeline(to, tiny.seed);
    else mvdiffusion::write_tiny_pipeline(to, tiny);
    const std::int64_t side = published_sizes ? 512 : tiny.image;
    std::cout << to << ": a pipeline for images of " << side << " x " << side << "; prompt embeddings in "
              << mvdiffusion::tiny_prompts(to).string() << '\n';
  }
};

int run(int argc, char** argv) {
  CLI::App app(
      "Checkpoints and network weights: what is in a file, and the same in another format.\n"
      "Reads safetensors, torch.save (.pt, .pth, .bin; old and new) and MatConvNet (.mat); writes safetensors and\n"
      "torch.save files. Formats are told by content. Nothing in a file is ever executed.");
  app.require_subcommand(1);

  List list;
  CLI::App* c = app.add_subcommand("list", "names, types, shapes and bytes of every tensor; what a folder of weights is");
  c->add_option("FILE", list.file, "file of weights; or a folder: a checkpoint-N, a pipeline, a component of one")->required();
  c->add_flag("--json", list.json, "as JSON");
  c->callback([&] { list.run(); });

  Verify verify;
  c = app.add_subcommand("verify", "read files whole: sizes and checksums as recorded, or the structure of the format");
  c->add_option("PATH", verify.paths, "checkpoint files (.pt, .safetensors) and folders (checkpoint-N, pipelines)")->required();
  c->callback([&] { verify.run(); });

  Convert convert;
  c = app.add_subcommand("convert", "write a file's tensors in another format, row-major");
  c->add_option("FROM", convert.from, "file of weights")->required();
  c->add_option("TO", convert.to, "new file: .safetensors, .pt, .pth or .bin")->required();
  c->add_option("--dtype", convert.dtype, "type of the floating-point tensors; default: as they are")
      ->check(CLI::IsMember({"f64", "f32", "bf16"}));
  c->add_option("--keep", convert.keep, "only names that begin with this; may be repeated")->allow_extra_args(false);
  c->add_option("--drop", convert.drop, "not the names that begin with this; may be repeated")->allow_extra_args(false);
  c->add_flag("--model", convert.model_only, "of a training checkpoint only the model, without \"model.\" in front");
  c->callback([&] { convert.run(); });

  Convert strip;
  strip.model_only = true;
  strip.drop = {"loss_calculator."};
  c = app.add_subcommand("strip", "the model of a training checkpoint: no optimizer, no scheduler, no loss networks");
  c->add_option("FROM", strip.from, "training checkpoint")->required();
  c->add_option("TO", strip.to, "new file: .safetensors, .pt, .pth or .bin")->required();
  c->add_option("--dtype", strip.dtype, "type of the tensors; default: as they are")
      ->check(CLI::IsMember({"f64", "f32", "bf16"}));
  c->callback([&] { strip.run(); });

  ExtractLosses extract;
  c = app.add_subcommand(
      "extract-losses",
      "the frozen loss networks (VGG19 of the perceptual loss, LPIPS) from their published files or a\n"
      "checkpoint into one file, for mfl.weights.{vgg19,vgg16,lpips}");
  c->add_option("TO", extract.to, "new file: .safetensors, .pt, .pth or .bin")->required();
  c->add_option("--vgg19", extract.sources.vgg19, "imagenet-vgg-verydeep-19.mat");
  c->add_option("--vgg16", extract.sources.vgg16, "vgg16-397923af.pth of torchvision");
  c->add_option("--lpips", extract.sources.lpips, "vgg.pth of lpips v0.1");
  c->add_option("--checkpoint", extract.sources.checkpoints, "training checkpoint that holds them")->expected(1);
  c->add_flag("--only-perceptual", extract.perceptual, "only the VGG19");
  c->add_flag("--only-lpips", extract.lpips, "only LPIPS");
  c->callback([&] { extract.run(); });

  MakeTinyPipeline make;
  c = app.add_subcommand("tiny-pipeline",
                         "a whole MVDiffusion pipeline folder without published weights: a narrow UNet to train from scratch,\n"
                         "an autoencoder that is the identity on pixels, a random narrow CLIP, prompt embeddings");
  c->add_option("-o,--output", make.to, "new folder")->required();
  c->add_option("--image_size", make.tiny.image, "side of images and latents")->check(CLI::Range(8, 1024))->capture_default_str();
  c->add_option("--widths", make.tiny.widths, "channels of the UNet's levels, multiples of 32")->capture_default_str();
  c->add_option("--layers", make.tiny.layers, "residual blocks of a level")->check(CLI::Range(1, 8))->capture_default_str();
  c->add_flag("--published_sizes", make.published_sizes, "the published networks' sizes, fresh weights all: 6.4 GB, to measure memory and time")
      ->excludes("--image_size", "--widths", "--layers");
  c->add_option("--seed", make.tiny.seed, "of the weights and prompts")->capture_default_str();
  c->callback([&] { make.run(); });

  try {
    app.parse(argc, argv);
    return kExitOk;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitConfig;
  } catch (const std::exception& e) {
    std::cerr << "mfl_convert: " << e.what() << '\n';
    return exit_code(e);
  }
}

}  // namespace
}  // namespace mfl

int main(int argc, char** argv) { return mfl::run(argc, argv); }
