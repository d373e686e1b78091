// mfl_data: data sets on the command line. One function a command: its options, and what it calls. The only file of this
// program that knows CLI11, which is slow to compile.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "data/demo/demo.h"
#include "data/doctor/command.h"
#include "data/info/describe.h"
#include "data/pack.h"
#include "data/preprocess/command.h"
#include "data/progress.h"
#include "data/recipe.h"
#include "data/scenes.h"
#include "runtime/error.h"

namespace {

using namespace mfl;
using namespace mfl::data;
namespace fs = std::filesystem;

std::function<void(std::int64_t, std::int64_t)> progress(const char* what) {
  return [shown = Progress(what)](std::int64_t done, std::int64_t total) mutable { shown.show(done, total); };
}

// Every add_... makes a command that runs while the arguments are parsed; what it was told lives as long as the program.
template <class Arguments>
std::pair<CLI::App*, std::shared_ptr<Arguments>> command(CLI::App& program, const char* name, const char* about) {
  return {program.add_subcommand(name, about), std::make_shared<Arguments>()};
}

void add_demo(CLI::App& program) {
  struct Arguments {
    demo::Options options;
    std::vector<int> size{512};
  };
  const auto [c, a] = command<Arguments>(program, "demo", "makes a raw recording of a procedural mouse under six cameras");
  demo::Options& o = a->options;
  c->add_option("-o,--output", o.output, "folder of the recording")->required();
  c->add_option("--frames", o.frames, "frames of every video")->capture_default_str();
  c->add_option("--animals", o.animals, "recordings; of more than one, each has its own animal, rig and folder OUTPUT/animal_N")
      ->capture_default_str();
  c->add_option("--size", a->size, "side of the images, or width and height; even")->expected(1, 2)->capture_default_str();
  c->add_option("--fps", o.frames_per_second, "frames a second; the animal walks about 60 mm/s")->capture_default_str();
  c->add_option("--seed", o.seed, "of animal, way, arena and rig")->capture_default_str();
  c->add_flag("--overwrite", o.overwrite, "replace a recording that is there");
  c->callback([a = a] {
    demo::Options& options = a->options;
    options.width = a->size.front(), options.height = a->size.back();
    make_recordings(options, progress("demo"));
    std::printf("%s: %lld frames of %d x %d from 6 cameras", options.output.c_str(), static_cast<long long>(options.frames),
                options.width, options.height);
    if (options.animals > 1) std::printf(", of %d animals", options.animals);
    std::printf("\n");
  });
}

void add_preprocess(CLI::App& program) {
  const auto [c, a] = command<preprocess::Arguments>(program, "preprocess", "a raw recording into samples with true cameras");
  preprocess::Options& o = a->options;
  c->add_option("--video_dir", o.video_dir, "folder with videos_undist/, or with the videos 0.mp4 ... themselves")->required();
  c->add_option("--meta_dir", o.meta_dir, "folder with new_cam.pkl and simpleclick_undist/; default: --video_dir");
  c->add_option("-o,--output_dir", o.output_dir, "sample folders, lists and dataset.json");
  c->add_option("--pack", o.pack, "a packed file to write, with or without --output_dir");
  c->add_option("--num_samples", o.num_samples, "at most so many samples")->capture_default_str();
  c->add_option("--interval", o.interval, "every so many frames; default: num_samples spread evenly");
  c->add_option("--image_size", o.image_size, "side of the new images")->capture_default_str();
  c->add_option("--views,--num_views", a->views, "how many cameras, or their numbers with commas between; default: all");
  c->add_option("--split", a->split, "time (blocks) or random (leaks)")->capture_default_str();
  c->add_option("--val_ratio", o.val_ratio, "share of the samples for validation")->capture_default_str();
  c->add_option("--test_ratio", o.test_ratio, "share of the samples for test")->capture_default_str();
  c->add_option("--guard", o.guard_seconds, "seconds left out between the blocks of a split by time")->capture_default_str();
  c->add_option("--seed", o.seed, "of a random split")->capture_default_str();
  c->add_option("--center", a->center, "the world's origin: centroids or hull (of each frame), sequence (one for all), or X,Y,Z")
      ->capture_default_str();
  c->add_option("--aim", a->aim, "cameras look at the centre, or keep their directions")->capture_default_str();
  c->add_option("--zoom", o.zoom, "of the focal length; written into the cameras")->capture_default_str();
  c->add_option("--reference", o.reference,
                "camera that takes the front prompt and stands at azimuth -90; default: the first view");
  c->add_option("--jumps", a->jumps, "first frame after each jump in time, with commas between; stored");
  c->add_flag("--skip_broken", o.skip_broken, "leave out frames in which a view has no animal or a cut one, and name them");
  c->add_flag("--allow_clipped", o.allow_clipped, "keep frames in which the animal is cut by a border");
  c->add_flag("--overwrite", o.overwrite, "replace what is there");
  c->add_option("--compat", a->compat, "facelift: the published script's wrong cameras, and a table of what is wrong");
  c->callback([a = a] { preprocess::run(*a); });
}

void add_doctor(CLI::App& program, int& exit_code) {
  const auto [c, a] = command<doctor::Arguments>(
      program, "doctor", "is a recording or a data set sound? Verdict, reasons, a report page; exit code 3 if not");
  c->add_option("PATH", a->path, "raw recording, sample folder(s), list file, or packed .h5")->required();
  c->add_option("-o,--report", a->page, "the HTML page; default: NAME_doctor.html in the working directory");
  c->add_flag("--no-report", a->no_page, "no page");
  c->add_option("--samples", a->subject.samples, "samples or frames whose pixels are looked at")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  c->add_option("--frames", a->subject.frames, "frames of a recording that are read, from the start")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000000));
  c->add_option("--hulls", a->examine.hulls, "samples that get a visual hull")->capture_default_str()->check(CLI::Range(1, 10000));
  c->add_option("--distance", a->examine.rig.distance, "expected mean camera distance; 0: any")->capture_default_str();
  c->callback([a = a, &exit_code] { exit_code = doctor::run(*a); });
}

void add_pack(CLI::App& program) {
  struct Arguments {
    std::string input, output, split;
    PackOptions options;
  };
  const auto [c, a] = command<Arguments>(program, "pack", "sample folders into one HDF5 file");
  PackOptions& o = a->options;
  c->add_option("LIST_OR_DIR", a->input, "list file (one sample folder a line), a sample folder, or a folder of them")->required();
  c->add_option("-o,--output", a->output, "the file to write; default: LIST_OR_DIR with the extension .h5");
  c->add_option("--image_size", o.image_size, "resize to this square; default: keep the size");
  c->add_option("--inputs", o.inputs, "list or folder with samples of the same names: their views become inputs, the others targets");
  c->add_option("--split", a->split, "mark all samples: train, val or test");
  c->add_flag("--skip-broken", o.skip_broken, "leave broken samples out and name them, instead of stopping");
  c->add_flag("--overwrite", o.overwrite, "replace an existing file");
  c->callback([a = a] {
    static const std::map<std::string, Split> kSplits{
        {"train", Split::train}, {"val", Split::val}, {"test", Split::test}, {"", Split::unassigned}};
    PackOptions& options = a->options;
    if (options.image_size < 0) throw_error<ConfigError>("--image_size must be positive, got ", options.image_size);
    const auto split = kSplits.find(a->split);
    if (split == kSplits.end()) throw_error<ConfigError>("--split must be train, val or test, got \"", a->split, "\"");
    options.split = split->second, options.progress = progress("pack");
    if (a->output.empty())
      a->output = fs::path(a->input.substr(0, a->input.find_last_not_of('/') + 1)).replace_extension(".h5").string();
    const PackResult result = pack(find_samples(a->input), a->output, options);
    std::printf("%s: %lld samples packed", a->output.c_str(), static_cast<long long>(result.packed));
    if (!result.left_out.empty()) std::printf(", %zu left out", result.left_out.size());
    std::printf("\n");
  });
}

void add_unpack(CLI::App& program) {
  struct Arguments {
    std::string input, folder;
  };
  const auto [c, a] = command<Arguments>(program, "unpack", "one HDF5 file into sample folders");
  c->add_option("FILE", a->input)->required();
  c->add_option("-o,--output", a->folder, "the folder to write")->required();
  c->callback([a = a] {
    unpack(a->input, a->folder);
    std::printf("%s: written\n", a->folder.c_str());
  });
}

void add_verify(CLI::App& program) {
  const auto [c, a] = command<std::string>(program, "verify", "reads all of a file and compares every hash");
  c->add_option("FILE", *a)->required();
  c->callback([a = a] {
    const Verified found = verify_file(*a, progress("verify"));
    for (const std::string& broken : found.broken) std::fprintf(stderr, "%s\n", broken.c_str());
    if (!found.broken.empty()) throw_error<DataError>(*a, ": ", found.broken.size(), " of ", found.views, " views are broken");
    std::printf("%s: all %lld views and the content hash are right\n", a->c_str(), static_cast<long long>(found.views));
  });
}

void add_info(CLI::App& program) {
  struct Arguments {
    std::string path;
    bool cameras = false;
  };
  const auto [c, a] = command<Arguments>(
      program, "info", "one screen about a file: data set, recording, cameras, checkpoint, Gaussians, event file, image, video");
  c->add_option("FILE", a->path, "file or folder")->required();
  c->add_flag("--cameras", a->cameras, "of a packed file: also the rig of the first sample");
  c->callback([a = a] { std::printf("%s", info::describe(a->path, a->cameras).c_str()); });
}

struct ScenesArguments {
  std::string output, folders;
  std::int64_t samples = 8, first = 0;
  SceneOptions scene;
  bool overwrite = false;
};
void make_scenes(const ScenesArguments& a) {
  if (a.output.empty() && a.folders.empty()) throw_error<ConfigError>("mfl_data scenes needs --output FILE.h5, --folders DIR, or both");
  if (a.samples < 1 || a.scene.views < 1 || a.scene.views > 4096 || a.scene.image_size < 8 || a.scene.image_size > 4096)
    throw_error<ConfigError>("mfl_data scenes: samples must be positive, views from 1 to 4096, image_size from 8 to 4096");
  std::unique_ptr<ViewWriter> writer;
  if (!a.output.empty()) {
    PackInfo info;
    info.width = info.height = a.scene.image_size;
    info.samples = a.samples, info.max_views = a.scene.views;
    for (int v = 0; v < a.scene.views; ++v) info.ring_order.push_back(v);
    info.recipe = scenes_recipe(a.scene, a.first);
    writer = std::make_unique<ViewWriter>(a.output, info, a.overwrite);
  }
  std::ofstream list;
  if (!a.folders.empty()) {
    fs::create_directories(a.folders);
    list.open(fs::path(a.folders) / "data_train.txt");
  }
  const auto show = progress("scenes");
  for (std::int64_t i = 0; i < a.samples; ++i) {
    const Sample s = make_scene(a.scene, a.first + i);
    if (writer) writer->add(s);
    if (list.is_open()) {
      write_sample((fs::path(a.folders) / s.name).string(), s);
      list << s.name << '\n';
    }
    show(i + 1, a.samples);
  }
  if (writer) writer->finish();
  if (!a.output.empty()) std::printf("%s: %lld scenes\n", a.output.c_str(), static_cast<long long>(a.samples));
  if (!a.folders.empty()) std::printf("%s: %lld scenes as folders\n", a.folders.c_str(), static_cast<long long>(a.samples));
}

void add_scenes(CLI::App& program) {
  const auto [c, a] = command<ScenesArguments>(program, "scenes", "procedural scenes, made from a seed");
  c->add_option("-o,--output", a->output, "packed file to write");
  c->add_option("--folders", a->folders, "sample folders and data_train.txt to write");
  c->add_option("--samples", a->samples, "number of scenes")->capture_default_str();
  c->add_option("--first", a->first, "number of the first scene; disjoint ranges are disjoint sets")->capture_default_str();
  c->add_option("--views", a->scene.views, "cameras on the ring")->capture_default_str();
  c->add_option("--image_size", a->scene.image_size, "side of the images")->capture_default_str();
  c->add_option("--seed", a->scene.seed, "of the scenes")->capture_default_str();
  c->add_option("--elevation", a->scene.elevation_degrees, "of the ring, degrees")->capture_default_str();
  c->add_flag("--overwrite", a->overwrite, "replace an existing file");
  c->callback([a = a] { make_scenes(*a); });
}

int run(int argc, char** argv) {
  CLI::App app("mfl_data: makes, packs, checks and shows multi-view data sets");
  app.require_subcommand(1);
  int code = kExitOk;
  add_demo(app);
  add_preprocess(app);
  add_doctor(app, code);
  add_pack(app);
  add_unpack(app);
  add_verify(app);
  add_info(app);
  add_scenes(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitConfig;
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "mfl_data: %s\n", e.what());
    return mfl::exit_code(e);
  }
}
