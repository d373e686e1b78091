// The convolutional part of a VGG network, frozen: features at five layers, and the gradient to the input only.
// Simonyan and Zisserman 2015. 3x3 convolutions with padding 1, each followed by a ReLU; 2x2 pooling between stages.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "kernels/conv/pool.h"
#include "runtime/module.h"

namespace mfl::perceptual {

struct VggLayer {
  std::string name;                       // under the network's scope: "conv1", "slice1.0"
  std::int64_t in = 0, out = 0;           // channels
  bool tap = false;                       // its output, after the ReLU, is a feature
  bool pool_after = false;
};

inline constexpr int kTaps = 5;
using Taps = std::array<Tensor, kTaps>;   // [N, h, w, C] compute type

// VGG16 as lpips names it (slice1.0 ...): 13 convolutions, features relu1_2, 2_2, 3_3, 4_3, 5_3.
std::vector<VggLayer> vgg16_layers();
// VGG19 as GS-LRM's perceptual loss names it (conv1 ...): 16 convolutions, features relu1_2, 2_2, 3_2, 4_2, 5_2. The last
// two belong to the checkpoint and are not computed.
std::vector<VggLayer> vgg19_layers();

class Vgg {
 public:
  static constexpr int kMaxLayers = 16;

  // Registers <name>.weight [O, I, 3, 3] and <name>.bias [O], in order. Exactly kTaps layers are taps.
  Vgg(Scope, Pool, std::vector<VggLayer>);

  // Packs the weights for the convolutions. Call after the parameters are set, and again when they change; `arena` keeps
  // the packed copy, `compute` is the type of every later run.
  void prepare(const Stream&, Arena&, DType compute);

  struct Saved {
    std::array<Tensor, kMaxLayers> y;     // [N, h, w, C] compute type: each convolution's output, after the ReLU
  };
  // x [N, H, W, 3] compute type, H and W at least 16.
  Taps forward(Ctx&, const Tensor& x, Saved&) const;
  // dtaps is consumed: its tensors collect the gradient on the way down. Returns dx [N, H, W, 3].
  Tensor backward(Ctx&, Saved, Taps dtaps) const;

  const std::vector<VggLayer>& layers() const { return layers_; }
  Param& weight(std::size_t layer) const { return *weights_[layer]; }
  Param& bias(std::size_t layer) const { return *biases_[layer]; }

 private:
  Pool pool_;
  std::vector<VggLayer> layers_;
  std::size_t used_ = 0;                  // layers up to and including the last tap
  std::vector<Param*> weights_, biases_;
  std::vector<Tensor> packed_weights_;    // [O, 3, 3, I] compute type
  std::vector<Tensor> packed_biases_;     // [O]          compute type
};

// Values that need no file, for tests: with k = 0, 1, 2 ... over weight, bias, weight, ... and i the row-major element,
//   x = ((i+1) 0x9E3779B1 + (k+1) 0x85EBCA77 + seed 0xC2B2AE3D) mod 2^32, mixed by
//   x ^= x >> 16, x *= 0x7feb352d, x ^= x >> 15, x *= 0x846ca68b, x ^= x >> 16;   u = x / 2^32
//   weight = (2u - 1) sqrt(6 / (9 I)),  bias = (2u - 1) 0.05.
void fill_formula_weights(const Stream&, const Vgg&, std::uint32_t seed);
// Tensor k of them: a weight [O, I, 3, 3] or a bias [O].
void fill_formula_values(const Stream&, const Param&, std::uint32_t k, std::uint32_t seed);

// Sets a parameter from a host tensor of any floating type and the same number of elements. Waits for the copy.
void set_values(const Stream&, const Param&, const Tensor& host);

}  // namespace mfl::perceptual
