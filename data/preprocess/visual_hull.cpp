#include "data/preprocess/visual_hull.h"

#include <algorithm>
#include <cmath>

#include "data/preprocess/linear.h"

namespace mfl::data::preprocess {

Vec3 hull_centre(const std::vector<RawCamera>& cameras, const std::vector<const Mask*>& masks, const Vec3& guess,
                 const std::string& where) {
  constexpr int kCells = 64;
  double half = 0;  // of the cube's side: the masks' reach from the guess, in the rig's unit
  for (std::size_t k = 0; k < cameras.size(); ++k) {
    const Projection p = project(cameras[k], guess);
    if (!(p.depth > 0)) throw_error<DataError>(where, ": the animal would be behind camera ", k);
    const Mask& m = *masks[k];
    const double reach =
        std::max({std::abs(m.left - p.u), std::abs(m.right - p.u), std::abs(m.top - p.v), std::abs(m.bottom - p.v)});
    half = std::max(half, reach * p.depth / std::min(cameras[k].K[0], cameras[k].K[4]));
  }
  const double cell = 2 * half / kCells;
  Vec3 sum{};
  std::int64_t count = 0;
  for (int z = 0; z < kCells; ++z)
    for (int y = 0; y < kCells; ++y)
      for (int x = 0; x < kCells; ++x) {
        const Vec3 p{guess[0] - half + (x + 0.5) * cell, guess[1] - half + (y + 0.5) * cell,
                     guess[2] - half + (z + 0.5) * cell};
        bool inside = true;
        for (std::size_t k = 0; inside && k < cameras.size(); ++k) {
          const Projection q = project(cameras[k], p);
          const Mask& m = *masks[k];
          const double u = std::floor(q.u + 0.5), v = std::floor(q.v + 0.5);
          inside = q.depth > 0 && u >= m.left && u < m.right && v >= m.top && v < m.bottom &&
                   m.image.row(static_cast<int>(v))[static_cast<int>(u)];
        }
        if (!inside) continue;
        for (int i = 0; i < 3; ++i) sum[i] += p[i];
        ++count;
      }
  if (!count)
    throw_error<DataError>(where,
                           ": no point lies inside all masks; they contradict each other or the calibration. mfl_data "
                           "doctor says which camera");
  return scaled_by(1.0 / static_cast<double>(count), sum);
}

}  // namespace mfl::data::preprocess
