// Vectors and rigid frames of the demo's renderer, in millimetres. World: z up, the floor at z = 0.
#pragma once

#include <cmath>

namespace mfl::data::demo {

struct V {
  double x = 0, y = 0, z = 0;
};
inline V operator+(V a, V b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline V operator-(V a, V b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline V operator*(double s, V a) { return {s * a.x, s * a.y, s * a.z}; }
inline V operator*(V a, V b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }   // colours
inline double dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline V cross(V a, V b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline double length(V a) { return std::sqrt(dot(a, a)); }
inline V unit(V a) { return (1 / length(a)) * a; }
inline V lerp(V a, V b, double t) { return (1 - t) * a + t * b; }
inline double clamp01(double t) { return t < 0 ? 0 : t > 1 ? 1 : t; }
inline double smooth(double lo, double hi, double t) {   // 0 below lo, 1 above hi, 3t^2 - 2t^3 between
  t = clamp01((t - lo) / (hi - lo));
  return t * t * (3 - 2 * t);
}

// p -> x X + y Y + z Z + origin, with orthonormal axes.
struct Frame {
  V x{1, 0, 0}, y{0, 1, 0}, z{0, 0, 1}, origin;
  V turn(V p) const { return p.x * x + p.y * y + p.z * z; }
  V operator()(V p) const { return turn(p) + origin; }
  V turn_back(V p) const { return {dot(p, x), dot(p, y), dot(p, z)}; }
  V back(V p) const { return turn_back(p - origin); }
};
// At a, the x axis towards b, the y axis as near to `left` as it can be.
inline Frame frame_along(V a, V b, V left) {
  const V x = unit(b - a), z = unit(cross(x, left));
  return {x, cross(z, x), z, a};
}

}  // namespace mfl::data::demo
