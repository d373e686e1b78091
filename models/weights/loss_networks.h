// The frozen loss networks' weights: VGG19 of the perceptual loss, and VGG16 with the linear heads of LPIPS.
//
// A source is a file of any form that these weights are published in, told by its content:
//   a training checkpoint that holds them (loss_calculator...), or what `mfl_convert extract-losses` wrote;
//   imagenet-vgg-verydeep-19.mat of MatConvNet: the published perceptual loss;
//   torchvision's vgg16 or vgg19 state dict (features.<i>.weight);
//   lpips' vgg.pth (lin<k>.model.1.weight);
// or "formula", "formula:SEED": reproducible values that need no file (VGG: perceptual::fill_formula_weights, seed 19
// and 16 unless given; heads: 1/C, the mean over channels). Results with them compare only with each other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/module.h"

namespace mfl::weights {

// Configuration keys mfl.weights.{vgg19, vgg16, lpips}. An empty one is looked for, in this order: in `checkpoints`; for
// VGG19 in $VGG19_WEIGHTS_PATH and ~/.cache/openfacelift/imagenet-vgg-verydeep-19.mat, as the published trainer does.
struct LossNetworkSources {
  std::string vgg19 = {}, vgg16 = {}, lpips = {};
  std::vector<std::string> checkpoints = {};  // of a model; may hold the networks or not; an unreadable one is passed over
};

// Fills every loss-network parameter that the store has (loss_calculator.perceptual_loss_module...,
// .lpips_loss_module...) and logs where from. Parameters of other names stay untouched. LPIPS' scaling constants and
// the aliases lins.<k> are set by LpipsLoss::prepare, which the caller runs afterwards as it does for the perceptual
// loss. Throws DataError: says which file is needed, where it is published and which key names it.
void load_loss_networks(const Stream&, ParamStore&, const LossNetworkSources&);

// What keeps LPIPS from being computed as a metric: empty when every part's key is given or the checkpoint holds it, else
// sentences that say which file is needed, where it is published and which key names it. A key's file is not opened here.
std::string missing_for_lpips(const LossNetworkSources&);

// The names under which files hold a parameter of these networks, its own first. MatConvNet's layers are named as
// io::read_matconvnet does.
std::vector<std::string> published_names(std::string_view parameter);

}  // namespace mfl::weights
