#include "data/doctor/command.h"

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "data/doctor/page.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

void print_rig(const Examination& e) {
  std::printf(
      "  view             distance  azimuth  elevation   FOV   det   pp off   hull IoU  centroid px  tangents px\n");
  for (std::size_t v = 0; v < e.rig.rows.size() && v < 12; ++v) {
    const RigRow& r = e.rig.rows[v];
    std::printf("  %2zu %-12.12s %9.3f  %7.1f  %9.1f  %4.1f  %+4.2f  %7.1f", v, r.name.c_str(), r.from_scene.distance,
                r.from_scene.azimuth, r.from_scene.elevation, r.camera.fov_degrees(), r.determinant,
                r.principal_offset);
    if (v < e.geometry.rows.size() && !e.geometry.hulls.empty()) {
      const GeometryRow& g = e.geometry.rows[v];
      std::printf("   %8.3f  %11.2f", g.iou, g.centroid);
      if (!std::isnan(g.disagreement)) std::printf("  %11.2f", g.disagreement);
    }
    std::printf("\n");
  }
  if (e.rig.rows.size() > 12) std::printf("  and %zu more views\n", e.rig.rows.size() - 12);
}

}  // namespace

int run(const Arguments& a) {
  const auto start = std::chrono::steady_clock::now();
  const Subject subject = open_subject(a.path, a.subject);
  const Examination e = examine(subject, a.examine);
  std::printf("%s: %s, %lld %s, %zu looked at\n", a.path.c_str(), name_of(subject.kind),
              static_cast<long long>(subject.total), subject.kind == SubjectKind::recording ? "frames" : "samples",
              subject.examined.size());
  print_rig(e);
  for (const Finding& f : e.findings) std::printf("%s\n", one_line(f).c_str());
  if (!a.no_page) {
    // Beside the data, not in it: the folder of the dataset stays as it is.
    std::string page = a.page;
    if (page.empty())
      page =
          std::filesystem::path(a.path.substr(0, a.path.find('#'))).lexically_normal().stem().string() + "_doctor.html";
    write_report_page(page, subject, e);
    std::printf("report: %s\n", page.c_str());
  }
  std::printf("verdict: %s (%.1f s)\n", verdict(e.findings).c_str(),
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return e.is_sound() ? kExitOk : kExitData;
}

}  // namespace mfl::data::doctor
