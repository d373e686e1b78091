#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/splat/project.h"
#include "kernels/splat/splat_math.h"

namespace mfl::cpu {
namespace {

template <class T, class Args>
std::vector<SplatCamera<T>> cameras_of(const Args& a) {
  std::vector<SplatCamera<T>> cameras;
  for (std::int64_t v = 0; v < a.c2w.shape[0]; ++v)
    cameras.push_back(
        make_splat_camera(a.c2w.template as<T>() + 16 * v, a.fxfycxcy.template as<T>() + 4 * v, a.width, a.height));
  return cameras;
}

template <class T, class Args>
ActiveGaussian<T> gaussian(const Args& a, std::int64_t i) {
  return activate(a.xyz.template as<T>() + 3 * i, a.scaling.template as<T>() + 3 * i,
                  a.rotation.template as<T>() + 4 * i, a.opacity.template as<T>()[i], T(a.scaling_modifier));
}

template <int kDegree, class T>
void fwd(const ProjectFwd& a) {
  const std::int64_t n = a.xyz.shape[0];
  const auto cameras = cameras_of<T>(a);
  const T* features = a.features.as<T>();
  T *splat = a.splat.as<T>(), *depth = a.depth.as<T>();
  std::int32_t* rect = a.rect.as<std::int32_t>();
#pragma omp parallel for
  for (std::int64_t i = 0; i < n; ++i) {
    const ActiveGaussian<T> g = gaussian<T>(a, i);
    for (std::size_t v = 0; v < cameras.size(); ++v) {
      const auto out = project_one<kDegree>(g, cameras[v], features + 3 * sh_coefficients(kDegree) * i);
      const std::int64_t at = std::int64_t(v) * n + i;
      for (int e = 0; e < kSplatSize; ++e) splat[kSplatSize * at + e] = out.value[e];
      depth[at] = out.depth;
      rect[at] = std::int32_t(out.rect);
    }
  }
}

template <int kDegree, class T>
void bwd(const ProjectBwd& a) {
  constexpr int kFeatures = 3 * sh_coefficients(kDegree);
  const std::int64_t n = a.xyz.shape[0];
  const auto cameras = cameras_of<T>(a);
  const T *features = a.features.as<T>(), *dsplat = a.dsplat.as<T>();
  const std::int32_t* rect = a.rect.as<std::int32_t>();
#pragma omp parallel for
  for (std::int64_t i = 0; i < n; ++i) {
    const ActiveGaussian<T> g = gaussian<T>(a, i);
    GaussianGrad<kDegree, T> sum;
    for (std::size_t v = 0; v < cameras.size(); ++v) {
      const std::int64_t at = std::int64_t(v) * n + i;
      if (rect[at] != 0) project_one_backward(g, cameras[v], features + kFeatures * i, dsplat + kSplatSize * at, sum);
    }
    T dscaling[3], drotation[4], dopacity;
    activate_backward(g, sum, dscaling, drotation, &dopacity);
    for (int e = 0; e < 3; ++e) grad_write(a.dxyz.as<T>()[3 * i + e], double(sum.xyz[e]), a.mode);
    for (int e = 0; e < kFeatures; ++e)
      grad_write(a.dfeatures.as<T>()[kFeatures * i + e], double(sum.features[e]), a.mode);
    for (int e = 0; e < 3; ++e) grad_write(a.dscaling.as<T>()[3 * i + e], double(dscaling[e]), a.mode);
    for (int e = 0; e < 4; ++e) grad_write(a.drotation.as<T>()[4 * i + e], double(drotation[e]), a.mode);
    grad_write(a.dopacity.as<T>()[i], double(dopacity), a.mode);
  }
}

template <class F>
void dispatch(DType t, std::int64_t coefficients, F&& f) {
  auto degree = [&](auto d) {
    if (t == DType::f64)
      f(d, double{});
    else
      f(d, float{});
  };
  if (coefficients == 1) degree(std::integral_constant<int, 0>{});
  if (coefficients == 4) degree(std::integral_constant<int, 1>{});
  if (coefficients == 9) degree(std::integral_constant<int, 2>{});
  if (coefficients == 16) degree(std::integral_constant<int, 3>{});
}

}  // namespace

void project_fwd(const ProjectFwd& a) {
  dispatch(a.xyz.dtype, a.features.shape[1], [&](auto d, auto t) { fwd<decltype(d)::value, decltype(t)>(a); });
}
void project_bwd(const ProjectBwd& a) {
  dispatch(a.xyz.dtype, a.features.shape[1], [&](auto d, auto t) { bwd<decltype(d)::value, decltype(t)>(a); });
}

}  // namespace mfl::cpu
