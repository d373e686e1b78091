#include "data/doctor/page.h"

#include <cmath>

#include "data/number_text.h"
#include "runtime/error.h"
#include "runtime/io/atomic_file.h"

namespace mfl::data::doctor {
namespace {

constexpr const char* kStyle = R"(<style>
:root{--ink:#1d232b;--soft:#66707d;--line:#dfe3e8;--good:#1b7f4b;--mid:#b36b00;--bad:#b3261e;--blue:#0b6fb8}
*{box-sizing:border-box}body{margin:0;background:#f5f6f8;color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px}section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 22px;margin:16px 0}
h1{font-size:22px;margin:0}h2{font-size:17px;margin:0 0 10px}h3{font-size:14px;margin:14px 0 6px;color:var(--soft)}p{margin:6px 0}
.verdict{color:#fff;border:0}.good{background:var(--good)}.mid{background:var(--mid)}.bad0{background:var(--bad)}.verdict p{opacity:.92;word-break:break-all}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 9px;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:600}
td:first-child,th:first-child,.t td,.t th{text-align:left}.t td{white-space:normal;vertical-align:top}
.wrong{color:var(--bad);font-weight:600}.warn{color:var(--mid);font-weight:600}.small{font-size:13px;color:var(--soft)}
.tag{display:inline-block;border-radius:4px;padding:0 7px;color:#fff;font-size:12px}.tag.error{background:var(--bad)}.tag.warning{background:var(--mid)}.tag.note{background:#7b8794}
.pair{display:flex;flex-wrap:wrap;gap:18px}.pair>div{flex:1 1 380px}.draw{width:100%;max-width:460px;display:block}
.ring{fill:none;stroke:#c8d0d9;stroke-dasharray:4 4}.axis{stroke:#d5dae0;fill:none}.lab{font-size:11px;fill:#66707d}.num{font-size:12px;text-anchor:middle;fill:#1d232b}
.cam{fill:#9fc9e8;stroke:#0b6fb8}.cam.bad{fill:#f2b8b5;stroke:#b3261e}.view{stroke:#0b6fb8;stroke-opacity:.25;fill:none}.animal{fill:#d9822b;fill-opacity:.8}.origin{stroke:#444;fill:none}.bar{fill:#0b6fb8}
.views{display:flex;flex-wrap:wrap;gap:10px}figure{margin:0;width:160px}figure img{width:160px;display:block;border:1px solid var(--line);margin-bottom:3px}figcaption{font-size:12px;color:var(--soft)}
</style>)";

// A table's cells; a dash where there is no number.
std::string cell(double v, int digits) { return std::isnan(v) ? "&ndash;" : fixed(v, digits); }
std::string percent_cell(double v, int digits = 1) { return cell(100 * v, digits) + " %"; }

class Table {
 public:
  explicit Table(std::initializer_list<const char*> heads, const char* kind = "") {
    html_ = text("<div class='scroll'><table class='", kind, "'><tr>");
    for (const char* h : heads) html_ += text("<th>", h, "</th>");
    html_ += "</tr>";
  }
  Table& row() {
    html_ += "<tr>";
    return *this;
  }
  Table& cell(const std::string& content, const char* kind = "") {
    html_ += text("<td class='", kind, "'>", content, "</td>");
    return *this;
  }
  std::string end() const { return html_ + "</table></div>"; }

 private:
  std::string html_;
};

std::string findings_part(const Findings& all) {
  if (all.empty()) return "<section><h2>Findings</h2><p>Nothing to say against it.</p></section>";
  Table t({"", "what", "where", "expected", "got", "what to do"}, "t");
  for (const Finding& f : all)
    t.row()
        .cell(text("<span class='tag ", name_of(f.severity), "'>", name_of(f.severity), "</span>"))
        .cell(escaped(f.what))
        .cell(escaped(f.where))
        .cell(escaped(f.expected))
        .cell(escaped(f.got))
        .cell(escaped(f.remedy));
  return text("<section><h2>Findings</h2>", t.end(), "</section>");
}

std::string rig_part(const Subject& subject, const Examination& e) {
  const RigTable& rig = e.rig;
  Table t({"camera", "distance", "from origin", "azimuth", "elevation", "FOV", "fx", "fy", "skew", "cx", "cy",
           "pp off middle", "det R", "depth"});
  for (std::size_t i = 0; i < rig.rows.size(); ++i) {
    const RigRow& r = rig.rows[i];
    t.row()
        .cell(text(i, ": ", escaped(r.name)))
        .cell(cell(r.from_scene.distance, 3))
        .cell(cell(r.origin_distance, 3))
        .cell(cell(r.from_scene.azimuth, 1))
        .cell(cell(r.from_scene.elevation, 1))
        .cell(cell(r.camera.fov_degrees(), 1))
        .cell(cell(r.camera.fx, 1))
        .cell(cell(r.camera.fy, 1))
        .cell(cell(r.camera.skew, 2))
        .cell(cell(r.camera.cx, 1))
        .cell(cell(r.camera.cy, 1))
        .cell(cell(r.principal_offset, 1))
        .cell(cell(r.determinant, 3), std::abs(r.determinant - 1) > 4e-3 ? "wrong" : "")
        .cell(cell(r.depth, 3), r.depth > 0 ? "" : "wrong");
  }
  std::string ring, gaps;
  for (std::size_t i = 0; i < rig.ring.size(); ++i)
    ring += text(i ? " &rarr; " : "", rig.ring[i]), gaps += text(i ? ", " : "", cell(rig.gaps[i], 0));
  const char* unit = subject.kind == SubjectKind::recording ? " (the calibration's unit)" : "";
  std::string html =
      text("<section><h2>Rig</h2><div class='pair'><div>", top_view(rig, e.geometry.centres),
           "<p class='small'>From above. Orange: the animal. Dashed: the mean distance.</p></div><div>",
           side_view(rig, e.geometry.centres),
           "<p class='small'>From the side, all cameras turned into one plane.</p></div></div>", t.end());
  html +=
      text("<p class='small'>Degrees, pixels, lengths", unit, ". Centre: ", rig.centre_from, ", at (",
           cell(rig.centre[0], 3), ", ", cell(rig.centre[1], 3), ", ", cell(rig.centre[2], 3), "). Mean distance ",
           cell(rig.mean_distance, 3), ", farthest over nearest ", cell(rig.distance_ratio, 2), ". Up: within ",
           cell(rig.up_angle, 1), "&deg; of ", rig.up_positive ? '+' : '-', rig.up_axis,
           ". The optical axes miss their meeting point by ", cell(rig.axes_miss, 3), " (rms). Ring order ", ring,
           ", gaps ", gaps, "&deg;. Different rigs in the set: ", rig.different_rigs, ".</p></section>");
  return html;
}

std::string geometry_part(const Examination& e) {
  const Geometry& g = e.geometry;
  if (g.rows.empty()) return "";
  Table t({"view", "hull IoU", "worst sample", "others without it", "tangents, px", "centroid, px",
           "triangulated centroid, px"});
  for (std::size_t v = 0; v < g.rows.size(); ++v) {
    const GeometryRow& r = g.rows[v];
    t.row()
        .cell(text(v, ": ", escaped(e.rig.rows[v].name)))
        .cell(cell(r.iou, 3), r.iou < 0.8   ? "wrong"
                               : r.iou < 0.9 ? "warn"
                                             : "")
        .cell(cell(r.iou_least, 3))
        .cell(cell(r.iou_without, 3))
        .cell(cell(r.disagreement, 2))
        .cell(cell(r.centroid, 2), r.centroid > 2 ? "warn" : "")
        .cell(cell(r.centroid_raw, 1));
  }
  std::string html =
      text("<section><h2>Do cameras and images agree?</h2>", t.end(),
           "<p class='small'>Hull IoU: how much of the outline the visual hull of all views fills (", g.hulls.size(),
           " samples, outlines grown by a pixel). Others without it: the same of the other views when this one is left "
           "out. Tangents: planes that touch the animal must touch both outlines of a pair; median of ",
           g.equations.equations,
           " equations. Centroid: outline against the triangulated animal, after removing the shape's bias; the last "
           "column with it. Centroid rays miss by ",
           cell(g.miss, 4), " (rms, rig's unit).</p>");
  if (g.intrinsics) {
    const ImpliedIntrinsics& k = *g.intrinsics;
    Table implied({"camera", "declared / implied focal length", "implied fx", "implied cx", "implied cy",
                   "principal-point error, px", "ray error"});
    for (std::size_t i = 0; i < k.cameras.size(); ++i)
      implied.row()
          .cell(text(i))
          .cell(cell(k.focal_ratio[i], 3), std::abs(k.focal_ratio[i] - 1) > 0.03 ? "wrong" : "")
          .cell(cell(k.cameras[i].fx, 1))
          .cell(cell(k.cameras[i].cx, 1))
          .cell(cell(k.cameras[i].cy, 1))
          .cell(cell(k.principal_error[i], 1), static_cast<int>(i) == k.worst ? "wrong" : "")
          .cell(cell(k.ray_error_degrees[i], 2) + "&deg;");
    html += text("<h3>Intrinsics that the outlines imply, the poses being right</h3>", implied.end(),
                 "<p class='small'>The outlines disagree by ", cell(k.before, 1), " px (median) as declared, by ",
                 cell(k.after, 2), " px with these. Common focal ratio ", cell(k.common_ratio, 3), " &plusmn; ",
                 cell(k.common_sigma, 3), ".</p>");
  }
  for (const Diagnosis& d : g.poses)
    html += text("<p>", escaped(d.what), ": cost ", cell(d.before, 1), " &rarr; ", cell(d.after, 2), ".</p>");
  return html + "</section>";
}

std::string pixels_part(const PixelTable& p) {
  Table t({"view", "foreground", "least", "most", "clipped", "empty", "soft alpha", "colour under alpha 0", "colours",
           "mean"});
  for (std::size_t v = 0; v < p.rows.size(); ++v) {
    const PixelRow& r = p.rows[v];
    t.row()
        .cell(text(v, ": ", escaped(r.name)))
        .cell(percent_cell(r.foreground))
        .cell(percent_cell(r.least))
        .cell(percent_cell(r.most))
        .cell(text(r.clipped, " of ", r.samples), r.clipped ? "warn" : "")
        .cell(text(r.empty, " of ", r.samples), r.empty ? "wrong" : "")
        .cell(percent_cell(r.soft))
        .cell(percent_cell(r.under_zero))
        .cell(text(r.range[0], " to ", r.range[1]))
        .cell(cell(r.mean, 0));
  }
  return text("<section><h2>Pixels</h2><div class='pair'><div>", alpha_histogram(p), "</div><div><p>", p.total,
              " images looked at: ", p.views8, " with 8 bits, ", p.views16, " with 16 bits a channel, ",
              p.without_alpha, " without alpha.</p></div></div>", t.end(), "</section>");
}

std::string slots_part(const std::optional<SlotTable>& s) {
  if (!s) return "";
  Table t({"slot", "wanted", s->assigned ? "camera (assigned)" : "camera (k in slot k)", "stands at", "error",
           "better: camera", "error"});
  for (std::size_t i = 0; i < 6; ++i)
    t.row()
        .cell(text(i, ": ", kSlotName[i]))
        .cell(cell(kSlotAzimuth[i], 0))
        .cell(text(s->camera[i]))
        .cell(cell(s->azimuth[i], 0))
        .cell(cell(s->error[i], 0), s->error[i] > 45 ? "wrong" : "")
        .cell(text(s->best_camera[i]))
        .cell(cell(s->best_error[i], 0));
  return text("<section><h2>Prompts of the multi-view diffusion stage</h2>", t.end(),
              "<p class='small'>Degrees of azimuth from the front view. Largest error ", cell(s->largest, 0),
              "&deg;, mean ", cell(s->mean, 0), "&deg;; with the better order ", cell(s->best_largest, 0),
              "&deg; and ", cell(s->best_mean, 0), "&deg;.</p></section>");
}

std::string splits_part(const SplitTable& s) {
  if (s.samples.empty()) return "";
  std::string html = "<section><h2>Splits</h2><p>";
  for (const auto& [split, n] : s.samples) html += text(name_of(split), ": ", n, " samples. ");
  html += text("Equal pixels within a split: ", s.duplicates,
               "; shared between training and validation or test: ", s.shared, ". ");
  if (s.nearest >= 0)
    html += text("Nearest validation or test frame to training: ", s.nearest, " frames; ", percent_cell(s.mixed, 0),
                 " beside a training frame in time.");
  return html + "</p></section>";
}

}  // namespace

std::string escaped(const std::string& s) {
  std::string out;
  for (char c : s) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '\'')
      out += "&#39;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string report_page(const Subject& subject, const Examination& e) {
  const std::string word = verdict(e.findings);
  const char* colour = !e.is_sound() ? "bad0" : word == "sound" ? "good" : "mid";
  const bool recording = subject.kind == SubjectKind::recording;
  std::string html = text(
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width'><title>",
      escaped(word), " - ", escaped(subject.path), "</title>", kStyle, "</head><body><main><section class='verdict ",
      colour, "'><h1>", escaped(word), "</h1><p>", name_of(subject.kind), " ", escaped(subject.path), "</p><p>",
      subject.total, recording ? " frames, " : " samples, ", subject.examined.size(), " looked at, ",
      subject.samples.empty() ? 0 : subject.samples[0].views.size(), " views</p></section>");
  html += findings_part(e.findings);
  html += text("<section><h2>Pictures</h2>", pictures(subject, e.geometry),
               "<p class='small'>Upper: the whole image. Lower: the animal; blue is its outline, red what the visual "
               "hull does not fill, the cross the triangulated animal.</p></section>");
  html += geometry_part(e) + rig_part(subject, e) + pixels_part(e.pixels) + slots_part(e.slots) + splits_part(e.splits);
  return html + "</main></body></html>\n";
}

void write_report_page(const std::string& path, const Subject& subject, const Examination& e) {
  io::write_text_file(path, report_page(subject, e));
}

}  // namespace mfl::data::doctor
