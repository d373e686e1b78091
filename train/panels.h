// Labelled pictures of a prediction beside its ground truth, as 8-bit RGB images in host memory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/image.h"
#include "runtime/tensor.h"

namespace mfl {

struct Panel {
  std::string title;                // one line above everything: run, pass, sample
  std::vector<std::string> labels;  // one a view, such as "view 3 (input)"
  ConstView target;                 // [V, H, W, 3 or 4]  host f32 in [0, 1]; the fourth channel is the mask
  ConstView render;                 // [V, H, W, 3]       host f32
};

// Rows: target; render; with a mask: target and render under the mask (green inside, red outside); error with its
// scale. Columns: views, at most ten (every V/10-th beyond that). Small images are enlarged by whole factors. Above
// every view stand its label and PSNR (both images clipped to [0, 1]).
//   overlay = 0.7 image + 0.3 (0.2, 0.8, 0.2 | 0.8, 0.2, 0.2)
//   e = min(1, mean_rgb |render - target| / 0.3), shown as (e, max(0, 1 - 2e), 1 - e); grey 0.3 outside the mask
// Source: the fork's visualisation, gslrm/model/gslrm.py.
data::Image draw_panel(const Panel&);

// Views side by side with their labels above: [V, H, W, 3 or 4] host f32. No labels: the bare strip.
data::Image draw_strip(ConstView images, const std::vector<std::string>& labels = {});

// Rows of views under each other, with a title above everything and the row's name and captions above each row. Rows may have
// fewer views than the first; what is missing stays paper.
struct PanelRow {
  std::string name;
  ConstView images;                   // [V, H, W, 3 or 4]  host f32 in [0, 1]; H and W as in the other rows
  std::vector<std::string> captions;  // one a view, or none
};
data::Image draw_rows(const std::string& title, const std::vector<PanelRow>&);

// One view [H, W, >= 3] to 8 bits: trunc(clip(255 x, 0, 255)), as published.
data::Image to_image(ConstView view);

void write_panel(const std::filesystem::path&, const data::Image&);  // PNG, atomic
std::string panel_png(const data::Image&);                           // the same bytes, for event files

}  // namespace mfl
