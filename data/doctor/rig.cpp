#include "data/doctor/rig.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "data/number_text.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

// Views for which `bad` holds; "" where there is none.
template <class F>
std::string views_where(const RigTable& rig, F&& bad) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < rig.rows.size(); ++i)
    if (bad(rig.rows[i])) found.push_back(i);
  if (found.empty()) return "";
  return found.size() == rig.rows.size() ? text("all ", found.size(), " cameras")
                                         : text(found.size() > 1 ? "cameras " : "camera ", list(found));
}

void check_matrices(const RigTable& rig, Findings& out) {
  if (const std::string where = views_where(rig, [](const RigRow& r) { return !r.camera.finite(); }); !where.empty())
    out.push_back({Severity::error, "a camera has values that are not finite, or no focal length", where,
                   "finite numbers, fx and fy positive", "", "Calibrate again"});
  const auto usable = [](const RigRow& r) { return r.camera.finite(); };
  const auto least = [&](double RigRow::*field) {
    double value = 1e300;
    for (const RigRow& r : rig.rows) value = std::min(value, r.*field);
    return value;
  };
  if (const std::string where = views_where(rig, [&](const RigRow& r) { return usable(r) && r.determinant < 0; });
      !where.empty())
    out.push_back({Severity::error, "the rotation has determinant -1: it mirrors the world", where, "det R = +1",
                   text("det R = ", fixed(least(&RigRow::determinant), 3)),
                   "Build the axes as x right, y down, z forward with right = down x forward"});
  if (const std::string where = views_where(rig, [&](const RigRow& r) { return usable(r) && r.orthonormality > 1e-3; });
      !where.empty())
    out.push_back({Severity::error, "the rotation is not orthonormal", where, "R R^T = 1 within 0.001",
                   text("an error of ", fixed(std::max_element(rig.rows.begin(), rig.rows.end(),
                                                               [](const RigRow& a, const RigRow& b) {
                                                                 return a.orthonormality < b.orthonormality;
                                                               })
                                                  ->orthonormality,
                                              4)),
                   "Take scale and shear out of the matrix"});
  if (const std::string where = views_where(rig, [&](const RigRow& r) { return usable(r) && !(r.depth > 0); });
      !where.empty())
    out.push_back({Severity::error, "the animal is behind the camera", where, "a positive depth of the scene's centre",
                   text("a depth down to ", fixed(least(&RigRow::depth), 3)),
                   "The z axis must point forward (OpenCV), and the matrix must be world to camera"});
}

void check_intrinsics(const RigTable& rig, Findings& out) {
  if (const std::string where = views_where(rig,
                                            [](const RigRow& r) {
                                              return r.camera.cx < 0 || r.camera.cy < 0 ||
                                                     r.camera.cx > r.camera.width || r.camera.cy > r.camera.height;
                                            });
      !where.empty())
    out.push_back({Severity::error, "the principal point is outside the image", where, "cx in [0, w], cy in [0, h]", "",
                   "Are the intrinsics those of this image size?"});
  const auto fov = [](const RigRow& r) { return r.camera.fov_degrees(); };
  if (const std::string where = views_where(rig, [&](const RigRow& r) { return fov(r) < 20 || fov(r) > 90; });
      !where.empty()) {
    const auto [least, most] = std::minmax_element(rig.rows.begin(), rig.rows.end(),
                                                   [&](const RigRow& a, const RigRow& b) { return fov(a) < fov(b); });
    const bool absurd = fov(*least) < 5 || fov(*most) > 150;
    out.push_back({absurd ? Severity::error : Severity::warning, "an unusual field of view", where, "20 to 90 degrees",
                   text(fixed(fov(*least), 1), " to ", fixed(fov(*most), 1), " degrees"),
                   "Are fx and fy those of this image size?"});
  }
  if (const std::string where =
          views_where(rig, [](const RigRow& r) { return std::abs(r.camera.fx / r.camera.fy - 1) > 0.05; });
      !where.empty())
    out.push_back({Severity::warning, "fx and fy differ by more than 5 %", where, "nearly square pixels", "",
                   "An image that was squashed to a square has such a K; one that was cropped has not"});
}

void check_distances(const Subject& subject, const RigTable& rig, const RigExpectations& e, Findings& out) {
  // One camera in another unit stands out against the middle one.
  std::vector<double> sorted;
  for (const RigRow& r : rig.rows) sorted.push_back(r.origin_distance);
  std::sort(sorted.begin(), sorted.end());
  const double middle = sorted[sorted.size() / 2];
  if (const std::string where = views_where(
          rig, [&](const RigRow& r) { return r.origin_distance > 20 * middle || r.origin_distance < middle / 20; });
      !where.empty() && middle > 0) {
    out.push_back({Severity::error, "one rig, two units: a camera is twenty times farther or nearer than the others",
                   where, text("distances near ", fixed(middle, 3)), "",
                   "Millimetres and metres mixed? Bring all translations to one unit"});
    return;
  }
  const double d = rig.mean_origin_distance;
  const std::string got = text("a mean camera distance of ", fixed(d, 3));
  if (subject.kind == SubjectKind::recording) {
    if (d < 20)
      out.push_back({Severity::warning, "the calibration is in metres, not millimetres", "",
                     "translations in millimetres (hundreds)", got,
                     "Multiply T by 1000; preprocess scales the rig anyway, but whatever is measured in its unit is "
                     "off by 1000"});
    return;
  }
  if (e.distance <= 0 || std::abs(d / e.distance - 1) <= 0.05) return;
  const Severity wrong = e.normalised_later ? Severity::note : Severity::error;
  const std::string expected = text("a mean distance of ", e.distance, " from the origin"),
                    remedy = "mfl_data preprocess scales the rig by one similarity";
  if (d > 20)
    out.push_back({wrong, "the cameras are in millimetres, not in units of the scene", "", expected, got, remedy});
  else if (d < 1)
    out.push_back({wrong, "the cameras are in metres, not in units of the scene", "", expected, got, remedy});
  else
    out.push_back({e.normalised_later ? Severity::note : Severity::warning,
                   "the cameras' mean distance is not the model's", "", expected, got, remedy});
}

void check_axes(const Subject& subject, const RigTable& rig, const RigExpectations& e, Findings& out) {
  const std::string axis = text(rig.up_positive ? '+' : '-', rig.up_axis),
                    seen =
                        text("the cameras' mean up direction is within ", fixed(rig.up_angle, 1), " degrees of ", axis);
  if (rig.up_axis == '?') {
    out.push_back(
        {Severity::warning, "the cameras' up directions cancel out: the rig's up is unknown", "", "", "", ""});
    return;
  }
  if (rig.up_axis != 'Z' || !rig.up_positive) {
    if (!e.z_up) return;
    const bool recording = subject.kind == SubjectKind::recording;
    out.push_back(
        {e.normalised_later ? Severity::note
         : recording        ? Severity::warning
                            : Severity::error,
         text("the world is ", rig.up_positive ? "" : "minus-", rig.up_axis, "-up, not Z-up"), "", "up along +Z", seen,
         recording || e.normalised_later ? "It is turned later"
                                         : "Turn the rig by one rotation (preprocess does), never the images"});
  } else if (rig.up_angle > 25) {
    out.push_back({Severity::warning, "the rig is tilted", "", "up within 25 degrees of +Z", seen,
                   "Cameras that all look down steeply look like this too"});
  }
}

}  // namespace

std::string list(const std::vector<std::size_t>& views) {
  std::string s;
  for (std::size_t i = 0; i < views.size(); ++i)
    s += text(i == 0 ? "" : i + 1 == views.size() ? " and " : ", ", views[i]);
  return s;
}

RigTable examine_rig(const Subject& subject, const std::optional<Vec3>& animal) {
  RigTable rig;
  if (subject.samples.empty()) return rig;
  const std::size_t first = subject.examined.empty() ? 0 : subject.examined[0].sample;
  const std::vector<ViewRecord>& views = subject.samples[first].views;
  std::vector<Vec3> origins, axes;
  for (const ViewRecord& v : views) {
    if (!v.camera.finite()) continue;
    origins.push_back(v.camera.centre()), axes.push_back(v.camera.row(2));
    rig.up = rig.up - v.camera.row(1);
  }
  const auto meeting = meet(origins, axes);
  if (meeting) rig.axes_miss = meeting->rms;
  if (animal)
    rig.centre = *animal, rig.centre_from = "the animal, from the outlines";
  else if (meeting)
    rig.centre = meeting->point, rig.centre_from = "where the optical axes meet";
  else
    rig.centre_from = "the origin";

  if (length(rig.up) > 1e-3 * static_cast<double>(views.size())) {
    rig.up = unit(rig.up);
    int axis = 0;
    for (int k = 1; k < 3; ++k)
      if (std::abs(rig.up[k]) > std::abs(rig.up[axis])) axis = k;
    rig.up_axis = "XYZ"[axis], rig.up_positive = rig.up[axis] > 0;
    rig.up_angle = degrees(std::acos(std::min(1.0, std::abs(rig.up[axis]))));
  }
  double least = 1e300, most = 0, sum = 0, sum_origin = 0;
  std::size_t counted = 0;
  for (const ViewRecord& v : views) {
    RigRow r;
    r.name = v.name, r.camera = v.camera;
    r.principal_offset = std::hypot(v.camera.cx - 0.5 * v.camera.width, v.camera.cy - 0.5 * v.camera.height);
    if (v.camera.finite()) {
      const Vec3 at = v.camera.centre();
      r.from_scene = bearing(at, rig.centre), r.origin_distance = length(at);
      r.determinant = v.camera.determinant(), r.orthonormality = v.camera.orthonormality_error(),
      r.depth = v.camera.depth(rig.centre);
      least = std::min(least, r.from_scene.distance), most = std::max(most, r.from_scene.distance);
      sum += r.from_scene.distance, sum_origin += r.origin_distance, ++counted;
    }
    rig.rows.push_back(std::move(r));
  }
  if (counted)
    rig.mean_distance = sum / static_cast<double>(counted),
    rig.mean_origin_distance = sum_origin / static_cast<double>(counted);
  rig.distance_ratio = counted && least > 0 ? most / least : 1;

  rig.ring.resize(rig.rows.size());
  std::iota(rig.ring.begin(), rig.ring.end(), 0);
  const auto azimuth = [&](int i) { return rig.rows[static_cast<std::size_t>(i)].from_scene.azimuth; };
  std::sort(rig.ring.begin(), rig.ring.end(), [&](int a, int b) { return azimuth(a) < azimuth(b); });
  std::rotate(rig.ring.begin(), std::find(rig.ring.begin(), rig.ring.end(), 0), rig.ring.end());
  for (std::size_t i = 0; i < rig.ring.size(); ++i) {
    double gap = azimuth(rig.ring[(i + 1) % rig.ring.size()]) - azimuth(rig.ring[i]);
    rig.gaps.push_back(gap < 0 ? gap + 360 : gap);
  }

  std::set<std::vector<double>> rigs;
  for (const SampleRecord& s : subject.samples) {
    std::vector<double> values;
    for (const ViewRecord& v : s.views) {
      values.insert(values.end(), {v.camera.fx, v.camera.fy, v.camera.skew, v.camera.cx, v.camera.cy});
      values.insert(values.end(), v.camera.w2c.begin(), v.camera.w2c.end());
    }
    rigs.insert(std::move(values));
  }
  rig.different_rigs = rigs.size();
  return rig;
}

Findings check_rig(const Subject& subject, const RigTable& rig, const RigExpectations& e) {
  Findings out;
  if (rig.rows.empty()) return out;
  check_matrices(rig, out);
  check_intrinsics(rig, out);
  check_distances(subject, rig, e, out);
  check_axes(subject, rig, e, out);
  for (std::size_t i = 0; i < rig.rows.size(); ++i)
    for (std::size_t j = i + 1; j < rig.rows.size(); ++j)
      if (rig.rows[i].camera.finite() && rig.rows[i].camera == rig.rows[j].camera)
        out.push_back({Severity::error, "two views have the same camera", text("views ", i, " and ", j), "", "",
                       "Was the calibration copied?"});
  if (rig.distance_ratio > 2)
    out.push_back({Severity::note, "the cameras' distances from the animal differ much", "", "a ratio near 1",
                   text("the farthest is ", fixed(rig.distance_ratio, 2), " times as far as the nearest"), ""});
  if (rig.different_rigs > 1)
    out.push_back({Severity::note,
                   text("there are ", rig.different_rigs, " different rigs in ", subject.samples.size(), " samples"),
                   "", "", "", ""});
  if (subject.kind != SubjectKind::recording && !e.normalised_later && length(rig.centre) > 0.25 * rig.mean_distance)
    out.push_back({Severity::warning, "the animal is far from the origin, where the model's volume is", "",
                   text("within ", fixed(0.25 * rig.mean_distance, 2), " of it"),
                   text(fixed(length(rig.centre), 2), " away, at (", fixed(rig.centre[0], 2), ", ",
                        fixed(rig.centre[1], 2), ", ", fixed(rig.centre[2], 2), ")"),
                   "Centre the rig on the animal, not on the cameras: mfl_data preprocess --center"});
  return out;
}

}  // namespace mfl::data::doctor
