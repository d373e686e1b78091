#include "train/infer/timings.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace mfl::infer {
namespace {

constexpr std::array<const char*, static_cast<std::size_t>(Phase::count)> kNames = {
    "load", "input", "sampling", "views", "scene", "gaussians", "trim", "ply", "formats", "measure", "turntable", "viewer", "provenance"};
constexpr Phase kFirst = Phase::input, kLastOfViews = Phase::views, kPly = Phase::ply;

double rounded(double seconds) { return std::round(seconds * 1e4) / 1e4; }

}  // namespace

std::int64_t Timings::objects(Phase p) const { return p <= kLastOfViews ? viewed_ : shown_; }

double Timings::to_ply() const {
  double sum = 0;
  for (auto p = static_cast<std::size_t>(kFirst); p <= static_cast<std::size_t>(kPly); ++p)
    if (const std::int64_t n = objects(static_cast<Phase>(p)); n > 0) sum += seconds_[p] / double(n);
  return sum;
}

std::string Timings::json() const {
  nlohmann::ordered_json each = nlohmann::ordered_json::object();
  for (auto p = static_cast<std::size_t>(kFirst); p < seconds_.size(); ++p)
    if (const std::int64_t n = objects(static_cast<Phase>(p)); n > 0 && seconds_[p] > 0) each[kNames[p]] = rounded(seconds_[p] / double(n));
  nlohmann::ordered_json j = {{"load", rounded(seconds(Phase::load))}, {"objects", {{"views", viewed_}, {"scenes", shown_}}}, {"seconds_an_object", each}};
  if (shown_ > 0) j[viewed_ > 0 ? "image_to_ply" : "views_to_ply"] = rounded(to_ply());
  return j.dump(2);
}

std::string Timings::text() const {
  std::string line = fmt::format("weights were loaded in {:.1f} s; ", seconds(Phase::load));
  if (shown_ > 0) line += fmt::format("{} a PLY {:.2f} s later; ", viewed_ > 0 ? "an image is" : "views are", to_ply());
  line += "seconds an object:";
  for (auto p = static_cast<std::size_t>(kFirst); p < seconds_.size(); ++p)
    if (const std::int64_t n = objects(static_cast<Phase>(p)); n > 0 && seconds_[p] > 0) line += fmt::format(" {} {:.2f}", kNames[p], seconds_[p] / double(n));
  return line;
}

}  // namespace mfl::infer
