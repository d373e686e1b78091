#include "data/preprocess/mask.h"

#include <algorithm>
#include <vector>

namespace mfl::data::preprocess {
namespace {

// A horizontal run of animal pixels: [begin, end) in row y. Components are joined over runs, not pixels.
struct Run {
  int y, begin, end, parent;
};

int root_of(std::vector<Run>& runs, int i) {
  while (runs[i].parent != i) i = runs[i].parent = runs[runs[i].parent].parent;
  return i;
}

}  // namespace

void find_mask(const Image& luma, Mask& m, int threshold) {
  MFL_CHECK(luma.channels == 1, "find_mask: a grey image was expected, got ", luma.channels, " channels");
  std::vector<Run> runs;
  std::size_t above = 0;  // first run of the row above
  for (int y = 0; y < luma.height; ++y) {
    const std::uint8_t* row = luma.row(y);
    const std::size_t first = runs.size();
    for (int x = 0; x < luma.width;) {
      while (x < luma.width && row[x] <= threshold) ++x;
      if (x == luma.width) break;
      const int begin = x;
      while (x < luma.width && row[x] > threshold) ++x;
      runs.push_back({y, begin, x, static_cast<int>(runs.size())});
    }
    // The smaller root stays, so that a component's root is its first run.
    std::size_t up = above;
    for (std::size_t i = first; i < runs.size(); ++i) {
      while (up < first && runs[up].end < runs[i].begin) ++up;
      for (std::size_t j = up; j < first && runs[j].begin <= runs[i].end; ++j) {
        const int a = root_of(runs, static_cast<int>(i)), b = root_of(runs, static_cast<int>(j));
        runs[std::max(a, b)].parent = std::min(a, b);
      }
    }
    above = first;
  }

  std::vector<std::int64_t> area(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) area[root_of(runs, static_cast<int>(i))] += runs[i].end - runs[i].begin;
  const auto largest = std::max_element(area.begin(), area.end());

  if (m.image.width != luma.width || m.image.height != luma.height) m.image = Image(luma.width, luma.height, 1);
  std::fill(m.image.pixels.begin(), m.image.pixels.end(), std::uint8_t{0});
  m.area = m.dropped = 0, m.u = m.v = 0, m.on_border = false;
  m.left = luma.width, m.top = luma.height, m.right = m.bottom = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Run& r = runs[i];
    const int n = r.end - r.begin;
    if (root_of(runs, static_cast<int>(i)) != largest - area.begin()) {
      m.dropped += n;
      continue;
    }
    std::fill(m.image.row(r.y) + r.begin, m.image.row(r.y) + r.end, std::uint8_t{255});
    m.area += n;
    m.u += 0.5 * n * (r.begin + r.end - 1), m.v += static_cast<double>(n) * r.y;
    m.left = std::min(m.left, r.begin), m.right = std::max(m.right, r.end);
    m.top = std::min(m.top, r.y), m.bottom = std::max(m.bottom, r.y + 1);
  }
  if (!m.area) {
    m.left = m.top = 0;
    return;
  }
  m.u /= static_cast<double>(m.area), m.v /= static_cast<double>(m.area);
  m.on_border = m.left == 0 || m.top == 0 || m.right == luma.width || m.bottom == luma.height;
}

}  // namespace mfl::data::preprocess
