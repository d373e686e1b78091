// Tables for the README, from records: one JSON object a line, as mfl_bench writes them.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace mfl::bench {

// Markdown on `out`. A later record of the same thing on the same device replaces an earlier one. Throws DataError with
// file and line.
void print_tables(const std::vector<std::string>& files, std::ostream& out);

}  // namespace mfl::bench
