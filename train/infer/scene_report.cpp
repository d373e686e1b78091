#include "train/infer/scene_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "train/metrics.h"

namespace mfl::infer {
namespace {

using nlohmann::ordered_json;

double mean_psnr(const Tensor& render, const Tensor& target) {
  // Over all views at once: a mean of decibels would be infinite as soon as one view is equal.
  const Shape &r = render.shape(), &t = target.shape();
  return psnr(render.reshape({1, r[0] * r[1], r[2], r[3]}), target.reshape({1, t[0] * t[1], t[2], t[3]}), 0);
}
ordered_json number(double x) { return std::isfinite(x) ? ordered_json(x) : ordered_json(); }

}  // namespace

Histograms histograms(const gslrm::Gaussians& g, float scaling_modifier) {
  Histograms h;
  for (std::int64_t i = 0; i < g.xyz.shape()[0]; ++i) {
    const double opacity = 1 / (1 + std::exp(-double(g.opacity.data<float>()[i])));
    const float* s = g.scaling.data<float>() + 3 * i;
    const double size = std::exp(double(std::max({s[0], s[1], s[2]}))) * double(scaling_modifier);
    ++h.opacity[static_cast<std::size_t>(std::clamp(opacity * 10, 0.0, 9.0))];
    const auto& edges = Histograms::kSizeEdges;
    ++h.size[static_cast<std::size_t>(std::max<std::ptrdiff_t>(std::upper_bound(edges.begin(), edges.end(), size) - edges.begin() - 1, 0))];
  }
  return h;
}

SceneReport::SceneReport(const gslrm::Gaussians& g, float scaling_modifier)
    : scaling_modifier_(scaling_modifier), steps_{{"model", g.xyz.shape()[0]}}, before_(histograms(g, scaling_modifier)), after_(before_) {}

void SceneReport::step(const std::string& name, const gslrm::Gaussians& left) {
  steps_.push_back({name, left.xyz.shape()[0]});
  after_ = histograms(left, scaling_modifier_);
}

void SceneReport::pictures(const Tensor& before, const Tensor& after, const Tensor& truth) {
  MFL_CHECK(before.shape() == after.shape(), "SceneReport: pictures ", before.shape(), " before and ", after.shape(), " after");
  Pictures p;
  p.change = mean_psnr(after, before);
  if (truth) p.before = mean_psnr(before, truth), p.after = mean_psnr(after, truth);
  pictures_ = p;
}

std::string SceneReport::json() const {
  const double all = double(std::max<std::int64_t>(steps_.front().left, 1));
  ordered_json j = {{"steps", ordered_json::array()}};
  for (const Step& s : steps_) j["steps"].push_back({{"name", s.name}, {"gaussians", s.left}, {"share", double(s.left) / all}});
  ordered_json tenths = ordered_json::array();
  for (int i = 0; i <= 10; ++i) tenths.push_back(i / 10.0);
  j["opacity"] = {{"edges", tenths}, {"before", before_.opacity}, {"after", after_.opacity}};
  j["size"] = {{"edges", Histograms::kSizeEdges}, {"before", before_.size}, {"after", after_.size}};
  if (silhouette_) j["silhouettes"] = {{"before", silhouette_->before}, {"kept", silhouette_->kept}, {"unseen", silhouette_->unseen}, {"outside", silhouette_->outside}};
  if (pictures_) {
    ordered_json p = {{"psnr_of_change", number(pictures_->change)}};
    if (std::isinf(pictures_->change)) p["equal"] = true;
    if (pictures_->before) p["psnr_before"] = number(*pictures_->before);
    if (pictures_->after) p["psnr_after"] = number(*pictures_->after);
    j["pictures"] = std::move(p);
  }
  return j.dump(2);
}

std::string SceneReport::table() const {
  const double all = double(std::max<std::int64_t>(steps_.front().left, 1));
  std::string out = fmt::format("{:<14}{:>12}{:>9}\n", "after", "Gaussians", "share");
  for (const Step& s : steps_) out += fmt::format("{:<14}{:>12}{:>8.2f}%\n", s.name, s.left, 100 * double(s.left) / all);
  out += fmt::format("{:<14}{:>12}{:>12}    {:<14}{:>12}{:>12}\n", "opacity from", "before", "after", "size from", "before", "after");
  for (std::size_t i = 0; i < 10; ++i)
    out += fmt::format("{:<14.1f}{:>12}{:>12}    {:<14g}{:>12}{:>12}\n", double(i) / 10, before_.opacity[i], after_.opacity[i], Histograms::kSizeEdges[i],
                       before_.size[i], after_.size[i]);
  if (silhouette_) out += fmt::format("outside the animal's outline, by view: {}; seen by no view: {}\n", fmt::join(silhouette_->outside, " "), silhouette_->unseen);
  if (pictures_) {
    out += std::isinf(pictures_->change) ? std::string("the pictures are the same\n") : fmt::format("pictures after against before: {:.2f} dB PSNR\n", pictures_->change);
    if (pictures_->before && pictures_->after) out += fmt::format("against the truth: {:.2f} dB before, {:.2f} dB after\n", *pictures_->before, *pictures_->after);
  }
  return out;
}

}  // namespace mfl::infer
