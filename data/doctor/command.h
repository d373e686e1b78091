// `mfl_data doctor PATH`.
#pragma once

namespace CLI {
class App;
}

namespace mfl::data::doctor {

// Adds the command to the program. Runs while the arguments are parsed; `exit_code` becomes 3 where the verdict is
// unsound.
void add_command(CLI::App& program, int& exit_code);

}  // namespace mfl::data::doctor
