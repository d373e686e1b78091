#include "data/demo/walk.h"

#include <algorithm>
#include <numbers>

#include "data/demo/noise.h"
#include "runtime/rng.h"

namespace mfl::data::demo {
namespace {

constexpr double kStep = 0.5;             // mm
constexpr double kBefore = 260;           // mm
constexpr double kTick = 0.005;           // s
constexpr double kStart = 15;             // mm from the centre
constexpr double kLookAhead = 30;         // mm: where it would be soon decides whether it turns back
constexpr double kFree = 10, kTurn = 45;  // mm from the centre: turns as it likes; turns back
constexpr double kMostCurvature = 1 / 38.0;

}  // namespace

Walk::Walk(double seconds, V centre, std::uint64_t seed) {
  Rng rng(seed, Draw::scene, 1);
  const std::uint32_t wander = rng.bits(), pace = rng.bits();
  const double start = rng.uniform(-std::numbers::pi, std::numbers::pi), side = rng.uniform(0, 2 * std::numbers::pi);

  // 62 mm/s, faster and slower.
  travelled_.push_back(0);
  for (double t = 0; t < seconds; t += kTick) travelled_.push_back(travelled_.back() + kTick * 62 * (1 + 0.45 * noise(0.8 * t, pace)));

  Place p{centre + kStart * V{std::cos(side), std::sin(side), 0}, start};
  const auto count = static_cast<std::size_t>((2 * kBefore + travelled_.back()) / kStep) + 2;
  double curvature = 0;
  for (std::size_t i = 0; i < count; ++i) {
    places_.push_back(p);
    const V home = centre - (p.point + kLookAhead * p.forward());
    const double away = smooth(kFree, kTurn, length(home));
    const double off = std::remainder(std::atan2(home.y, home.x) - p.heading, 2 * std::numbers::pi);
    const double wish = (1 - away) * noise(static_cast<double>(i) * kStep / 55, wander) + away * std::clamp(2 * off, -1.0, 1.0);
    curvature += (kMostCurvature * wish - curvature) * (kStep / 9);   // no kinks
    p.heading += kStep * curvature;
    p.point = p.point + kStep * p.forward();
  }
}

double Walk::travelled(double seconds) const {
  const double t = std::clamp(seconds / kTick, 0.0, static_cast<double>(travelled_.size() - 1));
  const auto i = std::min(static_cast<std::size_t>(t), travelled_.size() - 1), j = std::min(i + 1, travelled_.size() - 1);
  return travelled_[i] + (t - static_cast<double>(i)) * (travelled_[j] - travelled_[i]);
}

Walk::Place Walk::at(double arc) const {
  const double t = std::clamp((arc + kBefore) / kStep, 0.0, static_cast<double>(places_.size() - 2));
  const auto i = static_cast<std::size_t>(t);
  const double f = t - static_cast<double>(i);
  return {lerp(places_[i].point, places_[i + 1].point, f), (1 - f) * places_[i].heading + f * places_[i + 1].heading};
}

}  // namespace mfl::data::demo
