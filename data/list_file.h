// List files: one sample folder or packed file a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mfl::data {

struct ListEntry {
  std::string entry;   // as written, trimmed
  std::string path;    // resolved: relative to the list's own folder where that exists, else as written; keeps its #split
  int line = 0;        // from 1
};

// By its name: .txt, .lst or .list.
bool is_list_file(const std::string& path);
// Blank lines and lines that begin with # are ignored; line ends may be \r\n. Throws DataError naming `source` and the line:
// an empty list, control characters (a binary file), a line of more than 4096 bytes, more than 10 million lines.
std::vector<ListEntry> parse_list(std::string_view text, const std::string& source);
// The same from a file, with the paths resolved.
std::vector<ListEntry> read_list_file(const std::string& path);

}  // namespace mfl::data
