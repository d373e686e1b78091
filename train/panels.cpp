#include "train/panels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "runtime/io/png.h"
#include "train/bitmap_font.h"

namespace mfl {
namespace {

constexpr std::uint8_t kInk[3] = {20, 20, 20};
constexpr std::uint8_t kPaper = 245;
constexpr int kLeastWidth = 192;  // of a view on the page, pixels
constexpr int kMostViews = 10;
constexpr float kErrorScale = 0.3f;

std::uint8_t to_byte(float x) { return static_cast<std::uint8_t>(std::clamp(255.0f * x, 0.0f, 255.0f)); }

struct Rgb {
  float r, g, b;
};
Rgb error_colour(float e) { return {e, std::max(0.0f, 1 - 2 * e), 1 - e}; }

std::vector<std::int64_t> shown_views(std::int64_t views) {
  std::vector<std::int64_t> chosen;
  for (std::int64_t v = 0; v<views; v += views> kMostViews ? views / kMostViews : 1) chosen.push_back(v);
  return chosen;
}

// A page on which rows of cells are laid out from top to bottom.
class Page {
 public:
  Page(int columns, int width, int height)
      : cell_width_(width),
        cell_height_(height),
        zoom_((kLeastWidth + width - 1) / width),
        scale_(std::max(1, width * zoom_ / 192)),
        image_(columns * width * zoom_, 0, 3) {}

  int bar_height() const { return (kGlyphHeight + 4) * scale_; }
  int scale() const { return scale_; }
  int cell() const { return cell_width_ * zoom_; }
  data::Image take() { return std::move(image_); }

  // A bar of paper; its upper edge.
  int bar() { return grow(bar_height()); }
  // A caption; where it ends.
  int caption(int y, int x, const std::string& s) {
    draw_text(image_, x + 2 * scale_, y + 2 * scale_, s, scale_, kInk);
    return x + 2 * scale_ + text_width(s, scale_);
  }
  void fill(int x, int y, int w, int h, Rgb c) {
    for (int v = y; v < y + h; ++v)
      for (int u = x; u < std::min(x + w, image_.width); ++u) put(u, v, c);
  }
  // A row of cells: pixel(column, y, x).
  template <class F>
  void cells(int columns, const F& pixel) {
    const int top = grow(cell_height_ * zoom_);
    for (int c = 0; c < columns; ++c)
      for (int y = 0; y < cell_height_; ++y)
        for (int x = 0; x < cell_width_; ++x)
          fill(c * cell() + x * zoom_, top + y * zoom_, zoom_, zoom_, pixel(c, y, x));
  }

 private:
  int grow(int height) {
    const int top = image_.height;
    image_.height += height;
    image_.pixels.resize(static_cast<std::size_t>(image_.width) * image_.height * 3, kPaper);
    return top;
  }
  void put(int x, int y, Rgb c) {
    std::uint8_t* p = image_.row(y) + 3 * x;
    p[0] = to_byte(c.r), p[1] = to_byte(c.g), p[2] = to_byte(c.b);
  }
  int cell_width_, cell_height_, zoom_, scale_;
  data::Image image_;
};

// Host images [V, H, W, C], by pixel.
struct Pixels {
  const float* data;
  int views, height, width, channels;
  explicit Pixels(ConstView v) : data(nullptr) {
    MFL_CHECK(v.device.is_cpu() && v.dtype == DType::f32 && v.shape.rank() == 4 && v.contiguous(),
              "panels take contiguous host images [V, H, W, C] of f32, not ", v.shape, " of ", v.dtype, " on ",
              v.device);
    data = v.as<float>();
    views = static_cast<int>(v.shape[0]), height = static_cast<int>(v.shape[1]);
    width = static_cast<int>(v.shape[2]), channels = static_cast<int>(v.shape[3]);
    MFL_CHECK(views > 0 && height > 0 && width > 0 && channels >= 3, "panels: images ", v.shape);
  }
  const float* at(std::int64_t v, int y, int x) const { return data + ((v * height + y) * width + x) * channels; }
  Rgb rgb(std::int64_t v, int y, int x) const {
    const float* p = at(v, y, x);
    return {p[0], p[1], p[2]};
  }
};

double psnr(const Pixels& a, const Pixels& b, std::int64_t v) {
  double sum = 0;
  for (int y = 0; y < a.height; ++y)
    for (int x = 0; x < a.width; ++x)
      for (int c = 0; c < 3; ++c) {
        const double d = std::clamp(a.at(v, y, x)[c], 0.0f, 1.0f) - std::clamp(b.at(v, y, x)[c], 0.0f, 1.0f);
        sum += d * d;
      }
  return -10 * std::log10(std::max(1e-12, sum / (3.0 * a.height * a.width)));
}

std::string label_of(const std::vector<std::string>& labels, std::int64_t v) {
  return v < static_cast<std::int64_t>(labels.size()) ? labels[static_cast<std::size_t>(v)] : text("view ", v);
}

}  // namespace

data::Image to_image(ConstView v) {
  MFL_CHECK(v.device.is_cpu() && v.shape.rank() == 3 && v.shape[2] >= 3 && v.contiguous(), "to_image: ", v.shape,
            " on ", v.device);
  data::Image out(static_cast<int>(v.shape[1]), static_cast<int>(v.shape[0]), 3);
  const float* from = v.as<float>();
  for (std::size_t i = 0; i < out.pixels.size() / 3; ++i, from += v.shape[2])
    for (int c = 0; c < 3; ++c) out.pixels[3 * i + c] = to_byte(from[c]);
  return out;
}

data::Image draw_panel(const Panel& p) {
  const Pixels target(p.target), render(p.render);
  MFL_CHECK(target.views == render.views && target.height == render.height && target.width == render.width,
            "panel: targets ", p.target.shape, ", renders ", p.render.shape);
  const auto views = shown_views(target.views);
  const int columns = static_cast<int>(views.size());
  const bool masked = target.channels == 4;
  const auto inside = [&](std::int64_t v, int y, int x) { return !masked || target.at(v, y, x)[3] > 0.5f; };

  Page page(columns, target.width, target.height);
  page.caption(page.bar(), 0, p.title);
  const int names = page.bar(), figures = page.bar();
  for (int c = 0; c < columns; ++c) {
    const std::int64_t v = views[static_cast<std::size_t>(c)];
    page.caption(names, c * page.cell(), label_of(p.labels, v));
    page.caption(figures, c * page.cell(), fmt::format("psnr {:.2f}", psnr(target, render, v)));
  }

  const auto row = [&](const char* name, const std::function<Rgb(std::int64_t, int, int)>& pixel) {
    page.caption(page.bar(), 0, name);
    page.cells(columns, [&](int c, int y, int x) { return pixel(views[static_cast<std::size_t>(c)], y, x); });
  };
  row("target", [&](auto v, int y, int x) { return target.rgb(v, y, x); });
  row("render", [&](auto v, int y, int x) { return render.rgb(v, y, x); });
  if (masked) {
    const auto under_mask = [&](const Pixels& image) {
      return [&](std::int64_t v, int y, int x) -> Rgb {
        const Rgb i = image.rgb(v, y, x), tint = inside(v, y, x) ? Rgb{0.2f, 0.8f, 0.2f} : Rgb{0.8f, 0.2f, 0.2f};
        return {0.7f * i.r + 0.3f * tint.r, 0.7f * i.g + 0.3f * tint.g, 0.7f * i.b + 0.3f * tint.b};
      };
    };
    row("target and mask", under_mask(target));
    row("render and mask", under_mask(render));
  }

  // The error row's caption holds its scale: 0, a bar of colours, 0.3.
  const int y = page.bar(), s = page.scale();
  int x = page.caption(y, 0, "error 0 ");
  const int length = 60 * s;
  for (int i = 0; i < length; ++i)
    page.fill(x + i, y + 2 * s, 1, kGlyphHeight * s,
              error_colour(static_cast<float>(i) / static_cast<float>(length - 1)));
  page.caption(y, x + length, fmt::format("{}", kErrorScale));
  page.cells(columns, [&](int c, int v, int u) -> Rgb {
    const std::int64_t view = views[static_cast<std::size_t>(c)];
    if (!inside(view, v, u)) return {0.3f, 0.3f, 0.3f};
    const Rgb a = target.rgb(view, v, u), b = render.rgb(view, v, u);
    const float mean = (std::abs(a.r - b.r) + std::abs(a.g - b.g) + std::abs(a.b - b.b)) / 3;
    return error_colour(std::min(1.0f, mean / kErrorScale));
  });
  return page.take();
}

data::Image draw_strip(ConstView images, const std::vector<std::string>& labels) {
  const Pixels in(images);
  if (!labels.empty()) {
    const auto views = shown_views(in.views);
    Page page(static_cast<int>(views.size()), in.width, in.height);
    const int names = page.bar();
    for (std::size_t c = 0; c < views.size(); ++c)
      page.caption(names, static_cast<int>(c) * page.cell(), label_of(labels, views[c]));
    page.cells(static_cast<int>(views.size()),
               [&](int c, int y, int x) { return in.rgb(views[static_cast<std::size_t>(c)], y, x); });
    return page.take();
  }
  data::Image out(in.views * in.width, in.height, 3);
  for (int v = 0; v < in.views; ++v)
    for (int y = 0; y < in.height; ++y)
      for (int x = 0; x < in.width; ++x)
        for (int c = 0; c < 3; ++c) out.row(y)[3 * (v * in.width + x) + c] = to_byte(in.at(v, y, x)[c]);
  return out;
}

data::Image draw_rows(const std::string& title, const std::vector<PanelRow>& rows) {
  MFL_CHECK(!rows.empty(), "draw_rows: no rows");
  int columns = 0;
  for (const PanelRow& r : rows) columns = std::max(columns, Pixels(r.images).views);
  const Pixels first(rows[0].images);
  Page page(columns, first.width, first.height);
  page.caption(page.bar(), 0, title);
  for (const PanelRow& r : rows) {
    const Pixels in(r.images);
    MFL_CHECK(in.width == first.width && in.height == first.height, "draw_rows: row ", r.name, " has images of ", in.width, " x ",
              in.height, ", the first of ", first.width, " x ", first.height);
    page.caption(page.bar(), 0, r.name);
    if (!r.captions.empty()) {
      const int at = page.bar();
      for (int c = 0; c < in.views; ++c) page.caption(at, c * page.cell(), r.captions[static_cast<std::size_t>(c)]);
    }
    page.cells(in.views, [&](int c, int y, int x) { return in.rgb(c, y, x); });
  }
  return page.take();
}

std::string panel_png(const data::Image& image) {
  return io::encode_png({image.width, image.height, image.channels}, image.pixels.data());
}
void write_panel(const std::filesystem::path& path, const data::Image& image) {
  io::write_png(path, {image.width, image.height, image.channels}, image.pixels.data());
}

}  // namespace mfl
