// metrics.json of one object: its rendered views against the truth. Names are those of log.jsonl.
//
//   {"all": {..}, "input": {..}, "held_out": {..}, "views": [{"view", "input", "psnr", "ssim", ..}, ..]}
//
// "all", "input" and "held_out" hold means over the views that have the metric; a group without views is left out, a metric that
// none of a group's views has is null. "all" also holds psnr_held_out, as validation logs it. What is null has its reason
// beside it: "missing": {"lpips": "..."}.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/tensor.h"

namespace mfl::infer {

struct MetricsInput {
  Tensor render;                          // [V, H, W, 3] host f32, clipped here
  Tensor truth;                           // [V, H, W, 3 or 4] host f32; the fourth channel is alpha
  std::vector<std::string> names;         // [V]
  std::vector<std::uint8_t> is_input;     // [V] 1: the model was given this view
  std::array<double, 3> background{1, 1, 1};
  double mask_threshold = 0.1;            // as train/metrics.h has it
  std::vector<double> lpips = {};         // [V] (lpips_per_view), or empty ..
  std::string lpips_missing = "LPIPS was not asked for";   // .. and why
};

struct SceneMetrics {
  struct Value {
    double value = 0;       // NaN: null
    std::string missing;    // then why
  };
  using Values = std::vector<std::pair<std::string, Value>>;   // psnr, ssim, lpips, psnr_foreground, mask_iou, coverage
  struct View {
    std::string name;
    bool input = false;
    Values values;
  };
  std::vector<View> views;
  std::vector<std::pair<std::string, Values>> means;           // all, input, held_out; those that there are
  std::string json() const;
};
SceneMetrics scene_metrics(const MetricsInput&);

}  // namespace mfl::infer
