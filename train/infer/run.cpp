#include "train/infer/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "data/dataset.h"
#include "data/sample_folder.h"
#include "data/sha256.h"
#include "models/mvdiffusion/prompts.h"
#include "models/weights/loss_networks.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/sole_writer.h"
#include "runtime/log.h"
#include "train/infer/frames.h"
#include "train/infer/generate.h"
#include "train/infer/gslrm_argument.h"
#include "train/infer/input_image.h"
#include "train/infer/pipeline_argument.h"
#include "train/infer/plan.h"
#include "train/infer/rank_references.h"
#include "train/infer/reconstruct_scenes.h"
#include "train/memory_plan.h"
#include "train/mvdiffusion/view_set.h"
#include "train/training_data.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;
using mvdiffusion::ReferenceRule;
using mvdiffusion::ViewPipeline;
using mvdiffusion::ViewPipelineOptions;
using nlohmann::ordered_json;

DType dtype(const std::string& s) { return s == "f32" ? DType::f32 : DType::bf16; }

ReferenceRule rule(const std::string& s) { return s == "random" ? ReferenceRule::random : s == "ring" ? ReferenceRule::ring : ReferenceRule::fixed; }

fs::path clean(const fs::path& p) { return fs::absolute(p).lexically_normal(); }

// Path, size and time of a file: enough to see that it was exchanged.
ordered_json identity(const fs::path& file) {
  return {{"file", clean(file).string()},
          {"bytes", fs::file_size(file)},
          {"time", std::chrono::duration_cast<std::chrono::seconds>(std::chrono::file_clock::to_sys(fs::last_write_time(file)).time_since_epoch()).count()}};
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

// A run: what was asked for, and what both stages share.
class Run {
 public:
  explicit Run(const Arguments& a) : a_(a) {
    check_arguments();
    part_ = parse_part(a.part);
    if (!a.pipeline.empty()) pipeline_.emplace(open_pipeline(a.pipeline));
    if (!a.gslrm.empty() || (a.plan && !a.config.empty())) gslrm_.emplace(open_gslrm(a.gslrm, a.config));
    background_name_ = a.background;
    if (a.background.empty()) {
      const std::string of_model = gslrm_ ? gslrm_->config.training.dataset.background_color : std::string("white");
      background_name_ = data::parse_background(of_model).kind == data::Background::Kind::constant ? of_model : "white";
    }
    const data::Background b = data::parse_background(background_name_);
    if (b.kind != data::Background::Kind::constant)
      throw_error<ConfigError>("--background ", background_name_, ": expected white, black, gray or a number from 0 to 1; nothing is drawn at random here.");
    background_ = {b.value, b.value, b.value};
    if (pipeline_) {
      views_options_ = {.compute = dtype(a.compute), .encoders = dtype(a.encoders), .unet = a.unet, .prompts = find_prompts(a.prompts, *pipeline_), .batch = a.batch};
      sampler_.kind = a.sampler == "dpm" ? mvdiffusion::SamplerKind::dpm_solver : mvdiffusion::SamplerKind::ddim;
      sampler_.steps = a.steps, sampler_.guidance = a.guidance, sampler_.eta = sampler_.kind == mvdiffusion::SamplerKind::ddim ? a.eta : 0;
    }
    if (gslrm_) {
      const MflConfig::Render& render = gslrm_->config.mfl.render;
      const int side = gslrm_->config.model.image_tokenizer.image_size;
      outputs_.strip = {.views = a.turntable_views > 0 ? a.turntable_views : render.turntable_views,
                        .size = a.turntable_size > 0 ? a.turntable_size : render.turntable_size, .hfov = render.hfov, .elevation = render.elevation};
      outputs_.film = {.views = render.video_views, .size = a.turntable_size > 0 ? a.turntable_size : render.video_size > 0 ? render.video_size : side,
                       .hfov = render.hfov, .elevation = render.elevation};
      outputs_.film.size += outputs_.film.size % 2;   // of H.264's colours
      outputs_.film_rate = render.video_fps;
      outputs_.video = a.video, outputs_.viewer = a.viewer;
      outputs_.filters = a.filters == "none"      ? gslrm::Filters{}
                         : a.filters == "visuals" ? gslrm::Filters::visuals()
                         : a.filters == "evaluation" ? gslrm::Filters::evaluation(gslrm_->config.model)
                                                     : gslrm::Filters::inference();
      outputs_.filters.scaling_modifier = float(gslrm_->config.model.gaussians.scaling_modifier.value_or(1));
      outputs_.crop_animal = a.crop_animal, outputs_.prune_visibility = a.prune_visibility;
      outputs_.ply = a.ply == "3dgs" ? gslrm::PlyLayout::inria : gslrm::PlyLayout::published;
      outputs_.splat = a.splat, outputs_.spz = a.spz;
      outputs_.turntable = a.turntable == "reference" ? TurntableKind::reference : a.turntable == "dataset" ? TurntableKind::dataset : TurntableKind::orbit;
      outputs_.mask_threshold = gslrm_->config.training.losses.mask_iou_threshold;
      outputs_.folder = a.out;
    }
  }

  int plan() const;
  int run(Communicator&);

 private:
  void check_arguments() const;
  // Of a set of objects, those of --part: k -> first + k * step.
  struct Part {
    std::int64_t first = 0, step = 1;
    std::int64_t size(std::int64_t all) const { return all > first ? (all - first + step - 1) / step : 0; }
    template <class F>
    F of(const F& f) const {
      if (!f) return f;
      return [f, p = *this](std::int64_t k) { return f(p.first + k * p.step); };
    }
  };
  static Part parse_part(const std::string&);
  SceneSet part_of(const SceneSet& all) const { return {part_.size(all.size), part_.of(all.scene), part_.of(all.name), part_.of(all.source)}; }
  void check_files() const;
  bool lpips() const { return !a_.vgg16.empty() || !a_.lpips.empty(); }
  weights::LossNetworkSources lpips_sources() const { return {.vgg16 = a_.vgg16, .lpips = a_.lpips}; }
  int input_views() const { return a_.input_views > 0 ? a_.input_views : gslrm_->config.training.dataset.num_input_views; }
  ReconstructorOptions reconstructor_options() const { return {.compute = dtype(a_.compute), .input_views = input_views()}; }
  SceneOptions scene_options() const {
    return {.side = gslrm_->config.model.image_tokenizer.image_size, .input_views = input_views(), .background = background_,
            .normalise = dataset_options(gslrm_->config, false).normalise};
  }

  ViewSet image_set(std::int64_t side, GenerateOptions&) const;
  ViewSet frame_set(std::int64_t side, GenerateOptions&) const;
  ViewSet packed_set(std::int64_t side, int views, ordered_json& settings, GenerateOptions&);
  void open_dataset();

  std::optional<SceneSet> make_views(Communicator&, int& code);   // stage 1
  SceneSet scenes_without_views();
  int reconstruct(const SceneSet&, Communicator&);                // stage 2

  const Arguments& a_;
  Part part_;
  std::optional<mvdiffusion::PipelineFiles> pipeline_;
  std::optional<GslrmFiles> gslrm_;
  std::string background_name_;
  std::array<double, 3> background_{1, 1, 1};
  ViewPipelineOptions views_options_;
  mvdiffusion::SamplerConfig sampler_;
  SceneOutputs outputs_;
  std::shared_ptr<const data::ViewReader> reader_;   // of --dataset
  ViewSetOptions view_rule_;
  FileHashes hashes_;
  Timings timings_;
};

// Do these --views come with cameras of their own, as given_views finds them?
bool has_cameras(const fs::path& views) {
  std::error_code none;
  return !views.empty() && (fs::is_directory(views, none) ? fs::exists(views / data::kCameraFile, none) : views.extension() == ".json");
}

void Run::check_arguments() const {
  const int inputs = int(!a_.images.empty()) + int(!a_.views.empty()) + int(!a_.dataset.empty()) + int(!a_.sequence.empty());
  if (a_.pipeline.empty() && a_.gslrm.empty() && !(a_.plan && !a_.config.empty()))
    throw_error<ConfigError>("No model is given: --mvdiffusion makes views of an image, --gslrm makes Gaussians of views; both make a 3D animal of an image.");
  if (a_.plan) return;
  if (inputs != 1)
    throw_error<ConfigError>("Give either --image or --dataset, --views or --sequence: one of the four, not ", inputs == 0 ? "none" : "several", ".");
  if (!a_.views.empty() && !a_.pipeline.empty())
    throw_error<ConfigError>("--views gives the views, so --mvdiffusion has nothing to make: leave it out, or give an --image instead.");
  if (a_.pipeline.empty() && (!a_.images.empty() || !a_.sequence.empty()))
    throw_error<ConfigError>(a_.images.empty() ? "--sequence" : "--image", " needs --mvdiffusion, the pipeline that makes six views of one image. Six views that are there are given with --views.");
  if (a_.gslrm.empty() && !a_.views.empty()) throw_error<ConfigError>("--views needs --gslrm, the checkpoint that makes Gaussians of them.");
  if (!a_.mask_video.empty() && a_.sequence.empty()) throw_error<ConfigError>("--mask_video belongs to --sequence.");
  if (!a_.split.empty() && a_.dataset.empty()) throw_error<ConfigError>("--split belongs to --dataset.");
  if (a_.rank_references && (a_.dataset.empty() || a_.pipeline.empty()))
    throw_error<ConfigError>("--rank-references needs --dataset, whose views are the truth, and --mvdiffusion, which makes views of each.");
  if (!a_.part.empty() && ((a_.dataset.empty() && a_.sequence.empty()) || a_.rank_references))
    throw_error<ConfigError>("--part belongs to --dataset or --sequence, without --rank-references, which needs all samples at once.");
  if (a_.out.empty()) throw_error<ConfigError>("--out is missing: the folder for what is made.");

  // What would be ignored, or noticed only after the views are made.
  const auto belongs = [](bool said, const char* option, bool fits, const char* to) {
    if (said && !fits) throw_error<ConfigError>(option, " belongs to ", to, ", which is not given.");
  };
  const bool photos = !a_.images.empty() || !a_.sequence.empty(), second = !a_.gslrm.empty(), first = !a_.pipeline.empty();
  belongs(a_.limit > 0, "--limit", !a_.dataset.empty(), "--dataset");
  belongs(a_.start > 0, "--start", !a_.sequence.empty(), "--sequence");
  belongs(a_.end >= 0, "--end", !a_.sequence.empty(), "--sequence");
  belongs(a_.interval != 1, "--interval", !a_.sequence.empty(), "--sequence");
  belongs(a_.reference != "0", "--reference", !a_.dataset.empty() && first, "--dataset with --mvdiffusion");
  belongs(a_.order != "fixed", "--view-order", !a_.dataset.empty() && first, "--dataset with --mvdiffusion");
  belongs(!a_.unet.empty(), "--unet", first, "--mvdiffusion");
  belongs(!a_.prompts.empty(), "--prompts", first, "--mvdiffusion");
  belongs(!a_.config.empty(), "--config", second, "--gslrm");
  belongs(a_.input_views > 0, "--input-views", second, "--gslrm");
  belongs(a_.splat, "--splat", second, "--gslrm");
  belongs(a_.spz, "--spz", second, "--gslrm");
  belongs(a_.ply != "published", "--ply", second, "--gslrm");
  belongs(a_.filters != "inference", "--filters", second, "--gslrm");
  belongs(a_.crop_animal, "--crop-animal", second, "--gslrm");
  belongs(a_.prune_visibility, "--prune-visibility", second, "--gslrm");
  belongs(a_.turntable != "orbit", "--turntable", second, "--gslrm");
  belongs(a_.turntable_views > 0, "--turntable-views", second, "--gslrm");
  belongs(a_.turntable_size > 0, "--turntable-size", second, "--gslrm");
  belongs(!a_.memory.empty(), "--gpu-memory", false, "--plan");
  if (a_.rank_references && second) throw_error<ConfigError>("--rank-references compares the first stage's views; --gslrm has nothing to do, leave it out.");
  if (any(a_.input) && !photos)
    throw_error<ConfigError>("--mask, --framing-share and their like say how a photo is cut out and framed; the views of ", a_.dataset.empty() ? "--views" : "--dataset",
                             " are taken as they are. Leave them out.");
  check_input_arguments(a_.input);
  if (!a_.sequence.empty() && !a_.input.mask.empty()) throw_error<ConfigError>("--mask is of one image; a --sequence takes --mask_video.");
  if (!a_.mask_video.empty() && a_.input.keep_background) throw_error<ConfigError>("--keep-background leaves the picture as it is; --mask_video says what of it stays.");
  if (a_.end >= 0 && a_.end <= a_.start) throw_error<ConfigError>("--start ", a_.start, ", --end ", a_.end, ": no frame is left.");
  if (a_.images.size() > 1 && !a_.input.mask.empty()) throw_error<ConfigError>("--mask is of one image; give the images one at a time.");
  std::set<std::string> names;
  for (const std::string& path : a_.images)
    if (const std::string name = fs::path(path).stem().string(); !names.insert(name).second)
      throw_error<ConfigError>("Two images are called ", name, "; their views would lie in one folder. Give them one at a time, each with its own --out.");
  if (a_.reference != "random" && (a_.reference.empty() || a_.reference.size() > 4 || a_.reference.find_first_not_of("0123456789") != std::string::npos))
    throw_error<ConfigError>("--reference ", a_.reference, ": expected the index of a view, or random.");
  if (a_.turntable == "dataset" && a_.dataset.empty() && !has_cameras(a_.views))
    throw_error<ConfigError>("--turntable dataset goes through the cameras of a data set, or of the ", data::kCameraFile, " that --views names; there are none here. "
                             "Take reference (the input views' cameras), or orbit.");
}

// Files that are not there, before gigabytes are loaded.
void Run::check_files() const {
  std::vector<std::string> files = a_.images;
  files.insert(files.end(), {a_.sequence, a_.mask_video, a_.views, a_.input.mask, a_.input.calibration, a_.input.framing_from});
  for (const std::string& network : {a_.vgg16, a_.lpips})
    if (network != "formula") files.push_back(network);
  for (const std::string& file : files)
    if (std::error_code none; !file.empty() && !fs::exists(file, none)) throw_error<DataError>(file, " does not exist.");
  for (const std::string& file : a_.images)
    if (std::error_code none; fs::is_directory(file, none))
      throw_error<DataError>(file, " is a folder, but --image names a picture (PNG or JPEG). A folder of six views is given with --views.");
  if (!a_.images.empty() || !a_.sequence.empty())
    if (gslrm_ && input_views() > static_cast<int>(mvdiffusion::kPromptSlots.size()))
      throw_error<ConfigError>("The second stage is given ", input_views(), " views (--input-views, or num_input_views of its configuration), but the first one makes ",
                               mvdiffusion::kPromptSlots.size(), " of an image.");
}

Run::Part Run::parse_part(const std::string& said) {
  if (said.empty()) return {};
  std::int64_t i = 0, n = 0;
  const char* const end = said.data() + said.size();
  const auto number = std::from_chars(said.data(), end, i);
  const bool both = number.ec == std::errc() && number.ptr != end && *number.ptr == '/';
  const auto count = both ? std::from_chars(number.ptr + 1, end, n) : number;
  if (!both || count.ec != std::errc() || count.ptr != end || i < 1 || i > n)
    throw_error<ConfigError>("--part ", said, ": expected I/N with I from 1 to N, such as 2/8.");
  return {i - 1, n};
}

int Run::plan() const {
  std::size_t most = 0;
  if (pipeline_) {
    const StagePlan p = plan_views(*pipeline_, views_options_, sampler_);
    std::cout << p.text;
    most = std::max(most, p.bytes);
  }
  if (gslrm_) {
    const StagePlan p = plan_reconstruction(gslrm_->config, reconstructor_options(), std::max({outputs_.strip.size, outputs_.film.size, gslrm_->config.model.image_tokenizer.image_size}));
    std::cout << p.text;
    most = std::max(most, p.bytes);
  }
  if (pipeline_ && gslrm_) std::cout << "one after the other, the first stage's memory given back before the second: " << human_bytes(most) << '\n';
  if (a_.memory.empty()) return kExitOk;
  const std::size_t limit = parse_bytes(a_.memory);
  std::cout << (most <= limit ? "fits" : "does not fit") << " in " << human_bytes(limit) << (most <= limit || a_.batch == 1 ? "" : "; a smaller --batch needs less") << '\n';
  return most <= limit ? kExitOk : kExitMemory;
}

// What of the command line a photo's picture follows from, beside the photo.
std::string as_said(const InputArguments& a) {
  return text(", ", a.mask, " ", a.intrinsics, " ", a.calibration, " ", a.camera, " ", a.framing_from, " ", a.share, a.keep_background ? " background kept" : "",
              a.no_framing ? " as it is" : "");
}

ViewSet Run::image_set(std::int64_t side, GenerateOptions& g) const {
  struct Image {
    ViewSample sample;
    std::string sha256;
  };
  const InputOptions options = input_options(a_.input, side, background_);
  auto images = std::make_shared<std::vector<Image>>();
  for (const std::string& path : a_.images) {
    const InputImage im = read_input_image(path, options);
    const std::string name = fs::path(path).stem().string();
    Image& image = images->emplace_back();
    image.sha256 = im.sha256;
    image.sample.name = name;
    image.sample.noise = noise_number(im.pixels);
    image.sample.reference = im.pixels;
    image.sample.prompts = {0, 1, 2, 3, 4, 5};
    image.sample.origin = ordered_json{{"image", clean(path).string()}, {"sha256", im.sha256}, {"input", ordered_json::parse(im.decisions)}}.dump();
  }
  auto at = [images](std::int64_t i) -> const Image& { return (*images)[static_cast<std::size_t>(i)]; };
  g.source = [at, said = as_said(a_.input)](std::int64_t i) { return at(i).sha256 + said; };
  g.in_place = images->size() == 1;
  return {static_cast<std::int64_t>(images->size()), [at](std::int64_t i) { return at(i).sample; }, [at](std::int64_t i) { return at(i).sample.name; }};
}

ViewSet Run::frame_set(std::int64_t side, GenerateOptions& g) const {
  const FrameOptions o{.video = a_.sequence, .mask = a_.mask_video, .start = a_.start, .end = a_.end, .interval = a_.interval, .input = input_options(a_.input, side, background_)};
  ViewSet set = video_frames(o);
  g.source = [of = video_identity(o) + as_said(a_.input), name = set.name](std::int64_t i) { return of + ", " + name(i); };
  return set;
}

void Run::open_dataset() {
  std::string path = a_.dataset;
  if (!a_.split.empty()) {
    if (path.find('#') != std::string::npos) throw_error<ConfigError>("--dataset ", path, " names a split already; leave --split out.");
    path += "#" + a_.split;
  }
  reader_ = std::make_shared<const data::ViewReader>(path);
  if (reader_->size() == 0) throw_error<DataError>(path, " has no samples.");
  if (pipeline_ && a_.reference != "random" && std::stoll(a_.reference) >= reader_->views(0))
    throw_error<ConfigError>("--reference ", a_.reference, ": ", reader_->sample_name(0), " of ", path, " has ", reader_->views(0), " views, counted from 0.");
}

ViewSet Run::packed_set(std::int64_t side, int views, ordered_json& settings, GenerateOptions& g) {
  settings["reference"] = a_.reference, settings["view_order"] = a_.order;
  g.source = [reader = reader_](std::int64_t sample) {
    data::Sha256 all;
    for (int v = 0; v < reader->views(sample); ++v) {
      const data::Hash& h = reader->pixel_hash(sample, v);
      all.add(h.data(), h.size());
    }
    return data::hex(all.finish());
  };
  std::optional<int> reference;
  if (a_.reference != "random") reference = std::stoi(a_.reference);   // checked
  view_rule_ = {.image_size = side, .views = views, .rule = rule(a_.order), .reference = reference, .background = background_, .seed = a_.seed, .limit = a_.limit};
  return packed_view_set(reader_, view_rule_);
}

// The exit code; left_out.h.
int say_left_out(const LeftOut& left, Communicator& comm, const char* what) {
  if (left.total() == 0) return kExitOk;
  std::string names;
  for (const std::string& name : left.names()) names += (names.empty() ? "" : ", ") + name;
  if (comm.rank() == 0)
    log_error("no ", what, " of ", left.total(), left.total() == 1 ? " object" : " objects", ", for the reason said above: ", names, ". All others are there; the same command tries these again.");
  return kExitData;
}

std::optional<SceneSet> Run::make_views(Communicator& comm, int& code) {
  views_options_.device = comm.device();
  std::optional<Timed> loading(std::in_place, &timings_, Phase::load);
  ViewPipeline pipeline(*pipeline_, views_options_);
  loading.reset();
  GenerateOptions g;
  g.timings = &timings_;
  g.sampler = sampler_, g.seed = a_.seed, g.folder = a_.out;
  const fs::path unet = a_.unet.empty() ? pipeline_->component("unet") : mvdiffusion::component_folder(a_.unet, "unet");
  ordered_json settings = {{"pipeline", clean(pipeline_->folder()).string()}, {"unet", identity(mvdiffusion::component_weights(unet))},
                           {"prompts", clean(views_options_.prompts).string()}, {"compute", a_.compute}, {"encoders", a_.encoders}, {"background", background_name_}};
  if (lpips()) settings["lpips"] = {a_.vgg16, a_.lpips};
  std::optional<Timed> reading(std::in_place, &timings_, Phase::input);
  ViewSet set = !a_.images.empty()     ? image_set(pipeline.image_size(), g)
                : !a_.sequence.empty() ? frame_set(pipeline.image_size(), g)
                                       : packed_set(pipeline.image_size(), static_cast<int>(pipeline.views()), settings, g);
  reading.reset();
  g.settings = settings.dump();
  if (a_.rank_references) {
    const std::vector<ReferenceScore> scores = rank_references(pipeline, reader_, view_rule_, comm, g);
    if (comm.rank() == 0) std::cout << describe(scores, set.size);
    code = kExitOk;
    return std::nullopt;
  }
  if (gslrm_) {   // hashed while views are made
    outputs_.checkpoints.push_back({"mvdiffusion unet", mvdiffusion::component_weights(unet)});
    for (const char* part : {"vae", "image_encoder"})
      outputs_.checkpoints.push_back({std::string("mvdiffusion ") + part, mvdiffusion::component_weights(pipeline_->component(part))});
    outputs_.checkpoints.push_back({"mvdiffusion prompts", views_options_.prompts});
    for (const auto& c : outputs_.checkpoints) hashes_.start(c.file);
  }
  std::optional<LpipsNetwork> lpips_network;
  if (lpips()) lpips_network.emplace(pipeline.stream(), views_options_.compute, lpips_sources());
  GenerateOptions mine = g;
  mine.source = part_.of(g.source);
  const Generated made = generate_views(pipeline, {part_.size(set.size), part_.of(set.sample), part_.of(set.name)}, comm, mine, lpips_network ? &lpips_network->loss : nullptr);
  if (comm.rank() == 0) {
    std::string line = fmt::format("{}: views of {} object{}", a_.out, made.made, made.made == 1 ? "" : "s");
    if (made.finished_before > 0) line += fmt::format(", {} were there", made.finished_before);
    for (const auto& [name, value] : made.means) line += fmt::format(", {} {:.4f}", name, value);
    std::cout << line << std::endl;
  }
  code = say_left_out(made.left_out, comm, "views");
  outputs_.left_out = made.left_out;
  if (!gslrm_) return std::nullopt;
  outputs_.in_place = g.in_place;
  auto folder = [out = fs::path(a_.out), in_place = g.in_place, name = set.name](std::int64_t i) { return in_place ? out : out / name(i); };
  return part_of(reader_ ? generated_views(set, folder, scene_options(), reader_, view_rule_) : generated_views(set, folder, scene_options()));
}

SceneSet Run::scenes_without_views() {
  if (!a_.views.empty()) {
    outputs_.in_place = true;
    return given_views(a_.views, scene_options());
  }
  data::DatasetOptions o = dataset_options(gslrm_->config, false);
  o.num_input_views = input_views();
  o.num_views = std::max(o.num_views, o.num_input_views);
  o.limit = a_.limit;
  if (!a_.background.empty() || o.background.kind != data::Background::Kind::constant) o.background = data::parse_background(background_name_);
  return packed_scenes(std::make_shared<const data::Dataset>(reader_, o));
}

int Run::reconstruct(const SceneSet& scenes, Communicator& comm) {
  ReconstructorOptions o = reconstructor_options();
  o.device = comm.device();
  std::optional<Timed> loading(std::in_place, &timings_, Phase::load);
  Reconstructor model(gslrm_->config, o);
  const weights::Coverage coverage = model.load(gslrm_->checkpoint);
  model.stream().synchronize();
  loading.reset();
  outputs_.timings = &timings_;
  if (comm.rank() == 0) {
    log_info(coverage.table());
    log_info("initialise: weights from ", gslrm_->checkpoint.string(), "; the model as ", gslrm_->config_source, " says");
  }
  outputs_.settings = ordered_json{{"gslrm", identity(gslrm_->checkpoint)}, {"config", {{"from", gslrm_->config_source}, {"hash", content_hash(write_merged(gslrm_->config))}}},
                                   {"compute", a_.compute}, {"input_views", input_views()}, {"seed", a_.seed}, {"background", background_name_},
                                   {"lpips", lpips() ? ordered_json{a_.vgg16, a_.lpips} : ordered_json()}}.dump();
  std::optional<LpipsNetwork> lpips_network;
  if (lpips()) lpips_network.emplace(model.stream(), o.compute, lpips_sources());
  const Reconstructed made = reconstruct_scenes(model, scenes, comm, outputs_, hashes_, lpips_network ? &lpips_network->loss : nullptr);
  const int code = say_left_out(made.left_out, comm, "Gaussians");
  if (comm.rank() != 0) return code;
  std::string line = fmt::format("{}: Gaussians of {} object{}", a_.out, made.made, made.made == 1 ? "" : "s");
  if (made.finished_before > 0) line += fmt::format(", {} were there", made.finished_before);
  for (const auto& [name, value] : made.means) line += fmt::format(", {} {:.4f}", name, value);
  std::cout << line << std::endl;
  return code;
}

int Run::run(Communicator& comm) {
  check_files();
  if (!a_.dataset.empty()) open_dataset();
  if (gslrm_) {
    outputs_.checkpoints.push_back({"gslrm", gslrm_->checkpoint});
    hashes_.start(gslrm_->checkpoint);
  }
  std::optional<SceneSet> scenes;
  int code = kExitOk;
  if (pipeline_) {
    scenes = make_views(comm, code);   // its memory is free again
  } else {
    scenes = part_of(scenes_without_views());
  }
  if (scenes) code = reconstruct(*scenes, comm);
  if (comm.rank() == 0 && !timings_.empty()) {
    std::cout << timings_.text() << std::endl;
    io::write_text_file(fs::path(a_.out) / "timings.json", timings_.json() + "\n");
  }
  return code;
}

}  // namespace

int run(const Arguments& a) {
  Run run(a);
  if (a.plan) return run.plan();
  Device wanted = kCpu;
  if (a.device == "auto") wanted = cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : kCpu;
  else wanted = parse_device(a.device);
  const auto comm = make_communicator(wanted);
  set_log_rank(comm->rank(), comm->size());
  return run_rank(*comm, [&] {
    std::unique_ptr<io::SoleWriter> sole;
    if (comm->rank() == 0) sole = io::SoleWriter::of_folder(a.out, "mfl_infer");
    comm->barrier();   // no rank writes before the folder is theirs
    return run.run(*comm);
  });
}

}  // namespace mfl::infer
