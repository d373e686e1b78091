#include "data/demo/body.h"

#include <algorithm>

namespace mfl::data::demo {
namespace {

struct Primitive {
  enum class Kind { cone, ellipsoid } kind = Kind::cone;
  V a, b;                    // cone: its ends; ellipsoid: a is the centre, b the half axes
  double ra = 0, rb = 0;     // cone: radii at the ends
  Frame axes;                // ellipsoid: its directions
  double blend = 0;          // width of the blend with what came before, mm
  Part part = Part::trunk;
  int bone = 0;
};

// Distance, negative inside. The ellipsoid's is first order: exact on the surface and in its gradient there.
double distance(const Primitive& q, V p) {
  if (q.kind == Primitive::Kind::cone) {
    const V ab = q.b - q.a;
    const double t = clamp01(dot(p - q.a, ab) / dot(ab, ab));
    return length(p - q.a - t * ab) - (q.ra + t * (q.rb - q.ra));
  }
  const V e = q.axes.turn_back(p - q.a);
  const V s{e.x / q.b.x, e.y / q.b.y, e.z / q.b.z}, g{s.x / q.b.x, s.y / q.b.y, s.z / q.b.z};
  const double k = length(s), slope = length(g);
  return slope < 1e-9 ? -std::min({q.b.x, q.b.y, q.b.z}) : k * (k - 1) / slope;
}

// Smaller of two distances, with a fillet of width k.
double blend(double a, double b, double k) {
  const double h = std::max(k - std::abs(a - b), 0.0) / k;
  return std::min(a, b) - h * h * k / 4;
}

double distance(const std::vector<Primitive>& all, V p) {
  double d = 1e9;
  for (const Primitive& q : all) d = blend(d, distance(q, p), q.blend);
  return d;
}

V gradient(const std::vector<Primitive>& all, V p) {
  constexpr double h = 0.15;
  return (0.5 / h) * V{distance(all, p + V{h, 0, 0}) - distance(all, p - V{h, 0, 0}), distance(all, p + V{0, h, 0}) - distance(all, p - V{0, h, 0}),
                       distance(all, p + V{0, 0, h}) - distance(all, p - V{0, 0, h})};
}

V mirrored(V p) { return {p.x, -p.y, p.z}; }

std::vector<Primitive> make_primitives(double plump) {
  std::vector<Primitive> all;
  const auto ellipsoid = [&](V centre, V half, Frame axes, double fillet, Part part, int bone) {
    all.push_back({Primitive::Kind::ellipsoid, centre, half, 0, 0, axes, fillet, part, bone});
  };
  const auto cone = [&](V a, double ra, V b, double rb, double fillet, Part part, int bone) {
    all.push_back({Primitive::Kind::cone, a, b, ra, rb, {}, fillet, part, bone});
  };
  const Pose rest = rest_pose();
  const double wide = 1 + 0.07 * plump;
  ellipsoid({-24, 0, 16.2}, {15, 12.6 * wide, 13}, {}, 4, Part::trunk, pelvis);
  ellipsoid({-11, 0, 16}, {17, 12.8 * wide, 13.2}, {}, 5, Part::trunk, loin);
  ellipsoid({5, 0, 15}, {14, 10.4 * wide, 11.2}, {}, 5, Part::trunk, thorax);
  cone({11, 0, 16.5}, 9.2, {23, 0, 18}, 8, 5, Part::trunk, neck);
  ellipsoid({28.5, 0, 18.6}, {10.5, 8.2, 8}, {}, 4, Part::head, head);
  cone({32, 0, 17.4}, 6.2, {43, 0, 13.8}, 2.5, 3, Part::head, head);
  for (const double side : {1.0, -1.0}) {
    const auto s = [side](V p) { return side > 0 ? p : mirrored(p); };
    cone(s({36.5, 2.2, 14.4}), 3.0, s({41.5, 1.6, 13}), 2.1, 2, Part::head, head);   // cheeks
    // An ear: a thin bowl that opens forwards and outwards, on a short stalk.
    const V open = unit(s({0.72, 0.62, 0.32})), up = unit(s({-0.45, 0.42, 0.8}));
    const V across = unit(cross(open, up)), tall = cross(across, open);
    ellipsoid(s(kEar), {1.3, 6.0, 6.9}, {open, across, tall, {}}, 1.0, Part::ear, head);
    cone(s({25, 5.2, 22.5}), 2.2, s({25.3, 7.5, 24.5}), 1.7, 1.5, Part::ear, head);
    ellipsoid(s(kEye), {1.9, 1.5, 1.9}, {}, 0.25, Part::eye, head);
  }
  cone({44.4, 0, 13.9}, 1.5, {45.2, 0, 13.7}, 1.2, 0.8, Part::nose, head);

  const double step = 70.0 / kTailBones;
  for (int i = 0; i < kTailBones; ++i) {
    const Frame& f = rest.bones[static_cast<std::size_t>(tail + i)];
    const double t = i / double{kTailBones}, u = (i + 1) / double{kTailBones};
    const auto radius = [](double r) { return 2.3 * (1 - r) + 0.75 * r; };
    cone(f.origin, radius(t), f({step, 0, 0}), radius(u), i == 0 ? 4.0 : 1.0, Part::tail, tail + i);
  }

  for (const Leg leg : {left_hind, left_fore, right_hind, right_fore}) {
    const bool hind = leg == left_hind || leg == right_hind;
    const auto bone = [&](int part) -> const Frame& { return rest.bones[static_cast<std::size_t>(bone_of(leg, part))]; };
    const V hip = bone(0).origin, knee = bone(1).origin, ankle = bone(2).origin;
    const double foot = rest.lengths[static_cast<std::size_t>(bone_of(leg, 2))];
    cone(hip, hind ? 7.2 : 5, knee, hind ? 4.8 : 3.3, 4, Part::leg, bone_of(leg, 0));
    cone(knee, hind ? 4.4 : 3.1, ankle, hind ? 1.9 : 1.7, 2.5, Part::leg, bone_of(leg, 1));
    const auto on_foot = [&](double x, double y) {
      V p = bone(2)({x, y, 0});
      p.z = std::max(p.z, 1.35);
      return p;
    };
    cone(ankle, 1.75, on_foot(0.62 * foot, 0), 1.6, 1.5, Part::paw, bone_of(leg, 2));
    for (const double toe : {-1.5, -0.5, 0.5, 1.5})
      cone(on_foot(0.55 * foot, 0.7 * toe), 0.95, on_foot((1.12 - 0.06 * std::abs(toe)) * foot, 1.35 * toe), 0.7, 0.8, Part::paw, bone_of(leg, 2));
  }
  return all;
}

void set_weights(Body::Vertex& v, const std::vector<Primitive>& all) {
  std::vector<double> d(all.size());
  double nearest = 1e9;
  for (std::size_t i = 0; i < all.size(); ++i) d[i] = distance(all[i], v.rest), nearest = std::min(nearest, d[i]);
  std::array<double, kBones> bones{};
  std::array<double, kParts> parts{};
  double sum = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double wide = (d[i] - nearest) / 3.2, narrow = (d[i] - nearest) / 0.7;
    bones[static_cast<std::size_t>(all[i].bone)] += std::exp(-wide * wide);
    const double part = std::exp(-narrow * narrow);
    parts[static_cast<std::size_t>(all[i].part)] += part;
    sum += part;
  }
  for (int i = 0; i < kParts; ++i) v.parts[static_cast<std::size_t>(i)] = static_cast<float>(parts[static_cast<std::size_t>(i)] / sum);
  std::array<std::uint8_t, kBones> order;
  for (int i = 0; i < kBones; ++i) order[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return bones[static_cast<std::size_t>(a)] > bones[static_cast<std::size_t>(b)]; });
  double total = 0;
  for (std::size_t i = 0; i < 4; ++i) total += bones[order[i]];
  for (std::size_t i = 0; i < 4; ++i) v.bones[i] = order[i], v.weights[i] = static_cast<float>(bones[order[i]] / total);
}

}  // namespace

Body make_body(double plump, double step) {
  const std::vector<Primitive> all = make_primitives(plump);
  const V low{-112, -22, -2.5}, high{50, 22, 38};
  const auto cells = [step](double a, double b) { return static_cast<std::int64_t>(std::ceil((b - a) / step)) + 1; };
  const std::int64_t nx = cells(low.x, high.x), ny = cells(low.y, high.y), nz = cells(low.z, high.z);
  const auto index = [=](std::int64_t x, std::int64_t y, std::int64_t z) { return static_cast<std::size_t>((z * ny + y) * nx + x); };
  const auto corner = [=](std::int64_t x, std::int64_t y, std::int64_t z) {
    return low + step * V{static_cast<double>(x), static_cast<double>(y), static_cast<double>(z)};
  };
  std::vector<float> field(static_cast<std::size_t>(nx * ny * nz));
  // Runs of kRun points whose middle is farther from the surface than the run is long have no crossing; only their sign counts.
  constexpr std::int64_t kRun = 9;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t z = 0; z < nz; ++z)
    for (std::int64_t y = 0; y < ny; ++y)
      for (std::int64_t x0 = 0; x0 < nx; x0 += kRun) {
        const std::int64_t x1 = std::min(x0 + kRun, nx);
        const double middle = distance(all, corner(std::min(x0 + kRun / 2, nx - 1), y, z));
        const bool far = std::abs(middle) > 2 * kRun * step;
        for (std::int64_t x = x0; x < x1; ++x) field[index(x, y, z)] = static_cast<float>(far ? middle : distance(all, corner(x, y, z)));
      }

  // One vertex a cell that the surface crosses: the mean of the crossings on its edges.
  Body body;
  constexpr std::uint32_t kNone = ~0u;
  std::vector<std::uint32_t> vertex(field.size(), kNone);
  for (std::int64_t z = 0; z + 1 < nz; ++z)
    for (std::int64_t y = 0; y + 1 < ny; ++y)
      for (std::int64_t x = 0; x + 1 < nx; ++x) {
        V sum;
        int crossings = 0;
        for (int c = 0; c < 8; ++c)
          for (int axis = 0; axis < 3; ++axis) {
            if (c >> axis & 1) continue;
            const std::int64_t x0 = x + (c & 1), y0 = y + (c >> 1 & 1), z0 = z + (c >> 2);
            const std::int64_t x1 = x0 + (axis == 0), y1 = y0 + (axis == 1), z1 = z0 + (axis == 2);
            const double f0 = field[index(x0, y0, z0)], f1 = field[index(x1, y1, z1)];
            if ((f0 < 0) == (f1 < 0)) continue;
            sum = sum + lerp(corner(x0, y0, z0), corner(x1, y1, z1), f0 / (f0 - f1));
            ++crossings;
          }
        if (!crossings) continue;
        vertex[index(x, y, z)] = static_cast<std::uint32_t>(body.vertices.size());
        body.vertices.push_back({});
        body.vertices.back().rest = (1.0 / crossings) * sum;
      }
  // Two triangles an edge that the surface crosses, through the four cells about it.
  for (std::int64_t z = 1; z + 1 < nz; ++z)
    for (std::int64_t y = 1; y + 1 < ny; ++y)
      for (std::int64_t x = 1; x + 1 < nx; ++x) {
        const bool inside = field[index(x, y, z)] < 0;
        const std::int64_t at[3] = {x, y, z};
        for (int axis = 0; axis < 3; ++axis) {
          const int u = (axis + 1) % 3, w = (axis + 2) % 3;
          std::int64_t end[3] = {x, y, z};
          ++end[axis];
          if (inside == (field[index(end[0], end[1], end[2])] < 0)) continue;
          std::uint32_t quad[4];
          for (int k = 0; k < 4; ++k) {
            std::int64_t cell[3] = {at[0], at[1], at[2]};
            if (k == 0 || k == 3) --cell[u];
            if (k < 2) --cell[w];
            quad[k] = vertex[index(cell[0], cell[1], cell[2])];
          }
          if (!inside) std::swap(quad[1], quad[3]);
          body.triangles.push_back({quad[0], quad[1], quad[2]});
          body.triangles.push_back({quad[0], quad[2], quad[3]});
        }
      }

  const auto count = static_cast<std::int64_t>(body.vertices.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    Body::Vertex& v = body.vertices[static_cast<std::size_t>(i)];
    for (int newton = 0; newton < 2; ++newton) {
      const V g = gradient(all, v.rest);
      const V move = (-distance(all, v.rest) / std::max(dot(g, g), 0.1)) * g;
      v.rest = v.rest + std::min(1.0, 0.5 * step / std::max(length(move), 1e-9)) * move;
    }
    const V g = gradient(all, v.rest);
    v.normal = (1 / std::max(length(g), 1e-9)) * g;
    set_weights(v, all);
  }
  return body;
}

Surface bend(const Body& body, const Pose& rest, const Pose& pose) {
  // Bone b takes a point at rest to posed_b(size * rest_b^-1(p)).
  const double size = pose.lengths[0] / rest.lengths[0];
  Surface s;
  s.points.resize(body.vertices.size()), s.normals.resize(body.vertices.size());
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < body.vertices.size(); ++i) {
    const Body::Vertex& v = body.vertices[i];
    V point, normal;
    for (std::size_t k = 0; k < 4; ++k) {
      const Frame &from = rest.bones[v.bones[k]], &to = pose.bones[v.bones[k]];
      point = point + v.weights[k] * to(size * from.back(v.rest));
      normal = normal + v.weights[k] * to.turn(from.turn_back(v.normal));
    }
    s.points[i] = point, s.normals[i] = unit(normal);
  }
  return s;
}

V volume_centroid(const Body& body, const Surface& s) {
  V sum;
  double volume = 0;
  for (const auto& t : body.triangles) {
    const V a = s.points[t[0]], b = s.points[t[1]], c = s.points[t[2]];
    const double v = dot(a, cross(b, c));   // six times the tetrahedron's volume; its centroid is (a + b + c) / 4
    volume += v;
    sum = sum + (v / 4) * (a + b + c);
  }
  return (1 / volume) * sum;
}

}  // namespace mfl::data::demo
