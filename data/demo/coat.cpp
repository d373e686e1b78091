#include "data/demo/coat.h"

#include <algorithm>

#include "data/demo/noise.h"
#include "runtime/rng.h"

namespace mfl::data::demo {

Coat make_coat(const Body& body, std::uint64_t seed) {
  struct Fur {
    V back, belly;
  };
  static constexpr Fur kFurs[] = {{{0.105, 0.062, 0.034}, {0.60, 0.50, 0.38}},    // agouti
                                  {{0.030, 0.027, 0.027}, {0.33, 0.29, 0.26}},    // black
                                  {{0.155, 0.145, 0.145}, {0.66, 0.63, 0.60}},    // grey
                                  {{0.290, 0.150, 0.060}, {0.72, 0.61, 0.46}}};   // fawn
  Rng rng(seed, Draw::scene, 3);
  const Fur fur = kFurs[rng.below(4)];
  const std::uint32_t grain = rng.bits(), patch = rng.bits(), edge = rng.bits();
  const double spotted = rng.uniform(0.12, 0.3);   // above this, the slow noise is a white patch
  // One patch is always there, on one flank, so that left and right differ.
  const V flank{rng.uniform(-22, 2), rng.uniform(0, 1) < 0.5 ? 12.0 : -12.0, 19};
  const double wide = rng.uniform(7, 10);
  const V white{0.70, 0.66, 0.60}, pink{0.62, 0.31, 0.27}, black{0.006, 0.005, 0.006};

  Coat coat;
  for (const Body::Vertex& v : body.vertices) {
    const auto part = [&](Part p) { return double{v.parts[static_cast<std::size_t>(p)]}; };
    const V p = v.rest;
    // Hairs lie along the body: noise that is long in x.
    const V hair{p.x / 2.2, p.y / 0.75, p.z / 0.75};
    const double streak = noise(hair, grain), tuft = fractal(0.16 * p, 3, edge);
    const double above = (p.z - 13.5) / 6 + 0.55 * v.normal.z + 0.8 * tuft;
    V c = lerp(fur.belly, fur.back, smooth(-0.9, 0.5, above));
    c = lerp(c, 0.62 * fur.back, 0.7 * smooth(5, 1.5, std::abs(p.y) + 1.5 * tuft) * smooth(0.4, 0.9, v.normal.z));   // line along the back
    const double slow = smooth(spotted, spotted + 0.05, fractal(V{p.x / 24, p.y / 18 + 7, p.z / 24}, 2, patch) + 0.05 * streak);
    const double spot = std::max(slow, smooth(wide, wide - 1.2, length(V{0.75, 1, 1.2} * (p - flank)) + 5 * tuft + 0.6 * streak));
    c = lerp(c, white, 0.92 * spot * (1 - part(Part::eye)));
    c = (1 + 0.26 * streak + 0.2 * tuft) * c;

    const V skin = (1 + 0.10 * streak) * pink;
    // The back of an ear is furred thinly, the inside is bare.
    const double bare = part(Part::ear) * (0.55 + 0.45 * smooth(-0.1, 0.4, dot(v.normal, V{0.8, p.y > 0 ? 0.5 : -0.5, 0.2})));
    c = lerp(c, skin, bare);
    // Rings of scales on the tail.
    c = lerp(c, (0.86 + 0.10 * std::sin(3.2 * p.x)) * skin, part(Part::tail) * smooth(-36, -41, p.x));
    c = lerp(c, 1.05 * skin, part(Part::paw));
    c = lerp(c, 0.95 * skin, smooth(0.3, 0.8, part(Part::nose)));
    const double eye = smooth(0.35, 0.6, part(Part::eye));
    c = lerp(c, black, eye);
    coat.colours.push_back(c);
    coat.gloss.push_back(static_cast<float>(eye + 0.12 * part(Part::nose)));
    const double furry = 1 - eye - part(Part::tail) - part(Part::paw) - part(Part::nose) - 0.7 * part(Part::ear);
    const V lean{0.4 * streak, noise(hair + V{31, 0, 0}, grain), noise(hair + V{0, 47, 0}, grain)};
    coat.fur.push_back(0.33 * std::max(0.0, furry) * lean);
  }
  return coat;
}

}  // namespace mfl::data::demo
