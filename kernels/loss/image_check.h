// Checks that the image losses share.
#pragma once

#include "kernels/common/dispatch.h"

namespace mfl {

// render [M, H, W, 3] f64 | f32, target [M, H, W, 3 or 4] f32, both contiguous on the stream's device.
inline void check_images(const Stream& s, const char* op, const ConstView& render, const ConstView& target, bool need_alpha) {
  MFL_CHECK(render && render.shape.rank() == 4 && render.shape[3] == 3, op, ": render ", render.shape,
            ", expected [M, H, W, 3]");
  MFL_CHECK(render.dtype == DType::f64 || render.dtype == DType::f32, op, ": render is ", render.dtype,
            ", expected f64 or f32");
  check(s, op, "render", render, render.shape, render.dtype);
  MFL_CHECK(target && target.shape.rank() == 4 && (target.shape[3] == 3 || target.shape[3] == 4), op, ": target ",
            target.shape, ", expected [M, H, W, 3] or [M, H, W, 4]");
  MFL_CHECK(!need_alpha || target.shape[3] == 4, op, ": target ", target.shape,
            " has no alpha channel; a masked loss needs [M, H, W, 4]");
  check(s, op, "target", target, {render.shape[0], render.shape[1], render.shape[2], target.shape[3]}, DType::f32);
}

}  // namespace mfl
