// 2D convolution (cross-correlation) of channel-last feature maps, with bias and optional ReLU:
//   y[n,h,w,o] = act( bias[o] + sum_{kh,kw,i} x[n, h*stride + kh - pad, w*stride + kw - pad, i] weight[o,kh,kw,i] ),
//   x = 0 outside.
//
//   Axes: N images, H W input, I input channels, O output channels, P = (H + 2 pad - KH) / stride + 1 and Q alike.
//   Products accumulate in f32 (f64 for f64). On CUDA the algorithms are deterministic; f32 is true f32 (no TF32).
#pragma once

#include "runtime/context.h"

namespace mfl {

// Checkpoints hold [O, I, KH, KW]; the kernels read [O, KH, KW, I]. Once per change of the weights.
struct Conv2dPack {
  ConstView weight;        // [O, I, KH, KW]  f64 | f32
  View packed;             // [O, KH, KW, I]  out, f64 | f32 | bf16
};
void conv2d_pack(const Stream&, const Conv2dPack&);

struct Conv2dFwd {
  ConstView x;             // [N, H, W, I]    f64 | f32 | bf16
  ConstView weight;        // [O, KH, KW, I]  dtype of x
  ConstView bias = {};     // [O]             dtype of x; not given: no bias
  int stride = 1, pad = 1; // of both axes
  bool relu = false;
  View y;                  // [N, P, Q, O]    out, dtype of x
};
void conv2d_fwd(const Stream&, const Conv2dFwd&);

// dx (mode) the gradient to x. With dz = dy, or dy where y > 0 and 0 elsewhere if the forward had the ReLU:
//   dx[n,h,w,i] = sum_{kh,kw,o} dz[n, (h + pad - kh)/stride, (w + pad - kw)/stride, o] weight[o,kh,kw,i]
// over the terms whose indices are whole and inside.
struct Conv2dBwdInput {
  ConstView dy;            // [N, P, Q, O]    dtype of weight
  ConstView y = {};        // [N, P, Q, O]    the forward's output; given: the forward had the ReLU
  ConstView weight;        // [O, KH, KW, I]
  int stride = 1, pad = 1;
  View dx;                 // [N, H, W, I]    dtype of weight
  GradMode dx_mode = GradMode::overwrite;
  View scratch = {};       // [N, P, Q, O]    dtype of weight, CUDA only, where y is given: dz. May be dy's own memory.
};
void conv2d_bwd_input(const Stream&, const Conv2dBwdInput&);

// Without ReLU (dy is the gradient of the sum):
//   dweight[o,kh,kw,i] = sum_{n,h,w} dy[n,h,w,o] x[n, h*stride + kh - pad, w*stride + kw - pad, i],  dbias = sum_{n,h,w} dy.
// The sum of products is rounded to the dtype of x, as cuDNN stores it, then stored or added in f32 (f64 for f64).
struct Conv2dBwdWeight {
  ConstView x;             // [N, H, W, I]    f64 | f32 | bf16
  ConstView dy;            // [N, P, Q, O]    dtype of x
  int stride = 1, pad = 1;
  View dweight;            // [O, KH, KW, I]  accum type
  View dbias = {};         // [O]             accum type; not given: no bias
  GradMode dw_mode = GradMode::overwrite;  // of both; ignore: frozen
  View scratch = {};       // [conv2d_bwd_weight_scratch(dy, dweight)] f32, CUDA only: partial sums
};
void conv2d_bwd_weight(const Stream&, const Conv2dBwdWeight&);
std::int64_t conv2d_bwd_weight_scratch(const Shape& dy, const Shape& dweight);
// Blocks that share the output's pixels on CUDA; parts of the scratch's size.
std::int64_t conv2d_bias_parts(std::int64_t pixels);
std::int64_t conv2d_weight_parts(std::int64_t pixels, std::int64_t numel);

// Size of an axis of the output. Throws ShapeError when the kernel does not fit.
std::int64_t conv2d_out_size(std::int64_t in, std::int64_t kernel, int stride, int pad);

namespace cpu {
void conv2d_pack(const Conv2dPack&);
void conv2d_fwd(const Conv2dFwd&);
void conv2d_bwd_input(const Conv2dBwdInput&);
void conv2d_bwd_weight(const Conv2dBwdWeight&);
}  // namespace cpu
namespace cuda {
void conv2d_pack(const Stream&, const Conv2dPack&);
void conv2d_fwd(const Stream&, const Conv2dFwd&);
void conv2d_bwd_input(const Stream&, const Conv2dBwdInput&);
void conv2d_bwd_weight(const Stream&, const Conv2dBwdWeight&);
}  // namespace cuda

}  // namespace mfl
