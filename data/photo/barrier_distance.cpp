#include "data/photo/barrier_distance.h"

#include <algorithm>
#include <limits>

namespace mfl::data::photo {

std::vector<float> barrier_distance(const std::vector<float>& values, const std::vector<std::uint8_t>& seeds, int width, int height) {
  const std::size_t n = values.size();
  std::vector<float> distance(n, std::numeric_limits<float>::infinity()), high = values, low = values;
  for (std::size_t i = 0; i < n; ++i)
    if (seeds[i]) distance[i] = 0;
  auto relax = [&](std::size_t i, std::size_t from) {
    if (distance[from] == std::numeric_limits<float>::infinity()) return;
    const float h = std::max(high[from], values[i]), l = std::min(low[from], values[i]);
    if (h - l < distance[i]) distance[i] = h - l, high[i] = h, low[i] = l;
  };
  const std::size_t w = static_cast<std::size_t>(width);
  for (int pass = 0; pass < 3; ++pass) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const std::size_t i = static_cast<std::size_t>(y) * w + static_cast<std::size_t>(x);
        if (x > 0) relax(i, i - 1);
        if (y > 0) relax(i, i - w);
      }
    for (int y = height - 1; y >= 0; --y)
      for (int x = width - 1; x >= 0; --x) {
        const std::size_t i = static_cast<std::size_t>(y) * w + static_cast<std::size_t>(x);
        if (x + 1 < width) relax(i, i + 1);
        if (y + 1 < height) relax(i, i + w);
      }
  }
  return distance;
}

}  // namespace mfl::data::photo
