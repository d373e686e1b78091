// Losses that are on and teach nothing: a weight above 0, and a value of exactly 0 update after update - of a mask that is nowhere
// above 0.5, say.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/gslrm/loss.h"

namespace mfl {

class IdleLosses {
 public:
  static constexpr int kUpdates = 20;

  // One update's terms and the weights that it had: the losses that have now been 0 in kUpdates updates in a row, each said once.
  std::vector<std::string> take(const std::array<double, gslrm::kTerms>& weights, const std::array<double, gslrm::kTerms>& terms) {
    std::vector<std::string> idle;
    for (std::size_t i = 0; i < gslrm::kTerms; ++i) {
      if (weights[i] == 0) continue;
      zeros_[i] = terms[i] == 0 ? zeros_[i] + 1 : 0;
      if (zeros_[i] == kUpdates) idle.emplace_back(gslrm::kTermNames[i]);
    }
    return idle;
  }

 private:
  std::array<int, gslrm::kTerms> zeros_{};
};

}  // namespace mfl
