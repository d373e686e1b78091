// What the compact files of Gaussians share: checks before writing, and bytes of activated values. For this folder's writers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>

#include "models/gslrm/gaussians.h"
#include "runtime/error.h"

namespace mfl::gslrm {

inline constexpr float kShC0 = 0.28209479177387814f;

inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
// Of a byte of opacity. 0 and 255 are read a quarter step inside, so that they stay finite.
inline float logit_of_byte(std::uint8_t b) {
  const float p = std::clamp(static_cast<float>(b), 0.25f, 254.75f) / 255.0f;
  return std::log(p / (1 - p));
}
// To the nearest, cut at 0 and 255.
inline std::uint8_t to_byte(float x) {
  return static_cast<std::uint8_t>(std::lround(std::clamp(x, 0.0f, 255.0f)));
}

// Throws ShapeError for tensors that are not a scene, DataError naming the file for values that are not finite and rotations of
// length 0: a viewer would draw nothing, or all over the screen. An infinite opacity logit is a number: 0 or 1.
inline void check_storable(const char* writer, const std::filesystem::path& path, const Gaussians& g) {
  const std::int64_t n = g.xyz.shape()[0], k = g.features.shape()[1];
  MFL_CHECK(g.xyz.shape() == Shape({n, 3}) && g.features.shape() == Shape({n, k, 3}) && g.scaling.shape() == Shape({n, 3}) &&
                g.rotation.shape() == Shape({n, 4}) && g.opacity.shape() == Shape({n, 1}),
            writer, ": xyz ", g.xyz.shape(), ", features ", g.features.shape(), ", scaling ", g.scaling.shape(), ", rotation ",
            g.rotation.shape(), ", opacity ", g.opacity.shape());
  MFL_CHECK(k == 1 || k == 4 || k == 9 || k == 16, writer, ": ", k, " SH coefficients");
  for (std::int64_t i = 0; i < n; ++i) {
    bool good = !std::isnan(g.opacity.data<float>()[i]);
    float square = 0;
    for (int e = 0; e < 3; ++e)
      good &= std::isfinite(g.xyz.data<float>()[3 * i + e]) && std::isfinite(g.scaling.data<float>()[3 * i + e]);
    for (int e = 0; e < 4; ++e) square += g.rotation.data<float>()[4 * i + e] * g.rotation.data<float>()[4 * i + e];
    for (std::int64_t e = 0; e < 3 * k; ++e) good &= std::isfinite(g.features.data<float>()[3 * k * i + e]);
    if (!good || !std::isfinite(square) || !(square > 0))
      throw_error<DataError>("cannot write ", path.string(), ": Gaussian ", i, " of ", n,
                             good ? " has a rotation of length 0 or without end." : " has a value that is not finite.",
                             " The model's output is damaged; nothing was written.");
  }
}

}  // namespace mfl::gslrm
