#include "data/photo/outline.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <opencv2/imgproc.hpp>

#include "data/photo/features.h"
#include "runtime/error.h"

namespace mfl::data::photo {
namespace {

constexpr int kBand = 3;   // pixels on both sides of the first outline in which the second may lie

cv::Mat as_mat8(const Image& grey) { return {grey.height, grey.width, CV_8UC1, const_cast<std::uint8_t*>(grey.pixels.data())}; }

// Fills holes of at most `share` of the mask's area: an animal's curled tail may enclose ground.
void fill_holes(cv::Mat& mask, double share) {
  cv::Mat inverse = mask == 0, labels, stats, centres;
  const int n = cv::connectedComponentsWithStats(inverse, labels, stats, centres, 4, CV_32S);
  const double most = share * cv::countNonZero(mask);
  for (int i = 1; i < n; ++i) {
    const int x = stats.at<int>(i, cv::CC_STAT_LEFT), y = stats.at<int>(i, cv::CC_STAT_TOP), w = stats.at<int>(i, cv::CC_STAT_WIDTH),
              h = stats.at<int>(i, cv::CC_STAT_HEIGHT);
    const bool inside = x > 0 && y > 0 && x + w < mask.cols && y + h < mask.rows;
    if (inside && stats.at<int>(i, cv::CC_STAT_AREA) <= most) mask.setTo(255, labels == i);
  }
}

struct Part {
  cv::Mat mask;        // CV_8U at the salience's size
  double level = 0;    // threshold that cut it out
  double inside = 0, ring = 0;
  double score = 0;
};

// Of all parts at all thresholds: the one that stands out most against the ring around it, large before small.
Part most_salient(const cv::Mat& s) {
  Part best;
  double top;
  cv::minMaxLoc(s, nullptr, &top);
  const double area = static_cast<double>(s.total());
  for (int step = 2; step <= 16; ++step) {
    const double level = top * step / 20;
    cv::Mat above = s > level, labels, stats, centres;
    const int n = cv::connectedComponentsWithStats(above, labels, stats, centres, 8, CV_32S);
    for (int i = 1; i < n; ++i) {
      const int a = stats.at<int>(i, cv::CC_STAT_AREA);
      if (a < 6e-4 * area || a > 0.6 * area) continue;
      cv::Mat part = labels == i, wide;
      cv::dilate(part, wide, cv::Mat(), cv::Point(-1, -1), 5);
      cv::Mat ring = wide & ~part;
      const double in = cv::mean(s, part)[0], out = cv::mean(s, ring)[0];
      const double score = (in - out) * std::pow(static_cast<double>(a), 0.35);
      if (score > best.score) best = {part, level, in, out, score};
    }
  }
  return best;
}

double intersection_over_union(const cv::Mat& a, const cv::Mat& b) {
  const int both = cv::countNonZero(a & b), any = cv::countNonZero(a | b);
  return any ? static_cast<double>(both) / any : 0;
}

// Pixels that may be ground in the shade: the chromaticity of a colour of the surroundings, and darker. `ground`: what surely is
// surroundings.
cv::Mat shade(const cv::Mat& rgb, const cv::Mat& ground) {
  cv::Mat linear;
  rgb.convertTo(linear, CV_32F, 1 / 255.0);
  cv::pow(linear, 2.2, linear);
  // Colours of the surroundings: chromaticity r, g and the sum.
  auto description = [](const cv::Vec3f& v) {
    const float sum = v[0] + v[1] + v[2] + 0.01f;
    return cv::Vec3f((v[0] + 0.0033f) / sum, (v[1] + 0.0033f) / sum, sum);
  };
  cv::Mat smooth;
  cv::GaussianBlur(linear, smooth, cv::Size(), 1.5);
  std::vector<cv::Vec3f> samples;
  for (int y = 0; y < rgb.rows; y += 2)
    for (int x = 0; x < rgb.cols; x += 2)
      if (ground.at<std::uint8_t>(y, x)) samples.push_back(description(smooth.at<cv::Vec3f>(y, x)));
  cv::Mat out(rgb.size(), CV_8U, cv::Scalar(0));
  constexpr int kColours = 4;
  if (samples.size() < 50 * kColours) return out;
  cv::Mat data(static_cast<int>(samples.size()), 3, CV_32F, samples.data()), label, centre;
  cv::Mat weighted = data.clone();
  weighted.col(0) *= 10, weighted.col(1) *= 10;
  cv::theRNG().state = 1;
  cv::kmeans(weighted, kColours, label, cv::TermCriteria(cv::TermCriteria::COUNT, 20, 0), 1, cv::KMEANS_PP_CENTERS, centre);
  double spread[kColours]{}, count[kColours]{};
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const int l = label.at<int>(static_cast<int>(i));
    const double dr = samples[i][0] - centre.at<float>(l, 0) / 10, dg = samples[i][1] - centre.at<float>(l, 1) / 10;
    spread[l] += dr * dr + dg * dg, count[l] += 1;
  }
  for (int y = 0; y < rgb.rows; ++y)
    for (int x = 0; x < rgb.cols; ++x) {
      const cv::Vec3f d = description(smooth.at<cv::Vec3f>(y, x));
      for (int l = 0; l < kColours; ++l) {
        if (count[l] < 0.05 * static_cast<double>(samples.size())) continue;
        const double dr = d[0] - centre.at<float>(l, 0) / 10, dg = d[1] - centre.at<float>(l, 1) / 10;
        const double ratio = d[2] / centre.at<float>(l, 2), noise = 0.012 * std::min(1.0, 0.15 / d[2]),
                     most = std::clamp(3 * std::sqrt(spread[l] / count[l]), 0.016, 0.03) + noise;
        if (dr * dr + dg * dg < most * most && ratio > 0.08 && ratio < 1.15) out.at<std::uint8_t>(y, x) = 255;
      }
    }
  cv::morphologyEx(out, out, cv::MORPH_OPEN, cv::getStructuringElement(cv::MORPH_ELLIPSE, cv::Size(5, 5)));
  return out;
}

// GrabCut from a map of labels; where animal or surroundings have no pixel to learn their colours from, the labels themselves.
cv::Mat cut(const cv::Mat& pixels, const cv::Mat& labels) {
  cv::Mat l = labels.clone(), background, foreground;
  const cv::Mat inside = (l == cv::GC_FGD) | (l == cv::GC_PR_FGD);
  const int count = cv::countNonZero(inside);
  if (count == 0 || count == static_cast<int>(l.total())) return inside;
  cv::theRNG().state = 1;   // its clusters start from random numbers
  cv::grabCut(pixels, l, cv::Rect(), background, foreground, 4, cv::GC_INIT_WITH_MASK);
  return (l == cv::GC_FGD) | (l == cv::GC_PR_FGD);
}

struct Evidence {
  double contrast;   // of the part against the ring around it, in units of `features`
  double kept;       // IoU of the outline with the part it was drawn from
};

double ramp(double v, double low, double high) { return std::clamp((v - low) / (high - low), 0.0, 1.0); }

// The factors are fitted to what README.md records.
void judge(Segmentation& out, const Salience& salience, const Evidence& e, const Image& rgb) {
  const preprocess::Mask& m = out.mask;
  auto percent = [](double v) { return text(std::lround(1000 * v) / 10.0, " %"); };
  if (m.area == 0) {
    out.confidence = 0;
    out.reasons.push_back("no outline could be drawn about what stands out");
    return;
  }
  double c = std::min(0.98, 1.06 * e.kept) * (1 - salience.doubt);
  if (e.kept < 0.7) out.reasons.push_back("the outline is far from what stands out at first sight (shadow, or colours like the ground's)");
  const double contrast = ramp(e.contrast, 6, 28);
  if (contrast < 1) out.reasons.push_back("the animal hardly differs from its surroundings (low contrast)");
  c *= 0.15 + 0.85 * contrast;
  if (m.on_border) {
    out.reasons.push_back("the outline touches the picture's border, so that the animal is cut, or it is no animal");
    c *= 0.6;
  }
  const double parts = static_cast<double>(m.dropped) / static_cast<double>(m.area + m.dropped);
  if (parts > 0.1) out.reasons.push_back(text("there are several parts; the largest was taken, the others hold ", percent(parts)));
  c *= 1 - 0.7 * ramp(parts, 0.1, 0.5);
  const double share = static_cast<double>(m.area) / (static_cast<double>(rgb.width) * rgb.height);
  if (share < 0.003 || share > 0.4) out.reasons.push_back(text("it covers ", percent(share), " of the picture"));
  c *= (0.3 + 0.7 * ramp(share, 0.0005, 0.003)) * (1 - 0.6 * ramp(share, 0.4, 0.6));
  out.confidence = std::clamp(c, 0.0, 1.0);
}

}  // namespace

Segmentation outline(const Image& rgb, const Salience& salience) {
  Segmentation out;
  out.reasons = salience.reasons;
  const cv::Mat s(salience.height, salience.width, CV_32F, const_cast<float*>(salience.values.data()));
  const Part part = most_salient(s);
  if (part.mask.empty()) {
    out.reasons.push_back("nothing stands out from the border's colours");
    out.mask.image = Image(rgb.width, rgb.height, 1);
    return out;
  }
  // The box of all that stands out beside it, and room.
  const double fx = static_cast<double>(rgb.width) / s.cols, fy = static_cast<double>(rgb.height) / s.rows;
  const cv::Rect small = cv::boundingRect(part.mask);
  const int room = std::max(6, static_cast<int>(0.35 * std::max(small.width, small.height)));
  const cv::Rect box = (cv::Rect(small.x - room, small.y - room, small.width + 2 * room, small.height + 2 * room)) & cv::Rect(0, 0, s.cols, s.rows);
  const cv::Rect full = cv::Rect(static_cast<int>(box.x * fx), static_cast<int>(box.y * fy), static_cast<int>(std::ceil(box.width * fx)),
                                 static_cast<int>(std::ceil(box.height * fy))) & cv::Rect(0, 0, rgb.width, rgb.height);
  const double f = std::min(1.0, static_cast<double>(kRefineSide) / std::max(full.width, full.height));
  const cv::Size size(std::max(8, static_cast<int>(std::lround(f * full.width))), std::max(8, static_cast<int>(std::lround(f * full.height))));
  cv::Mat crop, map, seed;
  cv::resize(as_mat(rgb)(full), crop, size, 0, 0, f < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
  cv::resize(s(box), map, size, 0, 0, cv::INTER_LINEAR);
  cv::resize(part.mask(box), seed, size, 0, 0, cv::INTER_LINEAR);
  seed = seed > 127;

  cv::Mat around;
  cv::dilate(seed, around, cv::Mat(), cv::Point(-1, -1), 8);
  const cv::Mat dark = shade(crop, ~around);
  seed &= ~dark;

  cv::Mat labels(size, CV_8U, cv::Scalar(cv::GC_PR_BGD));
  labels.setTo(cv::GC_BGD, map < 0.25 * part.ring);
  labels.setTo(cv::GC_PR_FGD, seed);
  labels.row(0).setTo(cv::GC_BGD), labels.row(size.height - 1).setTo(cv::GC_BGD);
  labels.col(0).setTo(cv::GC_BGD), labels.col(size.width - 1).setTo(cv::GC_BGD);
  // First in colours that a shadow does not change, then the band about that outline in colours that keep edges sharp.
  const cv::Mat first = cut(shade_free(crop, 0.5, 800), labels);
  cv::Mat core, reach;
  const cv::Mat disc = cv::getStructuringElement(cv::MORPH_ELLIPSE, cv::Size(2 * kBand + 1, 2 * kBand + 1));
  cv::erode(first, core, disc), cv::dilate(first, reach, disc);
  labels.setTo(cv::GC_BGD), labels.setTo(cv::GC_PR_BGD, reach), labels.setTo(cv::GC_PR_FGD, first), labels.setTo(cv::GC_FGD, core);
  const cv::Mat mask = cut(features(crop, 0.8, 2.5), labels);
  const double kept = intersection_over_union(mask, seed);

  // Back to the photo.
  cv::Mat large;
  cv::Mat whole(rgb.height, rgb.width, CV_8U, cv::Scalar(0));
  cv::resize(mask, large, full.size(), 0, 0, cv::INTER_LINEAR);
  whole(full).setTo(255, large > 127);
  Image grey(rgb.width, rgb.height, 1);
  whole.copyTo(as_mat8(grey));
  preprocess::find_mask(grey, out.mask);
  cv::Mat final_mask = as_mat8(out.mask.image);
  fill_holes(final_mask, 0.02);
  const std::int64_t dropped = out.mask.dropped;
  preprocess::find_mask(Image(out.mask.image), out.mask);
  out.mask.dropped = dropped;
  judge(out, salience, {part.inside - part.ring, kept}, rgb);
  return out;
}

}  // namespace mfl::data::photo
