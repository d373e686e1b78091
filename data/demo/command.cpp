#include "data/demo/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <vector>

#include "data/demo/demo.h"
#include "data/progress.h"

namespace mfl::data::demo {

void add_command(CLI::App& program) {
  struct Arguments {
    Options options;
    std::vector<int> size{512};
  };
  auto a = std::make_shared<Arguments>();
  Options& o = a->options;
  CLI::App* command = program.add_subcommand("demo", "makes a raw recording of a procedural mouse under six cameras");
  command->add_option("-o,--output", o.output, "folder of the recording")->required();
  command->add_option("--frames", o.frames, "frames of every video")->capture_default_str();
  command->add_option("--animals", o.animals, "recordings; of more than one, each has its own animal, rig and folder OUTPUT/animal_N")->capture_default_str();
  command->add_option("--size", a->size, "side of the images, or width and height; even")->expected(1, 2)->capture_default_str();
  command->add_option("--fps", o.frames_per_second, "frames a second; the animal walks about 60 mm/s")->capture_default_str();
  command->add_option("--seed", o.seed, "of animal, way, arena and rig")->capture_default_str();
  command->add_flag("--overwrite", o.overwrite, "replace a recording that is there");
  command->callback([a] {
    Options& options = a->options;
    options.width = a->size.front(), options.height = a->size.back();
    make_recordings(options, [shown = Progress("demo")](std::int64_t done, std::int64_t total) mutable { shown.show(done, total); });
    std::printf("%s: %lld frames of %d x %d from 6 cameras", options.output.c_str(), static_cast<long long>(options.frames), options.width, options.height);
    if (options.animals > 1) std::printf(", of %d animals", options.animals);
    std::printf("\n");
  });
}

}  // namespace mfl::data::demo
