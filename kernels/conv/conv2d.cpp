#include "kernels/conv/conv2d.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

std::int64_t conv2d_out_size(std::int64_t in, std::int64_t kernel, int stride, int pad) {
  MFL_CHECK(stride >= 1 && pad >= 0, "conv2d: stride ", stride, " and padding ", pad);
  MFL_CHECK(in + 2 * pad >= kernel, "conv2d: a kernel of ", kernel, " does not fit into ", in, " elements with padding ", pad);
  return (in + 2 * pad - kernel) / stride + 1;
}

void conv2d_pack(const Stream& s, const Conv2dPack& a) {
  MFL_CHECK(a.weight && a.weight.shape.rank() == 4, "conv2d_pack: weight ", a.weight.shape, ", expected [O, I, KH, KW]");
  MFL_CHECK(a.weight.dtype == DType::f64 || a.weight.dtype == DType::f32, "conv2d_pack: weight is ", a.weight.dtype,
            ", expected f64 or f32");
  const Shape& w = a.weight.shape;
  check(s, "conv2d_pack", "weight", a.weight, w, a.weight.dtype);
  check(s, "conv2d_pack", "packed", a.packed, {w[0], w[2], w[3], w[1]}, a.packed.dtype);
  MFL_DISPATCH(s, conv2d_pack, a);
}

void conv2d_fwd(const Stream& s, const Conv2dFwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() == 4, "conv2d_fwd: x ", a.x.shape, ", expected [N, H, W, I]");
  MFL_CHECK(a.weight && a.weight.shape.rank() == 4, "conv2d_fwd: weight ", a.weight.shape, ", expected [O, KH, KW, I]");
  const Shape &x = a.x.shape, &w = a.weight.shape;
  check(s, "conv2d_fwd", "x", a.x, x, a.x.dtype);
  check(s, "conv2d_fwd", "weight", a.weight, {w[0], w[1], w[2], x[3]}, a.x.dtype);
  if (a.bias) check(s, "conv2d_fwd", "bias", a.bias, {w[0]}, a.x.dtype);
  check(s, "conv2d_fwd", "y", a.y,
        {x[0], conv2d_out_size(x[1], w[1], a.stride, a.pad), conv2d_out_size(x[2], w[2], a.stride, a.pad), w[0]}, a.x.dtype);
  MFL_DISPATCH(s, conv2d_fwd, a);
}

void conv2d_bwd_input(const Stream& s, const Conv2dBwdInput& a) {
  MFL_CHECK(a.weight && a.weight.shape.rank() == 4, "conv2d_bwd_input: weight ", a.weight.shape,
            ", expected [O, KH, KW, I]");
  if (a.dx_mode == GradMode::ignore) return;
  MFL_CHECK(a.dx && a.dx.shape.rank() == 4, "conv2d_bwd_input: dx ", a.dx.shape, ", expected [N, H, W, I]");
  const Shape &dx = a.dx.shape, &w = a.weight.shape;
  const DType t = a.weight.dtype;
  check(s, "conv2d_bwd_input", "weight", a.weight, {w[0], w[1], w[2], dx[3]}, t);
  check(s, "conv2d_bwd_input", "dx", a.dx, dx, t);
  const Shape out{dx[0], conv2d_out_size(dx[1], w[1], a.stride, a.pad), conv2d_out_size(dx[2], w[2], a.stride, a.pad), w[0]};
  check(s, "conv2d_bwd_input", "dy", a.dy, out, t);
  if (a.y) {
    check(s, "conv2d_bwd_input", "y", a.y, out, t);
    if (s.device().is_cuda()) check(s, "conv2d_bwd_input", "scratch", a.scratch, out, t);
  }
  MFL_DISPATCH(s, conv2d_bwd_input, a);
}

void conv2d_bwd_weight(const Stream& s, const Conv2dBwdWeight& a) {
  if (a.dw_mode == GradMode::ignore) return;
  const char* op = "conv2d_bwd_weight";
  MFL_CHECK(a.x && a.x.shape.rank() == 4, op, ": x ", a.x.shape, ", expected [N, H, W, I]");
  MFL_CHECK(a.dweight && a.dweight.shape.rank() == 4, op, ": dweight ", a.dweight.shape, ", expected [O, KH, KW, I]");
  const Shape &x = a.x.shape, &w = a.dweight.shape;
  const DType t = a.x.dtype;
  check(s, op, "x", a.x, x, t);
  check(s, op, "dy", a.dy,
        {x[0], conv2d_out_size(x[1], w[1], a.stride, a.pad), conv2d_out_size(x[2], w[2], a.stride, a.pad), w[0]}, t);
  check(s, op, "dweight", a.dweight, {w[0], w[1], w[2], x[3]}, accum_of(t));
  if (a.dbias) check(s, op, "dbias", a.dbias, {w[0]}, accum_of(t));
  if (s.device().is_cuda()) check(s, op, "scratch", a.scratch, {conv2d_bwd_weight_scratch(a.dy.shape, w)}, DType::f32);
  MFL_DISPATCH(s, conv2d_bwd_weight, a);
}

// Partial rows of dbias, a copy of dweight for the product's own type, and partial copies of dweight where it is small.
std::int64_t conv2d_bwd_weight_scratch(const Shape& dy, const Shape& dweight) {
  const std::int64_t parts = conv2d_bias_parts(dy.rows()) * dy[-1], rounded = (parts + 63) / 64 * 64;
  return rounded + dweight.numel() * std::max<std::int64_t>(1, conv2d_weight_parts(dy.rows(), dweight.numel()));
}
std::int64_t conv2d_bias_parts(std::int64_t pixels) { return std::clamp<std::int64_t>(pixels / 256, 1, 256); }
std::int64_t conv2d_weight_parts(std::int64_t pixels, std::int64_t numel) {
  const std::int64_t room = (std::int64_t{4} << 20) / std::max<std::int64_t>(numel, 1);
  return std::clamp<std::int64_t>(std::min(room, pixels / 256), 1, 256);
}

}  // namespace mfl
