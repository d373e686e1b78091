#include "kernels/gaussian/decode.h"

#include "kernels/embed/camera_check.h"

namespace mfl {
namespace {

template <class Args>
std::int64_t check_inputs(const Stream& s, const char* op, const Args& a) {
  const Shape bv = check_cameras(s, op, a.c2w, a.fxfycxcy);
  const std::int64_t p = a.config.patch, channels = a.config.channels();
  MFL_CHECK(a.config.sh_degree >= 0 && a.config.sh_degree <= 3, op, ": sh_degree ", a.config.sh_degree,
            ", expected 0 to 3");
  check_patch(op, a.config.patch, a.height, a.width);
  MFL_CHECK(a.pixel, op, ": pixel is missing");
  check(s, op, "pixel", a.pixel, {bv[0], bv[1] * (a.height / p) * (a.width / p), p * p * channels}, a.pixel.dtype);
  std::int64_t free = 0;
  if (a.free) {
    MFL_CHECK(a.free.shape.rank() == 3, op, ": free ", a.free.shape, ", expected [B, n_g, C_g]");
    free = a.free.shape[1];
    check(s, op, "free", a.free, {bv[0], free, channels}, a.pixel.dtype);
  }
  if (a.config.pixel_align && a.config.depth == DepthRule::range)
    MFL_CHECK(a.config.depth_max > a.config.depth_min, op, ": depth from ", a.config.depth_min, " to ",
              a.config.depth_max);
  return free + bv[1] * a.height * a.width;
}

template <class V>
void check_gaussians(const Stream& s, const char* op, std::int64_t batch, std::int64_t n, std::int64_t k, DType accum,
                     const char* const (&names)[5], const V& xyz, const V& features, const V& scaling,
                     const V& rotation, const V& opacity) {
  check(s, op, names[0], xyz, {batch, n, 3}, accum);
  check(s, op, names[1], features, {batch, n, k, 3}, accum);
  check(s, op, names[2], scaling, {batch, n, 3}, accum);
  check(s, op, names[3], rotation, {batch, n, 4}, accum);
  check(s, op, names[4], opacity, {batch, n, 1}, accum);
}

}  // namespace

void decode_fwd(const Stream& s, const DecodeFwd& a) {
  const std::int64_t n = check_inputs(s, "decode_fwd", a);
  check_gaussians(s, "decode_fwd", a.pixel.shape[0], n, a.config.coefficients(), accum_of(a.pixel.dtype),
                  {"xyz", "features", "scaling", "rotation", "opacity"}, a.xyz, a.features, a.scaling, a.rotation,
                  a.opacity);
  MFL_DISPATCH(s, decode_fwd, a);
}

void decode_bwd(const Stream& s, const DecodeBwd& a) {
  if (a.mode == GradMode::ignore) return;
  const std::int64_t n = check_inputs(s, "decode_bwd", a);
  check_gaussians(s, "decode_bwd", a.pixel.shape[0], n, a.config.coefficients(), accum_of(a.pixel.dtype),
                  {"dxyz", "dfeatures", "dscaling", "drotation", "dopacity"}, a.dxyz, a.dfeatures, a.dscaling,
                  a.drotation, a.dopacity);
  if (a.free) check(s, "decode_bwd", "dfree", a.dfree, a.free.shape, a.free.dtype);
  check(s, "decode_bwd", "dpixel", a.dpixel, a.pixel.shape, a.pixel.dtype);
  MFL_DISPATCH(s, decode_bwd, a);
}

}  // namespace mfl
