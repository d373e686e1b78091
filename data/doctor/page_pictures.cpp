#include <algorithm>

#include "data/doctor/page.h"
#include "runtime/error.h"
#include "runtime/io/base64.h"
#include "runtime/io/png.h"

namespace mfl::data::doctor {
namespace {

std::string png_tag(const Image& rgb, const std::string& title) {
  const std::string png = io::encode_png({rgb.width, rgb.height, 3}, rgb.pixels.data());
  return text("<img alt='", escaped(title), "' title='", escaped(title), "' src='data:image/png;base64,",
              io::base64(std::as_bytes(std::span(png))), "'>");
}

// A square part of an image, at another size, as RGB: samples that have alpha over light grey, recordings as they are.
struct Part {
  double left, top, side;  // pixels of the image
  int size;                // of the picture
};
Image picture(const Image& rgba, const Part& p, bool composite) {
  Image out(p.size, p.size, 3);
  const double step = p.side / p.size;
  const int taps = std::clamp(static_cast<int>(step + 0.5), 1, 8);
  for (int y = 0; y < p.size; ++y)
    for (int x = 0; x < p.size; ++x) {
      double sum[3] = {0, 0, 0};
      for (int j = 0; j < taps; ++j)
        for (int i = 0; i < taps; ++i) {
          const int u = static_cast<int>(std::floor(p.left + (x + (i + 0.5) / taps) * step)),
                    v = static_cast<int>(std::floor(p.top + (y + (j + 0.5) / taps) * step));
          const bool inside = u >= 0 && v >= 0 && u < rgba.width && v < rgba.height;
          const std::uint8_t* c = inside ? rgba.row(v) + 4 * u : nullptr;
          const double a = !inside ? 0 : composite ? c[3] / 255.0 : 1.0;
          for (int k = 0; k < 3; ++k) sum[k] += (inside ? a * c[k] : 0) + (1 - a) * (inside ? 225 : 255);
        }
      for (int k = 0; k < 3; ++k) out.row(y)[3 * x + k] = static_cast<std::uint8_t>(sum[k] / (taps * taps) + 0.5);
    }
  return out;
}

void paint(Image& im, int x, int y, std::array<int, 3> colour, double share = 1) {
  if (x < 0 || y < 0 || x >= im.width || y >= im.height) return;
  for (int k = 0; k < 3; ++k) {
    std::uint8_t& c = im.row(y)[3 * x + k];
    c = static_cast<std::uint8_t>(c + share * (colour[static_cast<std::size_t>(k)] - c) + 0.5);
  }
}

void draw_missed(Image& im, const Part& p, const HullView& view) {
  const double scale = p.size / p.side;
  const int half = std::max(0, static_cast<int>(0.5 * view.stride * scale));
  for (const Pixel& m : view.missed) {
    const int x = static_cast<int>((m.u - p.left) * scale), y = static_cast<int>((m.v - p.top) * scale);
    for (int dy = -half; dy <= half; ++dy)
      for (int dx = -half; dx <= half; ++dx) paint(im, x + dx, y + dy, {230, 30, 30}, 0.55);
  }
}

void draw_outline(Image& im, const Part& p, const Silhouette& s) {
  const double step = p.side / p.size;
  const auto in = [&](int x, int y) {
    const int u = static_cast<int>(std::floor(p.left + (x + 0.5) * step)),
              v = static_cast<int>(std::floor(p.top + (y + 0.5) * step));
    return u >= 0 && v >= 0 && u < s.width && v < s.height && s.at(u, v);
  };
  for (int y = 0; y < p.size; ++y)
    for (int x = 0; x < p.size; ++x)
      if (in(x, y) && !(in(x - 1, y) && in(x + 1, y) && in(x, y - 1) && in(x, y + 1))) paint(im, x, y, {0, 150, 235});
}

void draw_cross(Image& im, const Part& p, const Pixel& at) {
  const int x = static_cast<int>((at.u - p.left) * p.size / p.side),
            y = static_cast<int>((at.v - p.top) * p.size / p.side);
  for (int d = -7; d <= 7; ++d) {
    if (std::abs(d) < 2) continue;
    for (int w = -1; w <= 1; ++w) {
      const std::array<int, 3> colour = w == 0 ? std::array<int, 3>{255, 225, 0} : std::array<int, 3>{0, 0, 0};
      paint(im, x + d, y + w, colour), paint(im, x + w, y + d, colour);
    }
  }
}

}  // namespace

std::string pictures(const Subject& subject, const Geometry& g) {
  std::string html;
  const bool composite = subject.kind != SubjectKind::recording;
  std::vector<std::size_t> shown = g.hull_samples;
  if (shown.empty() && !subject.examined.empty()) shown.push_back(0);
  for (std::size_t n = 0; n < shown.size() && n < 2; ++n) {
    // hull_samples counts the frames of the evidence, which are the examined samples with as many views as the first.
    std::size_t at = 0, counted = 0;
    for (std::size_t i = 0; i < subject.examined.size(); ++i) {
      if (subject.examined[i].views.size() != subject.examined[0].views.size()) continue;
      if (counted++ == shown[n]) at = i;
    }
    const SamplePixels& s = subject.examined[at];
    const HullResult* hull = n < g.hulls.size() ? &g.hulls[n] : nullptr;
    html += text("<h3>", escaped(subject.samples[s.sample].name), "</h3><div class='views'>");
    const std::size_t views = std::min<std::size_t>(s.views.size(), 8);
    for (std::size_t v = 0; v < views; ++v) {
      const ViewPixels& view = s.views[v];
      const double larger = std::max(view.image.width, view.image.height);
      const Part whole{0.5 * (view.image.width - larger), 0.5 * (view.image.height - larger), larger, 168};
      Image full = picture(view.image, whole, composite);
      draw_outline(full, whole, view.outline);
      html += text("<figure>", png_tag(full, text("view ", v, ", whole image")));
      if (!view.outline.empty()) {
        const Silhouette& o = view.outline;
        const double side = 1.15 * std::max({o.right - o.left, o.bottom - o.top, 8});
        const Part near{0.5 * (o.left + o.right) - 0.5 * side, 0.5 * (o.top + o.bottom) - 0.5 * side, side, 168};
        Image close = picture(view.image, near, composite);
        if (hull) draw_missed(close, near, hull->views[v]);
        draw_outline(close, near, o);
        if (hull) draw_cross(close, near, hull->views[v].centroid_at);
        html += png_tag(close, text("view ", v, ", the animal"));
      }
      html += text("<figcaption>", v, ": ", escaped(subject.samples[s.sample].views[v].name), "</figcaption></figure>");
    }
    html += "</div>";
    if (views < s.views.size())
      html += text("<p class='small'>The first ", views, " of ", s.views.size(), " views.</p>");
  }
  return html;
}

}  // namespace mfl::data::doctor
