// `mfl_data preprocess`.
#pragma once

namespace CLI {
class App;
}

namespace mfl::data::preprocess {

// Adds the command to the program. Runs while the arguments are parsed.
void add_command(CLI::App& program);

}  // namespace mfl::data::preprocess
