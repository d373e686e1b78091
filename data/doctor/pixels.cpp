#include "data/doctor/pixels.h"

#include <algorithm>

#include "data/doctor/rig.h"
#include "data/number_text.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

struct Counts {
  std::array<std::int64_t, 256> alpha{};
  std::int64_t coloured_zero = 0, colour_sum = 0, inside = 0;
  std::array<int, 2> range{255, 0};
};
Counts count(const Image& im) {
  Counts c;
  for (std::size_t i = 0; i < im.pixels.size(); i += 4) {
    const std::uint8_t* p = &im.pixels[i];
    ++c.alpha[p[3]];
    if (p[3] == 0) c.coloured_zero += (p[0] | p[1] | p[2]) != 0;
    if (p[3] <= 127) continue;
    ++c.inside, c.colour_sum += p[0] + p[1] + p[2];
    c.range[0] = std::min<int>({c.range[0], p[0], p[1], p[2]}),
    c.range[1] = std::max<int>({c.range[1], p[0], p[1], p[2]});
  }
  return c;
}

// "views 1 and 3 (12 of 24 images)" for the rows with a positive count.
std::string where(const PixelTable& t, int PixelRow::*field) {
  std::vector<std::size_t> views;
  int bad = 0, all = 0;
  for (std::size_t i = 0; i < t.rows.size(); ++i) {
    if (t.rows[i].*field) views.push_back(i);
    bad += t.rows[i].*field, all += t.rows[i].samples;
  }
  const std::string which =
      views.size() == t.rows.size() ? "all views" : text(views.size() > 1 ? "views " : "view ", list(views));
  return text(which, ", ", bad, " of ", all, " images looked at");
}

}  // namespace

PixelTable examine_pixels(const Subject& subject) {
  PixelTable t;
  std::array<std::int64_t, 256> all{};
  std::vector<double> weights;
  for (const SamplePixels& s : subject.examined) {
    if (t.rows.size() < s.views.size()) t.rows.resize(s.views.size());
    std::vector<Counts> counts(s.views.size());
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t v = 0; v < s.views.size(); ++v) counts[v] = count(s.views[v].image);
    for (std::size_t v = 0; v < s.views.size(); ++v) {
      const ViewPixels& view = s.views[v];
      const Counts& c = counts[v];
      PixelRow& r = t.rows[v];
      if (r.name.empty()) r.name = subject.samples[s.sample].views[v].name;
      ++t.total, ++r.samples;
      (view.bits == 16 ? t.views16 : t.views8)++;
      t.without_alpha += !view.has_alpha;
      const double pixels = static_cast<double>(view.image.pixels.size() / 4);
      double sum = 0;
      for (int a = 0; a < 256; ++a) all[a] += c.alpha[a], sum += a * static_cast<double>(c.alpha[a]);
      const double share = view.has_alpha ? sum / 255 / pixels : static_cast<double>(view.outline.area) / pixels;
      r.foreground += share, r.least = std::min(r.least, share), r.most = std::max(r.most, share);
      r.empty += view.outline.empty(), r.clipped += view.outline.clipped();
      const double some = pixels - static_cast<double>(c.alpha[0]);
      r.soft += some > 0 ? (some - static_cast<double>(c.alpha[255])) / some : 0;
      r.under_zero += c.alpha[0] ? static_cast<double>(c.coloured_zero) / static_cast<double>(c.alpha[0]) : 0;
      r.range = {std::min(r.range[0], c.range[0]), std::max(r.range[1], c.range[1])};
      r.mean += c.inside ? static_cast<double>(c.colour_sum) / 3 / static_cast<double>(c.inside) : 0;
    }
  }
  std::int64_t total = 0;
  for (std::int64_t n : all) total += n;
  for (int a = 0; a < 256 && total; ++a)
    t.alpha[static_cast<std::size_t>(a / 8)] += static_cast<double>(all[a]) / static_cast<double>(total);
  for (PixelRow& r : t.rows) {
    const double n = std::max(1, r.samples);
    r.foreground /= n, r.soft /= n, r.under_zero /= n, r.mean /= n;
  }
  return t;
}

Findings check_pixels(const Subject& subject, const PixelTable& t) {
  Findings out;
  if (t.total == 0) return out;
  const bool recording = subject.kind == SubjectKind::recording;
  int empty = 0, clipped = 0;
  double foreground = 0, soft = 0, mean = 0;
  int low = 255, high = 0;
  for (const PixelRow& r : t.rows) {
    empty += r.empty, clipped += r.clipped;
    const double n = static_cast<double>(t.rows.size());
    foreground += r.foreground / n, soft += r.soft / n, mean += r.mean / n;
    low = std::min(low, r.range[0]), high = std::max(high, r.range[1]);
  }
  if (t.without_alpha)
    out.push_back({Severity::warning, "images without alpha: outlines are guessed from near-white pixels",
                   text(t.without_alpha, " of ", t.total, " images looked at"), "RGBA", "RGB",
                   "Write the masks as alpha"});
  if (empty)
    out.push_back({empty == t.total ? Severity::error : Severity::warning, "views without any foreground",
                   where(t, &PixelRow::empty), "an animal in every view", "",
                   "Is the mask video the right one? Leave such samples out"});
  // Inverted: nearly everything is opaque, and the corners too.
  std::int64_t opaque_corners = 0, corners = 0;
  for (const SamplePixels& s : subject.examined)
    for (const ViewPixels& v : s.views) {
      if (!v.has_alpha) continue;
      const int w = v.image.width, h = v.image.height;
      for (const auto& [x, y] : {std::pair{0, 0}, {w - 1, 0}, {0, h - 1}, {w - 1, h - 1}})
        opaque_corners += v.image.row(y)[4 * x + 3] > 127, ++corners;
    }
  if (corners && opaque_corners > corners * 3 / 4 && foreground > 0.5) {
    const bool full = foreground > 0.999;
    out.push_back(
        {Severity::error,
         full ? "alpha is opaque everywhere: there is no mask" : "alpha looks inverted: the background is opaque", "",
         "an opaque animal on a transparent background",
         text("a mean alpha of ", percent(foreground), ", opaque corners"),
         full ? "Write the masks as alpha, or images without alpha" : "Write 255 - alpha"});
  } else {
    if (clipped) {
      const bool often = clipped * 10 > t.total;
      out.push_back({often ? Severity::warning : Severity::note, "the image border cuts the animal",
                     where(t, &PixelRow::clipped), "an outline inside the image", "",
                     "A smaller zoom, or a warp that aims at the animal"});
    }
    if (foreground < 0.01 && empty < t.total)
      out.push_back({Severity::warning, "the animal covers very little of the images", "", "more than 1 %",
                     percent(foreground), "mfl_data preprocess --zoom makes it larger, with a true focal length"});
  }
  if (recording && soft > 0)
    out.push_back({Severity::note, "the mask videos are lossy", "", "0 and 255 only",
                   text(percent(soft), " of the pixels above 0 lie between"),
                   "preprocess thresholds them at 127, so nothing is lost"});
  else if (!recording && t.without_alpha == 0 && soft > 0.5)
    out.push_back({Severity::warning, "alpha is half-transparent almost everywhere", "", "soft only along the outline",
                   text(percent(soft), " of the pixels with any alpha are soft"),
                   "Threshold the masks at native resolution"});
  if (high > 0 && high <= 1)
    out.push_back({Severity::error, "colours reach only 0 to 1 of 255: the images were written as floats", "",
                   "0 to 255", text(low, " to ", high), "Multiply by 255"});
  else if (mean < 12 && empty < t.total)
    out.push_back({Severity::warning, "the animal is nearly black", "", "colours that use the range",
                   text("a mean of ", static_cast<int>(mean), " of 255"), ""});
  else if (mean > 243 && empty < t.total)
    out.push_back({Severity::warning, "the animal is nearly white", "", "colours that use the range",
                   text("a mean of ", static_cast<int>(mean), " of 255"), ""});
  if (t.views16)
    out.push_back({Severity::note, "16-bit images: the high byte is used",
                   text(t.views16, " of ", t.total, " images looked at"), "", "", ""});
  return out;
}

}  // namespace mfl::data::doctor
