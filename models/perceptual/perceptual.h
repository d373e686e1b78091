// GS-LRM's perceptual loss on VGG19.                                  gslrm/model/utils_losses.py, PerceptualLoss
//
//   x = 255 image - (123.68, 116.779, 103.939), in RGB order;
//   loss = (1/255) [ L1(x) + L1(conv1_2)/2.6 + L1(conv2_2)/4.8 + L1(conv3_2)/3.7 + L1(conv4_2)/5.6 + L1(conv5_2) 10/1.5 ]
//   with L1 the mean absolute difference between render and target over all elements, features of vgg19_layers() under
//   average pooling.
#pragma once

#include "models/perceptual/vgg.h"

namespace mfl::perceptual {

class PerceptualLoss {
 public:
  static constexpr std::string_view kScope = "loss_calculator.perceptual_loss_module";

  // `chunk` images pass through the network at a time: the features of one chunk are all that is held.
  explicit PerceptualLoss(Scope, int chunk = 4);

  void prepare(const Stream& s, Arena& arena, DType compute) { vgg_.prepare(s, arena, compute); }

  // As LpipsLoss::run.
  void run(Ctx&, const Tensor& render, const Tensor& target, double weight, View loss, View drender = {}) const;

  const Vgg& trunk() const { return vgg_; }

 private:
  int chunk_;
  Vgg vgg_;
};

}  // namespace mfl::perceptual
