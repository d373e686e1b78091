// What conv2d needs of cuDNN: one plan a shape, kept for the life of the host thread. Included by CUDA files only.
#pragma once

#include <cudnn.h>

#include <cstdint>

#include "runtime/stream.h"

namespace mfl::cuda {

// Everything that a plan depends on.
struct ConvShape {
  DType dtype = DType::f32;              // bf16 (tensor cores) or f32 (no TF32); sums in f32
  int images = 0, height = 0, width = 0, in = 0;
  int out_height = 0, out_width = 0, out = 0;
  int kernel_h = 0, kernel_w = 0, stride = 1, pad = 0;
  auto operator<=>(const ConvShape&) const = default;
};
std::ostream& operator<<(std::ostream&, const ConvShape&);

// What cuDNN could do of a forward call.
enum class ConvDone { nothing, product, all };

// y = act(conv(x, weight) + bias) in one call where cuDNN has that for the shape (all), else y = conv(x, weight) (product);
// `nothing` where cuDNN supports neither, which is logged once a shape. Algorithms are deterministic. Throws DeviceError
// with the call, the shape and cuDNN's text for every other failure.
ConvDone cudnn_conv_fwd(const Stream&, const ConvShape&, const void* x, const void* weight, const void* bias, bool relu,
                        void* y);
// dx = conv'(dz, weight), or dx += that. False where cuDNN has no deterministic algorithm for the shape, logged once.
bool cudnn_conv_bwd_input(const Stream&, const ConvShape&, const void* dz, const void* weight, void* dx, bool accumulate);
// dweight = sum of products of x and dy, of the shape's dtype (or dweight += that). False as above.
bool cudnn_conv_bwd_weight(const Stream&, const ConvShape&, const void* x, const void* dy, void* dweight, bool accumulate);

}  // namespace mfl::cuda
