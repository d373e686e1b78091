// measure_segmentation RECORDING [--every N] [--video] [--hard]: IoU with the recording's masks, and the confidence beside it. The
// tables of data/photo/README.md. --hard: of pictures that are made bad (see `kinds`).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "data/photo/segment.h"
#include "data/recording.h"
#include "data/video_reader.h"

namespace {

using namespace mfl::data;
using photo::Segmentation;

double overlap(const Image& truth, const preprocess::Mask& found) {
  std::int64_t both = 0, any = 0;
  for (std::size_t i = 0; i < truth.pixels.size(); ++i) {
    const bool a = truth.pixels[i], b = found.area && found.image.pixels[i];
    both += a && b, any += a || b;
  }
  return any ? static_cast<double>(both) / static_cast<double>(any) : 0;
}

Image crop(const Image& im, int left, int top, int width, int height) {
  Image out(width, height, im.channels);
  for (int y = 0; y < height; ++y)
    std::copy_n(im.row(y + top) + static_cast<std::ptrdiff_t>(left) * im.channels, static_cast<std::ptrdiff_t>(width) * im.channels, out.row(y));
  return out;
}

void faded(Image& im, double contrast) {
  for (std::uint8_t& v : im.pixels) v = static_cast<std::uint8_t>(128 + contrast * (v - 128));
}

struct Row {
  double iou, confidence;
};
void print(const char* name, std::vector<Row> rows) {
  if (rows.empty()) return;
  double error = 0, sure = 0;
  for (const Row& r : rows) error += std::abs(r.iou - r.confidence), sure += r.confidence;
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.iou < b.iou; });
  const double n = static_cast<double>(rows.size());
  std::printf("%-10s %4zu pictures, IoU median %.3f, worst %.3f, best %.3f; confidence mean %.3f, |confidence - IoU| mean %.3f\n", name, rows.size(),
              rows[rows.size() / 2].iou, rows.front().iou, rows.back().iou, sure / n, error / n);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  int every = 10;
  bool video = false, hard = false, each = false;
  for (int i = 2; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--every") && i + 1 < argc) every = std::max(1, std::atoi(argv[++i]));
    video |= !std::strcmp(argv[i], "--video"), hard |= !std::strcmp(argv[i], "--hard"), each |= !std::strcmp(argv[i], "--each");
  }
  const Recording r = open_recording(argv[1]);
  const std::vector<const char*> kinds = hard ? std::vector<const char*>{"empty", "cut", "faded", "close"} : std::vector<const char*>{"frames"};
  std::vector<std::vector<Row>> rows(kinds.size());
  double seconds = 0;
  std::int64_t pictures = 0;
  for (std::size_t k = 0; k < r.cameras.size(); ++k) {
    std::optional<photo::BackgroundModel> model;
    if (video || hard) model.emplace(r.videos[k]);
    VideoReader colours(r.videos[k]), masks(r.masks[k]);
    Image frame, grey;
    for (std::int64_t n = 0; n < r.frames; ++n) {
      if (n % every) {
        colours.skip(), masks.skip();
        continue;
      }
      colours.read(frame), masks.read_grey(grey);
      preprocess::Mask truth;
      preprocess::find_mask(grey, truth);
      for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
        Image im = frame, t = truth.image;
        const std::string name = kinds[kind];
        const int w = truth.right - truth.left, h = truth.bottom - truth.top, cx = (truth.left + truth.right) / 2, cy = (truth.top + truth.bottom) / 2;
        if (name == "empty") im = model->background(), std::fill(t.pixels.begin(), t.pixels.end(), std::uint8_t{0});
        if (name == "cut") im = crop(im, 0, 0, std::max(32, cx), im.height), t = crop(t, 0, 0, im.width, t.height);   // half the animal
        if (name == "faded") faded(im, 0.2);
        if (name == "close") {
          const int x0 = std::max(0, cx - w), y0 = std::max(0, cy - h), x1 = std::min(im.width, cx + w), y1 = std::min(im.height, cy + h);
          im = crop(im, x0, y0, x1 - x0, y1 - y0), t = crop(t, x0, y0, x1 - x0, y1 - y0);
        }
        const auto begin = std::chrono::steady_clock::now();
        const Segmentation s = video ? model->segment(im) : photo::segment_animal(im);
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), ++pictures;
        rows[kind].push_back({overlap(t, s.mask), s.confidence});
        if (each) {
          std::printf("camera %zu frame %3lld %-6s IoU %.3f confidence %.3f", k, static_cast<long long>(n), kinds[kind], rows[kind].back().iou, s.confidence);
          for (const std::string& reason : s.reasons) std::printf("; %s", reason.c_str());
          std::puts("");
        }
      }
    }
  }
  std::vector<Row> all;
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) print(kinds[kind], rows[kind]), all.insert(all.end(), rows[kind].begin(), rows[kind].end());
  for (int b = 0; b < 5; ++b) {   // calibration
    std::vector<Row> bin;
    static constexpr double kEdges[] = {0, 0.4, 0.6, 0.75, 0.85, 1.01};
    for (const Row& row : all)
      if (row.confidence >= kEdges[b] && row.confidence < kEdges[b + 1]) bin.push_back(row);
    double mean = 0;
    for (const Row& row : bin) mean += row.iou;
    if (!bin.empty()) std::printf("  confidence %.2f to %.2f: %3zu pictures, mean IoU %.3f\n", kEdges[b], std::min(1.0, kEdges[b + 1]), bin.size(), mean / static_cast<double>(bin.size()));
  }
  std::printf("%.2f s a picture\n", seconds / static_cast<double>(std::max<std::int64_t>(1, pictures)));
}
