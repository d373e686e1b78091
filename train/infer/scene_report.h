// What filters, crop and pruning have done to a scene: how many Gaussians each left, how opaque and how large they were before
// and are now, and what it has changed in the pictures.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/gslrm/gaussians.h"
#include "models/gslrm/silhouette.h"

namespace mfl::infer {

// Of sigmoid(opacity): ten equal bins over [0, 1]. Of size, the largest exp(scale) * scaling_modifier, in world units: bin edges
// 0, 1e-4, 3e-4, 1e-3, .. 1, without end.
struct Histograms {
  static constexpr std::array<double, 10> kSizeEdges{0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1};
  std::array<std::int64_t, 10> opacity{}, size{};
};
Histograms histograms(const gslrm::Gaussians&, float scaling_modifier);

class SceneReport {
 public:
  // Host Gaussians, as the model made them.
  SceneReport(const gslrm::Gaussians&, float scaling_modifier);

  // After each step, in order: "filters", "silhouettes", "visibility".
  void step(const std::string& name, const gslrm::Gaussians& left);
  void silhouette(const gslrm::SilhouetteCounts& counts) { silhouette_ = counts; }
  // The same views [V, H, W, 3] before and after all steps (host f32); with truth [V, H, W, 3 or 4] also against that.
  void pictures(const Tensor& before, const Tensor& after, const Tensor& truth = {});

  // An object: "steps": [{"name", "gaussians", "share"}], "opacity" and "size": {"edges", "before", "after"}, "silhouettes",
  // "pictures": {"psnr_of_change" (after against before), "psnr_before", "psnr_after"}; a PSNR of equal pictures is null, and
  // "equal": true says so.
  std::string json() const;
  // For a terminal; lines end with \n.
  std::string table() const;

 private:
  struct Step {
    std::string name;
    std::int64_t left;
  };
  struct Pictures {
    double change = 0;
    std::optional<double> before, after;
  };
  float scaling_modifier_;
  std::vector<Step> steps_;
  Histograms before_, after_;
  std::optional<gslrm::SilhouetteCounts> silhouette_;
  std::optional<Pictures> pictures_;
};

}  // namespace mfl::infer
