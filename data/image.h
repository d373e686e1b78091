// An 8-bit image in host memory, and the pixel operations of the training data. The operations reproduce Pillow's 8-bit
// arithmetic bit for bit, because the published weights were trained on its results. No image library is needed here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/error.h"

namespace mfl::data {

// Interleaved rows, top to bottom. channels: 1 grey, 3 RGB, 4 RGBA with straight (not premultiplied) alpha.
struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(int w, int h, int c) : width(w), height(h), channels(c), pixels(static_cast<std::size_t>(w) * h * c) {}
  std::uint8_t* row(int y) { return pixels.data() + static_cast<std::size_t>(y) * width * channels; }
  const std::uint8_t* row(int y) const { return pixels.data() + static_cast<std::size_t>(y) * width * channels; }
};

// Grey is repeated, a missing alpha is 255; alpha is dropped only when 3 channels are asked for.
Image with_channels(const Image&, int channels);

// Lanczos with 3 lobes, widened by the reduction factor, horizontal then vertical, 22-bit fixed-point weights and 8-bit
// intermediate rows; RGBA is resampled premultiplied. Source: Pillow, Image.resize(size, LANCZOS).
Image resize_lanczos(const Image&, int width, int height);

// RGB over a colour through 8-bit alpha: (c * (255 - a) + p * a) / 255 rounded. Keeps alpha. Needs 4 channels.
// Source: Pillow, Image.paste with an L mask.
void composite_over(Image& rgba, const std::uint8_t colour[3]);

// Pillow's ImageEnhance on the colour channels; factor 1 changes nothing. The contrast pivot is the image's rounded mean
// luma (transparent pixels included).
void adjust_brightness(Image&, float factor);
void adjust_contrast(Image&, float factor);

void flip_horizontal(Image&);
// Counter-clockwise about the image centre, same size, bilinear on premultiplied pixels, zero outside.
Image rotate(const Image&, double degrees);

// Mean alpha in [0, 1]; 1 without an alpha channel.
double foreground_share(const Image&);

}  // namespace mfl::data
