#include "train/infer/scene_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "train/metrics.h"

namespace mfl::infer {
namespace {

using nlohmann::ordered_json;
using Value = SceneMetrics::Value;
using Values = SceneMetrics::Values;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kWindow = 11;   // of SSIM

Value value(double x) {
  if (std::isnan(x)) return {kNone, "the pictures hold values that are no numbers"};
  if (std::isinf(x)) return {kNone, "the pictures are equal: it is infinite"};
  return {x, ""};
}

// Over the views of a group that have it; why no view has it is what the first says.
Values means(const std::vector<const SceneMetrics::View*>& views) {
  Values all;
  for (std::size_t m = 0; m < views.front()->values.size(); ++m) {
    double sum = 0;
    int count = 0;
    for (const auto* v : views)
      if (std::isfinite(v->values[m].second.value)) sum += v->values[m].second.value, ++count;
    all.emplace_back(views.front()->values[m].first, count > 0 ? Value{sum / count, ""} : Value{kNone, views.front()->values[m].second.missing});
  }
  return all;
}

void add(ordered_json& j, const Values& values) {
  ordered_json missing = ordered_json::object();
  for (const auto& [name, v] : values) {
    j[name] = std::isfinite(v.value) ? ordered_json(v.value) : ordered_json();
    if (!std::isfinite(v.value)) missing[name] = v.missing;
  }
  if (!missing.empty()) j["missing"] = std::move(missing);
}

}  // namespace

SceneMetrics scene_metrics(const MetricsInput& in) {
  const Shape &r = in.render.shape(), &t = in.truth.shape();
  MFL_CHECK(r.rank() == 4 && t.rank() == 4 && r[0] > 0, "scene_metrics: render ", r, ", truth ", t);
  const std::int64_t views = r[0];
  MFL_CHECK(in.names.size() == std::size_t(views) && in.is_input.size() == std::size_t(views) && (in.lpips.empty() || in.lpips.size() == std::size_t(views)),
            "scene_metrics: ", views, " views, ", in.names.size(), " names, ", in.is_input.size(), " marks of inputs, ", in.lpips.size(), " LPIPS");
  Tensor render = Tensor::on_heap(r, DType::f32);
  // What is no number stays none.
  for (std::int64_t i = 0; i < render.numel(); ++i) {
    const float x = in.render.data<float>()[i];
    render.data<float>()[i] = x < 0 ? 0.0f : x > 1 ? 1.0f : x;
  }
  SceneMetrics m;
  for (std::int64_t v = 0; v < views; ++v) {
    const auto i = static_cast<std::size_t>(v);
    SceneMetrics::View one{in.names[i], in.is_input[i] != 0, {}};
    bool numbers = true;
    const std::int64_t per = r[1] * r[2] * 3;
    for (std::int64_t e = v * per; e < (v + 1) * per; ++e) numbers &= std::isfinite(render.data<float>()[e]);
    auto say = [&](const char* name, Value x) { one.values.emplace_back(name, numbers ? std::move(x) : value(kNone)); };
    say("psnr", value(psnr(render, in.truth, v)));
    say("ssim", r[1] >= kWindow && r[2] >= kWindow ? value(metric_ssim(render, in.truth, v)) : Value{kNone, "the pictures are smaller than its window of 11 pixels"});
    say("lpips", in.lpips.empty() ? Value{kNone, in.lpips_missing} : value(in.lpips[i]));
    const bool alpha = t[3] == 4;
    const std::string no_alpha = "the truth has no alpha";
    const std::optional<double> foreground = alpha ? foreground_psnr(render, in.truth, v) : std::nullopt;
    say("psnr_foreground", foreground ? value(*foreground) : Value{kNone, alpha ? "the truth has no foreground" : no_alpha});
    if (alpha) {
      const MaskScore mask = mask_score(render.rows(v, 1), in.truth.rows(v, 1), in.background, in.mask_threshold);
      say("mask_iou", mask.expected > 0 || mask.coverage > 0 ? value(mask.iou) : Value{kNone, "neither the truth nor the render has a foreground"});
      say("coverage", value(mask.coverage));
    } else {
      say("mask_iou", {kNone, no_alpha});
      say("coverage", {kNone, no_alpha});
    }
    m.views.push_back(std::move(one));
  }
  std::vector<const SceneMetrics::View*> all, inputs, held;
  for (const auto& v : m.views) all.push_back(&v), (v.input ? inputs : held).push_back(&v);
  Values over_all = means(all);
  if (held.empty()) {
    over_all.emplace_back("psnr_held_out", Value{kNone, "every view was an input"});
  } else {
    const Values of_held = means(held);
    over_all.emplace_back("psnr_held_out", of_held.front().second);
  }
  m.means.emplace_back("all", std::move(over_all));
  if (!inputs.empty()) m.means.emplace_back("input", means(inputs));
  if (!held.empty()) m.means.emplace_back("held_out", means(held));
  return m;
}

std::string SceneMetrics::json() const {
  ordered_json j = ordered_json::object(), list = ordered_json::array();
  for (const auto& [group, values] : means) {
    ordered_json of = ordered_json::object();
    add(of, values);
    j[group] = std::move(of);
  }
  for (const View& v : views) {
    ordered_json one = {{"view", v.name}, {"input", v.input}};
    add(one, v.values);
    list.push_back(std::move(one));
  }
  j["views"] = std::move(list);
  return j.dump(2);
}

}  // namespace mfl::infer
