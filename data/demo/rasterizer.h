// Which triangle each sample of a pixel sees: a depth buffer over kSamples x kSamples samples a pixel, within the box of
// the mesh on the image.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/demo/vec.h"
#include "data/recording.h"

namespace mfl::data::demo {

inline constexpr int kSamples = 3;

struct Visibility {
  int left = 0, top = 0, width = 0, height = 0;   // pixels; empty where the mesh is outside the image
  struct Sample {
    float inverse_depth = 0;                      // 0: nothing there
    std::uint32_t triangle = 0;
    float b = 0, c = 0;                           // perspective-correct weights of the second and third vertex
  };
  std::vector<Sample> samples;                    // [height * kSamples][width * kSamples]
  const Sample& at(int x, int y, int k) const {   // pixel from the box's corner, k in 0 .. kSamples^2 - 1
    return samples[(static_cast<std::size_t>(y) * kSamples + k / kSamples) * width * kSamples + static_cast<std::size_t>(x) * kSamples + k % kSamples];
  }
};

// Triangles that are seen from behind, or reach behind the camera, are left out.
Visibility rasterize(const RawCamera&, const std::vector<V>& points, const std::vector<std::array<std::uint32_t, 3>>& triangles);

}  // namespace mfl::data::demo
