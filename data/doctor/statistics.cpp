#include "data/doctor/statistics.h"

#include <algorithm>

#include "data/doctor/hull.h"

namespace mfl::data::doctor {
namespace {

// Share of the outline's pixels that lie on the image's edge.
float clipped_share(const Silhouette& s) {
  std::int64_t outline = 0;
  for (int y = s.top; y < s.bottom; ++y)
    for (int x = s.left; x < s.right; ++x) {
      if (!s.at(x, y)) continue;
      const bool edge = x == 0 || y == 0 || x == s.width - 1 || y == s.height - 1;
      outline += edge || !s.at(x - 1, y) || !s.at(x + 1, y) || !s.at(x, y - 1) || !s.at(x, y + 1);
    }
  return outline ? static_cast<float>(s.on_border) / static_cast<float>(outline) : 0;
}

}  // namespace

void measure(Sample& sample) {
  std::vector<Silhouette> outlines(sample.views.size());
  Frame frame;
  std::vector<std::size_t> in_hull;
  bool hull_wanted = false;
  for (std::size_t v = 0; v < sample.views.size(); ++v) {
    View& view = sample.views[v];
    if (view.image.channels != 4) continue;
    outlines[v] = silhouette(view.image);
    if (std::isnan(view.stats.clipped)) view.stats.clipped = clipped_share(outlines[v]);
    if (view.role == Role::input) continue;
    in_hull.push_back(v), frame.cameras.push_back(pinhole(view.camera)), frame.outlines.push_back(&outlines[v]);
    hull_wanted |= std::isnan(view.stats.hull_iou) || std::isnan(view.stats.centroid_error);
  }
  if (!hull_wanted) return;
  const auto hull = visual_hull(frame, {.pixels_a_view = 400, .max_steps = 200});
  if (!hull) return;
  for (std::size_t i = 0; i < in_hull.size(); ++i) {
    ViewStats& s = sample.views[in_hull[i]].stats;
    if (outlines[in_hull[i]].empty()) continue;
    if (std::isnan(s.hull_iou)) s.hull_iou = static_cast<float>(hull->views[i].iou);
    if (std::isnan(s.centroid_error)) s.centroid_error = static_cast<float>(hull->views[i].centroid);
  }
}

}  // namespace mfl::data::doctor
