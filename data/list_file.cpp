#include "data/list_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "runtime/error.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxLine = 4096, kMaxLines = 10'000'000;

}  // namespace

bool is_list_file(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  return extension == ".txt" || extension == ".lst" || extension == ".list";
}

std::vector<ListEntry> parse_list(std::string_view text, const std::string& source) {
  std::vector<ListEntry> entries;
  int number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    if (line.front() == '#') continue;
    if (line.size() > kMaxLine) throw_error<DataError>(source, ", line ", number, ": ", line.size(), " bytes are no path. A list holds one folder or packed file a line");
    for (const char c : line)
      if (static_cast<unsigned char>(c) < 32 || c == 127)
        throw_error<DataError>(source, ", line ", number, ": has control characters; this is no list. A list is a text with one folder or packed file a line");
    if (entries.size() == kMaxLines) throw_error<DataError>(source, ": has more than ", kMaxLines, " lines");
    entries.push_back({std::string(line), std::string(line), number});
  }
  if (entries.empty()) throw_error<DataError>(source, ": the list names no sample; it holds one sample folder or packed file a line");
  return entries;
}

std::vector<ListEntry> read_list_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw_error<DataError>(path, ": the list cannot be opened");
  const std::string all{std::istreambuf_iterator<char>(in), {}};
  std::vector<ListEntry> entries = parse_list(all, path);
  std::error_code error;
  for (ListEntry& e : entries) {
    const auto bare = [](const std::string& s) { return s.substr(0, s.find('#')); };   // a split is no part of the file's name
    const std::string beside = (fs::path(path).parent_path() / e.entry).string();     // an absolute entry replaces the folder
    e.path = fs::exists(beside, error) || fs::exists(bare(beside), error) || !fs::exists(bare(e.entry), error) ? beside : e.entry;
  }
  return entries;
}

}  // namespace mfl::data
