#include "data/doctor/diagnosis.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "data/doctor/hull.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

using Change = std::function<Pinhole(Pinhole)>;

Pinhole negated(Pinhole c, std::initializer_list<int> rows) {
  for (int r : rows)
    for (int k = 0; k < 4; ++k) c.w2c[4 * r + k] = -c.w2c[4 * r + k];
  return c;
}
Pinhole transposed(Pinhole c) {
  for (int i = 0; i < 3; ++i)
    for (int j = i + 1; j < 3; ++j) std::swap(c.w2c[4 * i + j], c.w2c[4 * j + i]);
  return c;
}
Pinhole inverted(Pinhole c) {
  c.w2c = inverse(c.w2c);
  return c;
}

// Mean disagreement of every (camera, image) pair with every other, so that an order's cost is a sum of table entries.
class OrderTable {
 public:
  explicit OrderTable(const Evidence& e) : n_(e.views()), cost_(n_ * n_ * n_ * n_, -1) {
    const std::size_t frames = std::min<std::size_t>(e.frames.size(), 4);
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t i = 0; i < n_; ++i)
      for (std::size_t j = i + 1; j < n_; ++j)
        for (std::size_t a = 0; a < n_; ++a)
          for (std::size_t b = 0; b < n_; ++b) {
            if (a == b) continue;
            double sum = 0;
            int count = 0;
            for (std::size_t f = 0; f < frames; ++f)
              if (const auto t = tangency(e.frames[f].cameras[i], *e.frames[f].outlines[a], e.frames[f].cameras[j],
                                          *e.frames[f].outlines[b]))
                for (double r : *t) sum += std::min(std::abs(r), 30.0), ++count;
            if (count) cost_[((i * n_ + j) * n_ + a) * n_ + b] = sum / count;
          }
  }
  double operator()(const std::vector<int>& order) const {
    double sum = 0;
    int count = 0;
    for (std::size_t i = 0; i < n_; ++i)
      for (std::size_t j = i + 1; j < n_; ++j) {
        const double c =
            cost_[((i * n_ + j) * n_ + static_cast<std::size_t>(order[i])) * n_ + static_cast<std::size_t>(order[j])];
        if (c >= 0) sum += c, ++count;
      }
    return count ? sum / count : 30;
  }

 private:
  std::size_t n_;
  std::vector<double> cost_;
};

std::string show(const std::vector<int>& order) {
  std::string s;
  for (std::size_t i = 0; i < order.size(); ++i) s += text(i ? ", " : "", order[i]);
  return s;
}

std::vector<int> best_order(const Evidence& e) {
  const int n = static_cast<int>(e.views());
  std::vector<int> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (n < 3 || n > 12) return order;
  const OrderTable table(e);
  std::vector<int> best = order;
  double least = table(order);
  const auto consider = [&](const std::vector<int>& o) {
    if (const double c = table(o); c < least - 1e-9) least = c, best = o;
  };
  if (n <= 7) {
    while (std::next_permutation(order.begin(), order.end())) consider(order);
    return best;
  }
  std::vector<int> turned = order;
  for (int k = 1; k < n; ++k) std::rotate(turned.begin(), turned.begin() + 1, turned.end()), consider(turned);
  consider({order.rbegin(), order.rend()});
  for (int i = 0; i < n; ++i)
    for (int j = i + 1; j < n; ++j) {
      std::vector<int> swapped = order;
      std::swap(swapped[static_cast<std::size_t>(i)], swapped[static_cast<std::size_t>(j)]);
      consider(swapped);
    }
  return best;
}

}  // namespace

double cost_of(const Evidence& e, const std::vector<int>& order) {
  const Disagreement d = disagreement(e, order);
  double behind = 0;
  int seen = 0;
  for (const Frame& given : e.frames) {
    Frame frame = given;
    for (std::size_t i = 0; i < order.size(); ++i)
      frame.outlines[i] = given.outlines[static_cast<std::size_t>(order[i])];
    const auto at = centroid_meeting(frame);
    for (const Pinhole& c : frame.cameras) behind += !at || !(c.depth(at->point) > 0), ++seen;
  }
  double cost = seen ? Disagreement::kLimit * behind / seen : 0;
  if (d.equations) return cost + d.median;
  if (!e.frames.empty())
    if (const auto hull = visual_hull(e.frames[0], {.pixels_a_view = 200, .max_steps = 100}))
      for (const HullView& v : hull->views) cost += 30 * (1 - v.iou) / static_cast<double>(hull->views.size());
  return cost;
}

std::vector<Diagnosis> diagnose_poses(const Evidence& e) {
  std::vector<Diagnosis> found;
  const double before = cost_of(e);
  const auto consider = [&](const char* what, const char* remedy, const Change& change) {
    Evidence changed = e;
    for (Frame& f : changed.frames)
      for (Pinhole& c : f.cameras) c = change(c);
    if (const double after = cost_of(changed); after < before / 3) found.push_back({what, remedy, before, after, {}});
  };
  consider("the rotations are stored transposed (camera to world), the translations are not",
           "Transpose R of every camera", transposed);
  consider("the matrices are camera to world, not world to camera", "Store the inverse of every matrix", inverted);
  consider("the cameras have OpenGL's axes (y up, z backward), not OpenCV's",
           "Negate rows 1 and 2 of every w2c (or columns 1 and 2 of c2w)", [](const Pinhole& c) {
             return negated(c, {1, 2});
           });
  consider("the cameras' x and y axes are both reversed (images turned by 180 degrees)",
           "Negate rows 0 and 1 of every w2c", [](const Pinhole& c) {
             return negated(c, {0, 1});
           });
  consider("the cameras' x and z axes are both reversed", "Negate rows 0 and 2 of every w2c", [](const Pinhole& c) {
    return negated(c, {0, 2});
  });
  consider("the cameras' x axis is mirrored (determinant -1)", "Negate row 0 of every w2c",
           [](const Pinhole& c) { return negated(c, {0}); });
  consider("the cameras' y axis is mirrored (determinant -1)", "Negate row 1 of every w2c",
           [](const Pinhole& c) { return negated(c, {1}); });
  consider("the cameras' z axis is mirrored: they look away from the animal (determinant -1)",
           "Negate row 2 of every w2c", [](const Pinhole& c) { return negated(c, {2}); });
  if (const std::vector<int> order = best_order(e); !std::is_sorted(order.begin(), order.end())) {
    if (const double after = cost_of(e, order); after < before / 3)
      found.push_back({text("the images are in another order than the cameras: cameras 0 to ", order.size() - 1,
                            " belong to the images ", show(order)),
                       "Reorder the images, or the cameras", before, after, order});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Diagnosis& a, const Diagnosis& b) { return a.after < b.after; });
  return found;
}

}  // namespace mfl::data::doctor
