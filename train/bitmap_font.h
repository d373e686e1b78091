// Letters for panels: 5 x 7 pixels, drawn for this project. Lower case is shown as capitals.
#pragma once

#include <string_view>

#include "data/image.h"

namespace mfl {

inline constexpr int kGlyphWidth = 5, kGlyphHeight = 7, kGlyphAdvance = 6;

// Width in pixels of a text at an integer scale.
constexpr int text_width(std::string_view s, int scale) { return static_cast<int>(s.size()) * kGlyphAdvance * scale; }

// Upper left corner at (x, y); what lies outside the image is cut off. RGB images. A character without a glyph is a
// box.
void draw_text(data::Image&, int x, int y, std::string_view, int scale, const std::uint8_t colour[3]);

}  // namespace mfl
