#include "runtime/io/nearest_name.h"

#include <algorithm>
#include <numeric>

namespace mfl::io {
namespace {

// Levenshtein distance by rows.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t change = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(std::string_view wanted, const std::vector<std::string>& names) {
  std::string nearest;
  std::size_t best = wanted.size() / 2 + 1;
  for (const std::string& name : names)
    if (const std::size_t d = distance(wanted, name); d < best) best = d, nearest = name;
  return nearest;
}

}  // namespace mfl::io
