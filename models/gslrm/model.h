// GS-LRM: posed views in, 3D Gaussians out (FaceLift stage 2, `gslrm/model/gslrm.py`).
//
//   views [B, V, H, W, 3] + cameras  -- tokenize ->  patches [B, V*P, p*p*C]  -- patch_embedder ->  tokens
//   tokens [B, T, d] = n_g learned Gaussian tokens, then V*P image tokens; no positional embedding: position and view
//   identity enter through the ray channels only.
//   input_layer_norm, n_layer transformer blocks, then one head for the free tokens and one for the image tokens
//   (p*p Gaussians a token), then the Gaussian decode.
//
// Parameter names and order are the published state dict's.
#pragma once

#include <deque>
#include <vector>

#include "models/gslrm/spec.h"
#include "models/gslrm/gaussians.h"
#include "models/nn/transformer_block.h"

namespace mfl::gslrm {

// Posed views on the model's device; channels beyond the third are ignored.
struct Views {
  Tensor image;      // [B, V, H, W, 3 or 4] f32 in [0, 1] (accum type)
  Tensor c2w;        // [B, V, 4, 4] accum type
  Tensor fxfycxcy;   // [B, V, 4] accum type
};

// Gaussians of B samples: first the n_g free ones, then one an input pixel in the order view, patch row, patch column, row,
// column. Also the type of their gradients.
struct GaussianBatch {
  Tensor xyz, features, scaling, rotation, opacity;   // [B, N, 3], [B, N, K, 3], [B, N, 3], [B, N, 4], [B, N, 1] accum type
  std::int64_t batch() const { return xyz.shape()[0]; }
  Gaussians sample(std::int64_t b) const;              // the same memory
};

// Consecutive blocks as one module, for recomputation in segments.
struct BlockSegment {
  const nn::TransformerBlock* first;
  std::size_t count;
  struct Saved {
    std::vector<nn::TransformerBlock::Saved> blocks;
  };
  Tensor forward(Ctx&, const Tensor& x, Saved&) const;
  void refill(Ctx&, const Tensor& x, Saved&) const;
  Tensor backward(Ctx&, Saved, Tensor dy) const;
};

class Model {
 public:
  Model(Scope, const ModelSpec&);

  struct Saved {
    Tensor patches;                                    // [B, V*P, p*p*C] compute
    nn::LayerNorm::Saved input_norm;                   // [B, T, d] accum
    std::vector<nn::TransformerBlock::Saved> blocks;                  // everything kept, or
    std::vector<Recompute<BlockSegment>::Saved> segments;             // one input a segment
    std::vector<nn::LayerNorm::Saved> free_norm, pixel_norm;          // one a sample
    nn::Linear::Saved free_linear, pixel_linear;
    Tensor free_raw, pixel_raw;                        // [B, n_g, C_g], [B, V*P, p*p*C_g] accum: before the decode
    Views input;
  };
  struct Output {
    GaussianBatch gaussians;
    Tensor tokens;                                     // [B, T, d] accum, after the last block
  };

  Output forward(Ctx&, const Views& input, Saved&) const;
  // Parameter gradients only: images and cameras have none. Calls cx.grads_ready as ranges complete.
  void backward(Ctx&, Saved, const GaussianBatch& gradient) const;

  const ModelSpec& spec() const { return spec_; }
  // FLOPs of one sample's forward pass (products only), for MFU.
  double forward_flops() const;

 private:
  Tensor embed(Ctx&, const Views&, Saved&) const;      // [B, T, d] accum
  void embed_backward(Ctx&, const Tensor& patches, const Tensor& dtokens) const;
  BlockSegment segment(std::size_t i) const;
  std::size_t segments() const;

  ModelSpec spec_;
  Param* view_type_ = nullptr;                         // [2, d], with add_refsrc_marker
  Param& position_;                                    // [n_g, d]
  nn::Linear patch_embedder_;
  nn::LayerNorm input_norm_;
  std::vector<nn::TransformerBlock> blocks_;
  nn::LayerNorm free_norm_;
  nn::Linear free_linear_;
  nn::LayerNorm pixel_norm_;
  nn::Linear pixel_linear_;
  ParamRange stem_, head_;
};

// Fresh weights: every matrix N(0, 0.02^2), every norm 1, embeddings N(0, 0.02^2). Philox, keyed by seed and parameter.
void initialise(const Stream&, ParamStore&, std::uint64_t seed);

}  // namespace mfl::gslrm
