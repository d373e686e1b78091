// LPIPS, version 0.1, VGG16 trunk.                                    Zhang et al. 2018, eq. 1; lpips 0.1.4, net='vgg'
//
//   x = (2 image - 1 - shift) / scale;  loss = mean over images of
//     sum_k mean over pixels of sum_c lin_k,c (fhat_k,c(render) - fhat_k,c(target))^2
//   with f_k the features of vgg16_layers() under maximum pooling and fhat their unit-normalised pixels.
#pragma once

#include <functional>

#include "models/perceptual/vgg.h"

namespace mfl::perceptual {

class LpipsLoss {
 public:
  static constexpr std::string_view kScope = "loss_calculator.lpips_loss_module";

  // `chunk` images pass through the network at a time: the features of one chunk are all that is held.
  explicit LpipsLoss(Scope, int chunk = 4);

  // Call after the parameters are set. Also writes the two scaling_layer constants and copies lin<k> to its alias lins.<k>.
  void prepare(const Stream&, Arena&, DType compute);

  // render [M, H, W, 3] accum type, target [M, H, W, 3 or 4] f32 (alpha is ignored), H and W at least 16.
  //   loss [1] accum type: overwritten with the unweighted value.
  //   drender [M, H, W, 3] accum type: weight * gradient is added; not given: the value only (validation).
  void run(Ctx&, const Tensor& render, const Tensor& target, double weight, View loss, View drender = {}) const;

  const Vgg& trunk() const { return vgg_; }
  Param& head(int k) const { return *heads_[std::size_t(k)]; }   // [1, C, 1, 1]
  // Heads from a source of host tensors by their published names: lin0.model.1.weight ... lin4.model.1.weight.
  void set_heads(const Stream&, const std::function<Tensor(const std::string& name)>& source);

 private:
  int chunk_;
  Param &shift_, &scale_;
  Vgg vgg_;
  std::array<Param*, kTaps> heads_, aliases_;
};

}  // namespace mfl::perceptual
