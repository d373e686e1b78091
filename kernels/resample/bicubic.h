// Antialiased bicubic resize, rows first, then columns.            interpolate(mode="bicubic", antialias=True) of PyTorch
//                                                                        for floats; Image.resize(BICUBIC) of Pillow for bytes
//   Floats keep their overshoot beyond [0, 1]. Bytes are Pillow's arithmetic bit for bit (22-bit weights, each pass
//   rounded and clipped to 8 bits), and leave as byte / 255 in f32. The window is that of bicubic_math.h.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct ResizeBicubic {
  ConstView x;   // [N, H, W, C]   f64 | f32 | u8
  View rows;     // [N, H, W', C]  x's type; out: after the first pass
  View y;        // [N, H', W', C] x's type, f32 for u8; out
};
void resize_bicubic(const Stream&, const ResizeBicubic&);

namespace cpu {
void resize_bicubic(const ResizeBicubic&);
}
namespace cuda {
void resize_bicubic(const Stream&, const ResizeBicubic&);
}

}  // namespace mfl
