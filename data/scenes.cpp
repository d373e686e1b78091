#include "data/scenes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "runtime/rng.h"

namespace mfl::data {
namespace {

struct V {
  double x = 0, y = 0, z = 0;
};
V operator+(V a, V b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
V operator-(V a, V b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
V operator*(double s, V a) { return {s * a.x, s * a.y, s * a.z}; }
V operator*(V a, V b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
double dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
V unit(V a) { return (1 / std::sqrt(dot(a, a))) * a; }
V lerp(V a, V b, double t) { return (1 - t) * a + t * b; }

// An ellipsoid turned about Z, or a capsule: a cylinder between two spheres.
struct Part {
  enum class Kind { ellipsoid, capsule } kind;
  V centre, half;                 // ellipsoid: centre and half axes; capsule: the two ends
  double cos = 1, sin = 0;        // ellipsoid's turn about Z
  double radius = 0;              // capsule
  int coat = 0;                   // which of the creature's colours
};

struct Hit {
  double t = 1e30;
  V normal;
  int coat = -1;
};

// Nearest root of a t^2 + 2 b t + c = 0 in front of the eye, or a negative number.
double nearest(double a, double b, double c) {
  const double d = b * b - a * c;
  return d < 0 ? -1 : (-b - std::sqrt(d)) / a;
}

void hit_sphere(V o, V d, V centre, double r, int coat, Hit& best) {
  const V e = o - centre;
  const double t = nearest(1, dot(e, d), dot(e, e) - r * r);
  if (t > 0 && t < best.t) best = {t, (1 / r) * (e + t * d), coat};
}

void hit(const Part& p, V o, V d, Hit& best) {
  if (p.kind == Part::Kind::ellipsoid) {
    const auto turn = [&](V v) { return V{p.cos * v.x + p.sin * v.y, -p.sin * v.x + p.cos * v.y, v.z}; };
    const V inverse{1 / p.half.x, 1 / p.half.y, 1 / p.half.z};
    const V e = turn(o - p.centre) * inverse, f = turn(d) * inverse;
    const double t = nearest(dot(f, f), dot(e, f), dot(e, e) - 1);
    if (!(t > 0 && t < best.t)) return;
    const V n = (e + t * f) * inverse;
    best = {t, unit({p.cos * n.x - p.sin * n.y, p.sin * n.x + p.cos * n.y, n.z}), p.coat};
    return;
  }
  const V axis = p.half - p.centre, e = o - p.centre;
  const double aa = dot(axis, axis), ad = dot(axis, d), ae = dot(axis, e);
  const double t = nearest(aa - ad * ad, aa * dot(e, d) - ae * ad, aa * dot(e, e) - ae * ae - p.radius * p.radius * aa);
  if (t > 0 && t < best.t) {
    const double along = (ae + t * ad) / aa;
    if (along > 0 && along < 1) best = {t, (1 / p.radius) * (e + t * d - along * axis), p.coat};
  }
  hit_sphere(o, d, p.centre, p.radius, p.coat, best);
  hit_sphere(o, d, p.half, p.radius, p.coat, best);
}

struct Creature {
  std::vector<Part> parts;
  V colour[4];                    // coat, second coat, limbs, details
  V wave[3];                      // of the coat's pattern
  double phase[3];
  double sharpness;
  V light;
};

V hue(double h, double saturation, double value) {
  const auto c = [&](double shift) {
    return value * (1 - saturation * 0.5 * (1 + std::cos(2 * std::numbers::pi * (h + shift))));
  };
  return {c(0), c(1.0 / 3), c(2.0 / 3)};
}

Creature make_creature(std::uint64_t seed, std::int64_t index) {
  Rng r(seed, Draw::scene, static_cast<std::uint64_t>(index));
  Creature c;
  const double heading = r.uniform(0, 2 * std::numbers::pi), ch = std::cos(heading), sh = std::sin(heading);
  const double scale = r.uniform(0.86, 0.93), drop = 0.04;   // all of it stays within 0.9 of the origin
  // Body frame: x forward, y left, z up, before scale and heading.
  const auto place = [&](double x, double y, double z) { return scale * V{ch * x - sh * y, sh * x + ch * y, z + drop}; };
  const auto ellipsoid = [&](V at, double a, double b, double h, double turn, int coat) {
    const double t = heading + turn;
    c.parts.push_back({Part::Kind::ellipsoid, at, scale * V{a, b, h}, std::cos(t), std::sin(t), 0, coat});
  };
  const auto capsule = [&](V from, V to, double radius, int coat) {
    c.parts.push_back({Part::Kind::capsule, from, to, 1, 0, scale * radius, coat});
  };

  const double body = r.uniform(0.40, 0.46), girth = r.uniform(0.37, 0.45), height = r.uniform(0.37, 0.45);
  ellipsoid(place(0, 0, 0), body, girth, height, 0, 0);
  ellipsoid(place(-0.3 * body, 0, 0.03), 0.75 * body, 1.06 * girth, 1.05 * height, 0, 0);   // haunches
  const double head = r.uniform(0.22, 0.27), tilt = r.uniform(-0.4, 0.4), up = r.uniform(0.15, 0.3);
  const double hx = body + 0.35 * head, hy = 0.3 * tilt;
  ellipsoid(place(hx, hy, up), 1.25 * head, head, head, tilt, 0);
  capsule(place(hx + head, hy + head * tilt, up - 0.04), place(hx + 1.15 * head, hy + 1.15 * head * tilt, up - 0.07), 0.32 * head, 2);
  const double ear = r.uniform(0.11, 0.17);
  for (double side : {-1.0, 1.0}) {
    ellipsoid(place(hx - 0.4 * head, hy + side * 0.7 * head, up + 0.85 * head), 0.35 * ear, ear, ear, tilt + 0.3 * side, 2);
    ellipsoid(place(hx + 0.75 * head, hy + side * 0.62 * head + 0.5 * head * tilt, up + 0.35 * head), 0.2 * head, 0.2 * head, 0.2 * head, 0, 3);
    for (double along : {-0.6, 0.6}) {
      const double stride = r.uniform(-0.1, 0.1), leg = r.uniform(0.08, 0.11);
      capsule(place(along * body, side * 0.75 * girth, -0.4 * height), place(along * body + stride, side * 0.85 * girth, -height - 0.16), leg, 2);
    }
  }
  V at = place(-1.2 * body, 0, -0.02);
  capsule(place(-0.8 * body, 0, 0), at, 0.06, 2);
  double bend = r.uniform(-0.7, 0.7), angle = 0;
  double x = -1.2 * body, y = 0, z = -0.02;
  for (int k = 0; k < 3; ++k) {   // tail
    angle += bend;
    x -= 0.11 * std::cos(angle), y += 0.11 * std::sin(angle), z += r.uniform(-0.02, 0.07);
    const V to = place(x, y, z);
    capsule(at, to, 0.06 - 0.01 * k, 2);
    at = to;
  }

  const double h = r.uniform(0, 1);
  c.colour[0] = hue(h, r.uniform(0.5, 0.9), r.uniform(0.75, 1.0));
  c.colour[1] = hue(h + r.uniform(0.25, 0.6), r.uniform(0.5, 0.9), r.uniform(0.5, 0.95));
  c.colour[2] = hue(h + r.uniform(-0.1, 0.1), 0.45, r.uniform(0.7, 0.95));
  c.colour[3] = {0.06, 0.05, 0.08};
  for (int k = 0; k < 3; ++k) {
    c.wave[k] = r.uniform(4, 9) * unit({r.normal(), r.normal(), r.normal()});
    c.phase[k] = r.uniform(0, 2 * std::numbers::pi);
  }
  c.sharpness = r.uniform(2, 6);
  c.light = unit({r.uniform(-0.6, 0.6), r.uniform(-0.6, 0.6), 1});
  return c;
}

// Lambert under one soft light plus a sky that is brighter above: the colour of a point is the same from everywhere.
V shade(const Creature& c, V point, const Hit& h) {
  V base = c.colour[h.coat];
  if (h.coat == 0) {
    double wave = 0;
    for (int k = 0; k < 3; ++k) wave += std::sin(dot(c.wave[k], point) + c.phase[k]);
    base = lerp(c.colour[0], c.colour[1], 1 / (1 + std::exp(-c.sharpness * wave)));
  }
  const double light = 0.55 + 0.2 * h.normal.z + 0.35 * std::max(0.0, dot(h.normal, c.light));
  return std::min(light, 1.0) * base;
}

// The pixels that a part can touch, from the sphere around it.
struct Extent {
  int x0, x1, y0, y1;
};
Extent extent_of(const Part& p, const Camera& c) {
  const bool ellipsoid = p.kind == Part::Kind::ellipsoid;
  const V at = ellipsoid ? p.centre : 0.5 * (p.centre + p.half), axis = p.half - p.centre;
  const double r = ellipsoid ? std::max({p.half.x, p.half.y, p.half.z}) : 0.5 * std::sqrt(dot(axis, axis)) + p.radius;
  const Mat4& m = c.w2c;
  const double x = m[0] * at.x + m[1] * at.y + m[2] * at.z + m[3], y = m[4] * at.x + m[5] * at.y + m[6] * at.z + m[7];
  const double z = m[8] * at.x + m[9] * at.y + m[10] * at.z + m[11], near = z - r, far = z + r;
  if (near <= 0) return {0, c.width, 0, c.height};
  const auto low = [&](double v) { return v / (v < 0 ? near : far); };
  const auto high = [&](double v) { return v / (v > 0 ? near : far); };
  return {static_cast<int>(std::floor(c.fx * low(x - r) + c.cx)), static_cast<int>(std::ceil(c.fx * high(x + r) + c.cx)),
          static_cast<int>(std::floor(c.fy * low(y - r) + c.cy)), static_cast<int>(std::ceil(c.fy * high(y + r) + c.cy))};
}

Image trace(const Creature& c, const Camera& camera) {
  constexpr int kSub = 3;   // samples along each side of a pixel
  const Mat4 m = rigid_inverse(camera.w2c);
  const V eye{m[3], m[7], m[11]};
  std::vector<Extent> extents;
  for (const Part& p : c.parts) extents.push_back(extent_of(p, camera));
  Image image(camera.width, camera.height, 4);
#pragma omp parallel for schedule(dynamic, 4)
  for (int y = 0; y < camera.height; ++y) {
    std::vector<const Part*> here;
    for (int x = 0; x < camera.width; ++x) {
      here.clear();
      for (std::size_t i = 0; i < extents.size(); ++i) {
        const Extent& e = extents[i];
        if (x >= e.x0 && x < e.x1 && y >= e.y0 && y < e.y1) here.push_back(&c.parts[i]);
      }
      if (here.empty()) continue;
      V sum;
      int hits = 0;
      for (int s = 0; s < kSub * kSub; ++s) {
        const double u = (x + (s % kSub + 0.5) / kSub - camera.cx) / camera.fx;
        const double v = (y + (s / kSub + 0.5) / kSub - camera.cy) / camera.fy;
        const V d = unit({m[0] * u + m[1] * v + m[2], m[4] * u + m[5] * v + m[6], m[8] * u + m[9] * v + m[10]});
        Hit best;
        for (const Part* p : here) hit(*p, eye, d, best);
        if (best.coat < 0) continue;
        sum = sum + shade(c, eye + best.t * d, best);
        ++hits;
      }
      if (hits == 0) continue;
      std::uint8_t* p = image.row(y) + 4 * x;
      const V mean = (1.0 / hits) * sum;
      const double colour[3] = {mean.x, mean.y, mean.z};
      for (int k = 0; k < 3; ++k) p[k] = static_cast<std::uint8_t>(std::clamp(colour[k] * 255 + 0.5, 0.0, 255.0));
      p[3] = static_cast<std::uint8_t>(255.0 * hits / (kSub * kSub) + 0.5);
    }
  }
  return image;
}

}  // namespace

Sample make_scene(const SceneOptions& o, std::int64_t index) {
  MFL_CHECK(o.views >= 1 && o.image_size >= 1, "make_scene: ", o.views, " views of side ", o.image_size);
  const Creature creature = make_creature(o.seed, index);
  Sample s;
  char name[32];
  std::snprintf(name, sizeof name, "scene_%06lld", static_cast<long long>(index));
  s.name = name;
  for (int v = 0; v < o.views; ++v) {
    View view;
    std::snprintf(name, sizeof name, "cam_%03d", v);
    view.name = name;
    view.camera = ring_camera(360.0 * v / o.views, o.elevation_degrees, o.radius, o.fov_degrees, o.image_size);
    view.image = trace(creature, view.camera);
    s.views.push_back(std::move(view));
  }
  return s;
}

}  // namespace mfl::data
