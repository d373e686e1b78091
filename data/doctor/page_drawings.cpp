#include <algorithm>

#include "data/doctor/page.h"
#include "data/number_text.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

// The rig's ground plane: two axes across up, and their names.
struct Ground {
  int x, y, up;
  double sign;
};
Ground ground(const RigTable& rig) {
  const double sign = rig.up_positive ? 1 : -1;
  if (rig.up_axis == 'X') return {1, 2, 0, sign};
  if (rig.up_axis == 'Y') return {2, 0, 1, sign};
  return {0, 1, 2, sign};
}

double reach_of(const RigTable& rig) {
  double reach = 1e-9;
  for (const RigRow& r : rig.rows)
    if (r.camera.finite()) reach = std::max(reach, r.from_scene.distance);
  return reach;
}

std::string camera_mark(double x, double y, double dx, double dy, double opening, std::size_t number, bool behind) {
  const double n = std::max(std::hypot(dx, dy), 1e-9), ux = dx / n, uy = dy / n, size = 22,
               half = size * std::tan(opening);
  const double ax = x + size * ux - half * uy, ay = y + size * uy + half * ux, bx = x + size * ux + half * uy,
               by = y + size * uy - half * ux;
  return format("<path d='M%.1f %.1fL%.1f %.1fL%.1f %.1fZ' class='%s'/>", x, y, ax, ay, bx, by,
                behind ? "cam bad" : "cam") +
         format("<text x='%.1f' y='%.1f' class='num'>%zu</text>", x - 13 * ux, y - 13 * uy + 4, number);
}

}  // namespace

std::string top_view(const RigTable& rig, const std::vector<Vec3>& animal) {
  const Ground g = ground(rig);
  const double reach = reach_of(rig), scale = 165 / reach, middle = 210;
  const auto px = [&](const Vec3& p) { return middle + scale * (p[g.x] - rig.centre[g.x]); };
  const auto py = [&](const Vec3& p) { return middle - scale * g.sign * (p[g.y] - rig.centre[g.y]); };
  std::string svg = "<svg viewBox='0 0 420 420' class='draw' role='img' aria-label='top view of the rig'>";
  svg += format("<circle cx='210' cy='210' r='%.1f' class='ring'/>", scale * rig.mean_distance);
  svg += format(
      "<path d='M210 18V402M18 210H402' class='axis'/><text x='392' y='204' class='lab'>+%c</text><text x='216' y='28' "
      "class='lab'>%c%c</text>",
      "XYZ"[g.x], g.sign > 0 ? '+' : '-', "XYZ"[g.y]);
  const double ox = px({}), oy = py({});
  if (std::abs(ox - middle) < 200 && std::abs(oy - middle) < 200)
    svg +=
        format("<path d='M%.1f %.1fh12M%.1f %.1fv12' class='origin'/><text x='%.1f' y='%.1f' class='lab'>origin</text>",
               ox - 6, oy, ox, oy - 6, ox + 7, oy + 14);
  for (std::size_t i = 0; i < rig.rows.size(); ++i) {
    const Pinhole& c = rig.rows[i].camera;
    if (!c.finite()) continue;
    const Vec3 at = c.centre(), forward = c.row(2);
    const double x = px(at), y = py(at), dx = forward[g.x], dy = -g.sign * forward[g.y];
    svg += format("<path d='M%.1f %.1fl%.1f %.1f' class='view'/>", x, y, dx * scale * rig.rows[i].from_scene.distance,
                  dy * scale * rig.rows[i].from_scene.distance);
    if (rig.rows.size() <= 48)
      svg += camera_mark(x, y, dx, dy, std::atan(0.5 * c.width / c.fx), i, !(rig.rows[i].depth > 0));
  }
  for (const Vec3& p : animal) svg += format("<circle cx='%.1f' cy='%.1f' r='3.5' class='animal'/>", px(p), py(p));
  return svg + "</svg>";
}

std::string side_view(const RigTable& rig, const std::vector<Vec3>& animal) {
  const Ground g = ground(rig);
  const double reach = reach_of(rig), scale = 330 / reach;
  const auto across = [&](const Vec3& p) { return std::hypot(p[g.x] - rig.centre[g.x], p[g.y] - rig.centre[g.y]); };
  const auto height = [&](const Vec3& p) { return g.sign * (p[g.up] - rig.centre[g.up]); };
  std::string svg = "<svg viewBox='0 0 420 420' class='draw' role='img' aria-label='side view of the rig'>";
  svg +=
      "<path d='M30 18V402M18 210H402' class='axis'/><text x='402' y='226' class='lab' text-anchor='end'>distance from "
      "the centre</text>";
  svg += format("<text x='36' y='28' class='lab'>%c%c</text>", g.sign > 0 ? '+' : '-', "XYZ"[g.up]);
  for (std::size_t i = 0; i < rig.rows.size(); ++i) {
    const Pinhole& c = rig.rows[i].camera;
    if (!c.finite()) continue;
    const Vec3 at = c.centre(), forward = c.row(2);
    // Towards the axis: the share of the view direction that points at it.
    const Vec3 inward{rig.centre[0] - at[0], rig.centre[1] - at[1], rig.centre[2] - at[2]};
    const double flat = std::max(std::hypot(inward[g.x], inward[g.y]), 1e-9);
    const double dx = -(forward[g.x] * inward[g.x] + forward[g.y] * inward[g.y]) / flat, dy = -g.sign * forward[g.up];
    const double x = 30 + scale * across(at), y = 210 - scale * height(at);
    svg +=
        format("<path d='M%.1f %.1fl%.1f %.1f' class='view'/>", x, y, dx * scale * across(at), dy * scale * across(at));
    if (rig.rows.size() <= 48)
      svg += camera_mark(x, y, dx, dy, std::atan(0.5 * c.height / c.fy), i, !(rig.rows[i].depth > 0));
  }
  for (const Vec3& p : animal)
    svg +=
        format("<circle cx='%.1f' cy='%.1f' r='3.5' class='animal'/>", 30 + scale * across(p), 210 - scale * height(p));
  return svg + "</svg>";
}

std::string alpha_histogram(const PixelTable& t) {
  std::string svg =
      "<svg viewBox='0 0 420 150' class='draw' role='img' aria-label='alpha histogram'><path d='M20 120H404' "
      "class='axis'/>";
  for (std::size_t i = 0; i < t.alpha.size(); ++i) {
    if (t.alpha[i] <= 0) continue;
    const double h = 105 * std::clamp(1 + std::log10(t.alpha[i]) / 5, 0.02, 1.0);  // from 1e-5 to 1
    svg += format(
        "<rect x='%.1f' y='%.1f' width='10' height='%.1f' class='bar'><title>alpha %zu to %zu: %.4f %%</title></rect>",
        21 + 12.0 * static_cast<double>(i), 120 - h, h, 8 * i, 8 * i + 7, 100 * t.alpha[i]);
  }
  return svg +
         "<text x='20' y='138' class='lab'>alpha 0</text><text x='382' y='138' class='lab'>255</text><text x='150' "
         "y='138' class='lab'>share, 0.001 % to 100 %, logarithmic</text></svg>";
}

}  // namespace mfl::data::doctor
