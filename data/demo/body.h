// The mouse's surface at rest: a smooth union of rounded cones and ellipsoids, made a mesh once and then bent by the bones.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/demo/skeleton.h"

namespace mfl::data::demo {

enum class Part : std::uint8_t { trunk, head, nose, ear, eye, leg, paw, tail };
inline constexpr int kParts = 8;

struct Body {
  struct Vertex {
    V rest, normal;                             // normal: outwards, unit
    std::array<float, kParts> parts{};          // how much of each part; sums to 1
    std::array<std::uint8_t, 4> bones{};
    std::array<float, 4> weights{};             // sums to 1
  };
  std::vector<Vertex> vertices;
  std::vector<std::array<std::uint32_t, 3>> triangles;   // counter-clockwise from outside; closed
};

// `plump` in [-1, 1] widens the trunk. Surface nets on a lattice of `step` mm, moved onto the surface.
Body make_body(double plump, double step);

struct Surface {
  std::vector<V> points, normals;               // of the body's vertices
};
// Linear blend skinning; an animal of the pose's size.
Surface bend(const Body&, const Pose& rest, const Pose&);

// Centroid of the enclosed volume: sum over triangles of the tetrahedra towards the origin.
V volume_centroid(const Body&, const Surface&);

}  // namespace mfl::data::demo
