#include <algorithm>
#include <numeric>

#include "data/doctor/examine.h"
#include "data/number_text.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

double unit_of(const Subject& s) {  // pixels of this image that are one pixel at 512, at least one
  return std::max(1.0, s.samples[s.examined[0].sample].views[0].camera.width / 512.0);
}

// The one view whose absence makes the others agree, if there is one: by the hull, else by the tangents.
std::optional<std::size_t> culprit(const Geometry& g, double tolerance) {
  if (g.rows.size() < 4) return {};
  const auto largest = [&](double GeometryRow::*field) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < g.rows.size(); ++i)
      if (g.rows[i].*field > g.rows[best].*field) best = i;
    double next = 0;
    for (std::size_t i = 0; i < g.rows.size(); ++i)
      if (i != best) next = std::max(next, g.rows[i].*field);
    return std::pair{best, next};
  };
  const auto [by_hull, hull_next] = largest(&GeometryRow::iou_without);
  const double without = g.rows[by_hull].iou_without;
  if (without > 0.9 && hull_next < 0.9 && without > hull_next + 0.08) return by_hull;
  const auto [by_lines, lines_next] = largest(&GeometryRow::disagreement);
  if (g.rows[by_lines].disagreement > 2 * tolerance && lines_next < 0.5 * g.rows[by_lines].disagreement)
    return by_lines;
  return {};
}

}  // namespace

Geometry examine_geometry(const Subject& subject, const ExamineOptions& o) {
  Geometry g;
  const Evidence e = evidence_of(subject);
  if (e.frames.empty() || e.views() < 2) return g;
  g.equations = disagreement(e);
  g.rows.resize(e.views());
  for (std::size_t v = 0; v < e.views(); ++v) g.rows[v].disagreement = g.equations.per_view[v];
  for (const Frame& f : e.frames)
    if (const auto at = centroid_meeting(f)) g.centres.push_back(at->point);
  for (std::int64_t i : spread(static_cast<std::int64_t>(e.frames.size()), o.hulls))
    if (auto hull = visual_hull(e.frames[static_cast<std::size_t>(i)], o.hull)) {
      g.hull_samples.push_back(static_cast<std::size_t>(i));
      g.hulls.push_back(std::move(*hull));
    }
  const double n = static_cast<double>(g.hulls.size());
  for (const HullResult& h : g.hulls) {
    g.miss += h.miss / n;
    for (std::size_t v = 0; v < g.rows.size(); ++v) {
      GeometryRow& r = g.rows[v];
      r.centroid_raw += h.views[v].centroid_raw / n, r.centroid += h.views[v].centroid / n;
      r.iou += h.views[v].iou / n, r.iou_least = std::min(r.iou_least, h.views[v].iou);
      r.iou_without += h.mean_without[v] / n;
    }
  }
  if (!g.hulls.empty())
    for (const GeometryRow& r : g.rows)
      g.worst_iou = std::min(g.worst_iou, r.iou), g.worst_centroid = std::max(g.worst_centroid, r.centroid);
  const double tolerance = 1.5 * unit_of(subject);
  const bool wrong = g.worst_iou < 0.9 || culprit(g, tolerance) ||
                     (g.equations.equations && g.equations.median > tolerance) ||
                     cost_of(e) > std::max(8.0, 4 * tolerance);
  if (o.diagnose && wrong) {
    g.poses = diagnose_poses(e);
    if (g.poses.empty()) g.intrinsics = imply_intrinsics(e);
  }
  return g;
}

Findings check_geometry(const Subject& subject, const Geometry& g) {
  Findings out;
  if (subject.examined.empty()) return out;
  if (g.hulls.empty()) {
    out.push_back({Severity::warning, "cameras could not be checked against the images", "",
                   "outlines in at least two views of a sample", "", "Masks as alpha make this check possible"});
    return out;
  }
  const double tolerance = 1.5 * unit_of(subject);
  const bool hull_bad = g.worst_iou < 0.8, hull_poor = g.worst_iou < 0.9;
  const bool lines_bad = g.equations.equations && g.equations.median > 2 * tolerance,
             lines_poor = g.equations.equations && g.equations.median > tolerance;

  for (std::size_t i = 0; i < g.poses.size() && i < 1; ++i)
    out.push_back({Severity::error, g.poses[i].what, "", "outlines that agree",
                   text("a disagreement of ", fixed(g.poses[i].before, 1), " px as it is, ", fixed(g.poses[i].after, 1),
                        " px when that is undone"),
                   g.poses[i].remedy});
  if (const auto& k = g.intrinsics; k && (hull_poor || lines_poor)) {
    const bool explains = k->after < 0.4 * k->before && k->after < 3 * tolerance;
    const double least = *std::min_element(k->focal_ratio.begin(), k->focal_ratio.end()),
                 most = *std::max_element(k->focal_ratio.begin(), k->focal_ratio.end());
    const auto [pp_least, pp_most] = std::minmax_element(k->principal_error.begin(), k->principal_error.end());
    const auto [ray_least, ray_most] = std::minmax_element(k->ray_error_degrees.begin(), k->ray_error_degrees.end());
    if (explains && std::abs(k->common_ratio - 1) > std::max(0.02, 3 * k->common_sigma))
      out.push_back({Severity::error,
                     text("the declared focal length is ", fixed(least, 2), " to ", fixed(most, 2),
                          " of the one that the images imply"),
                     "all cameras", "a ratio of 1",
                     text("on average ", fixed(k->common_ratio, 3), " +- ", fixed(k->common_sigma, 3),
                          "; the outlines disagree by ", fixed(k->before, 1), " px as declared, by ",
                          fixed(k->after, 2), " px with the implied intrinsics"),
                     "K must follow every crop, resize and warp of the image; scaling the world does not change K. "
                     "Preprocess again without --compat"});
    if (explains && *pp_most > 2 * tolerance)
      out.push_back(
          {Severity::error,
           text("the declared principal points are ", fixed(*pp_least, 0), " to ", fixed(*pp_most, 0), " px off"),
           text("worst: camera ", k->worst), "less than a pixel",
           text("ray errors of ", fixed(*ray_least, 2), " to ", fixed(*ray_most, 2),
                " degrees (below 0.5 is harmless, above 2 is not)"),
           "Warp the images so that the declared principal point is true, or declare the true one"});
  }
  const bool explained =
      std::any_of(out.begin(), out.end(), [](const Finding& f) { return f.severity == Severity::error; });
  if (const auto bad = culprit(g, tolerance))
    out.push_back(
        {Severity::error, "one camera does not fit the others", text("camera ", *bad), "outlines that agree",
         text("tangents off by ", fixed(g.rows[*bad].disagreement, 1), " px in the median; without it the hull fills ",
              percent(g.rows[*bad].iou_without), " of the other views' outlines"),
         "Was it moved or turned, or are its frames shifted in time?"});
  std::size_t worst = 0;
  for (std::size_t v = 0; v < g.rows.size(); ++v)
    if (g.rows[v].iou < g.rows[worst].iou) worst = v;
  if (hull_poor)
    out.push_back(
        {hull_bad ? Severity::error : Severity::warning,
         "the visual hull does not fill the outlines: cameras and images contradict each other",
         text("worst: camera ", worst), "a reprojection IoU above 0.9 in every view",
         text("IoU from ", fixed(g.worst_iou, 3), ", centroid errors up to ", fixed(g.worst_centroid, 1), " px"),
         explained ? "See the cause above" : "Compare calibration, order of the cameras, crop and synchrony"});
  else if (lines_poor && !explained)
    out.push_back({lines_bad ? Severity::error : Severity::warning, "the outlines' epipolar tangents disagree", "",
                   text("below ", fixed(tolerance, 1), " px"), text(fixed(g.equations.median, 1), " px in the median"),
                   "Compare calibration, crop and synchrony"});
  return out;
}

}  // namespace mfl::data::doctor
