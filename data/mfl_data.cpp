// mfl_data: data sets on the command line. Every command is one function.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "data/demo/command.h"
#include "data/doctor/command.h"
#include "data/image_file.h"
#include "data/info/describe.h"
#include "data/pack.h"
#include "data/preprocess/command.h"
#include "data/progress.h"
#include "data/scenes.h"
#include "runtime/log.h"

namespace {

using namespace mfl;
using namespace mfl::data;
namespace fs = std::filesystem;

std::function<void(std::int64_t, std::int64_t)> progress(const char* what) {
  return [shown = Progress(what)](std::int64_t done, std::int64_t total) mutable { shown.show(done, total); };
}

Split parse_split(const std::string& s) {
  static const std::map<std::string, Split> kNames{{"train", Split::train}, {"val", Split::val}, {"test", Split::test}, {"", Split::unassigned}};
  const auto it = kNames.find(s);
  if (it == kNames.end()) throw_error<ConfigError>("--split must be train, val or test, got \"", s, "\"");
  return it->second;
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
    info.recipe = nlohmann::json{{"tool", "mfl_data scenes"}, {"seed", a.scene.seed}, {"first", a.first}, {"views", a.scene.views},
                                 {"image_size", a.scene.image_size}, {"elevation", a.scene.elevation_degrees}}.dump();
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
}

int run(int argc, char** argv) {
  CLI::App app("mfl_data: packs, checks, shows and makes multi-view data sets");
  app.require_subcommand(1);

  std::string input, output, folder, split;
  PackOptions options;
  CLI::App* pack_command = app.add_subcommand("pack", "sample folders into one HDF5 file");
  pack_command->add_option("LIST_OR_DIR", input, "list file (one sample folder a line), a sample folder, or a folder of them")->required();
  pack_command->add_option("-o,--output", output, "the file to write; default: LIST_OR_DIR with the extension .h5");
  pack_command->add_option("--image_size", options.image_size, "resize to this square; default: keep the size");
  pack_command->add_option("--inputs", options.inputs, "list or folder with samples of the same names: their views become inputs, the others targets");
  pack_command->add_option("--split", split, "mark all samples: train, val or test");
  pack_command->add_flag("--skip-broken", options.skip_broken, "leave broken samples out and name them, instead of stopping");
  pack_command->add_flag("--overwrite", options.overwrite, "replace an existing file");
  CLI::App* unpack_command = app.add_subcommand("unpack", "one HDF5 file into sample folders");
  unpack_command->add_option("FILE", input)->required();
  unpack_command->add_option("-o,--output", folder, "the folder to write")->required();
  CLI::App* verify_command = app.add_subcommand("verify", "reads all of a file and compares every hash");
  verify_command->add_option("FILE", input)->required();
  ScenesArguments scenes;
  CLI::App* scenes_command = app.add_subcommand("scenes", "procedural scenes, made from a seed");
  scenes_command->add_option("-o,--output", scenes.output, "packed file to write");
  scenes_command->add_option("--folders", scenes.folders, "sample folders and data_train.txt to write");
  scenes_command->add_option("--samples", scenes.samples, "number of scenes")->capture_default_str();
  scenes_command->add_option("--first", scenes.first, "number of the first scene; disjoint ranges are disjoint sets")->capture_default_str();
  scenes_command->add_option("--views", scenes.scene.views, "cameras on the ring")->capture_default_str();
  scenes_command->add_option("--image_size", scenes.scene.image_size, "side of the images")->capture_default_str();
  scenes_command->add_option("--seed", scenes.scene.seed, "of the scenes")->capture_default_str();
  scenes_command->add_option("--elevation", scenes.scene.elevation_degrees, "of the ring, degrees")->capture_default_str();
  scenes_command->add_flag("--overwrite", scenes.overwrite, "replace an existing file");

  int code = kExitOk;
  demo::add_command(app);
  preprocess::add_command(app);
  doctor::add_command(app, code);
  info::add_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitConfig;
  }
  if (pack_command->parsed()) {
    if (options.image_size < 0) throw_error<ConfigError>("--image_size must be positive, got ", options.image_size);
    options.split = parse_split(split);
    if (output.empty()) output = fs::path(input.substr(0, input.find_last_not_of('/') + 1)).replace_extension(".h5").string();
    options.progress = progress("pack");
    const PackResult result = pack(find_samples(input), output, options);
    std::printf("%s: %lld samples packed", output.c_str(), static_cast<long long>(result.packed));
    if (!result.left_out.empty()) std::printf(", %zu left out", result.left_out.size());
    std::printf("\n");
  } else if (unpack_command->parsed()) {
    unpack(input, folder);
    std::printf("%s: written\n", folder.c_str());
  } else if (verify_command->parsed()) {
    const Verified found = verify_file(input, progress("verify"));
    for (const std::string& broken : found.broken) std::fprintf(stderr, "%s\n", broken.c_str());
    if (!found.broken.empty()) throw_error<DataError>(input, ": ", found.broken.size(), " of ", found.views, " views are broken");
    std::printf("%s: all %lld views and the content hash are right\n", input.c_str(), static_cast<long long>(found.views));
  } else if (scenes_command->parsed()) {
    make_scenes(scenes);
    if (!scenes.output.empty()) std::printf("%s: %lld scenes\n", scenes.output.c_str(), static_cast<long long>(scenes.samples));
    if (!scenes.folders.empty()) std::printf("%s: %lld scenes as folders\n", scenes.folders.c_str(), static_cast<long long>(scenes.samples));
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
