#include "data/doctor/command.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "data/doctor/page.h"
#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

struct Arguments {
  std::string path, page;
  SubjectOptions subject;
  ExamineOptions examine;
  bool no_page = false;
};

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

int doctor(const Arguments& a) {
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

}  // namespace

void add_command(CLI::App& program, int& exit_code) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand(
      "doctor", "is a recording or a data set sound? Verdict, reasons, a report page; exit code 3 if not");
  command->add_option("PATH", a->path, "raw recording, sample folder(s), list file, or packed .h5")->required();
  command->add_option("-o,--report", a->page, "the HTML page; default: NAME_doctor.html in the working directory");
  command->add_flag("--no-report", a->no_page, "no page");
  command->add_option("--samples", a->subject.samples, "samples or frames whose pixels are looked at")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_option("--frames", a->subject.frames, "frames of a recording that are read, from the start")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000000));
  command->add_option("--hulls", a->examine.hulls, "samples that get a visual hull")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_option("--distance", a->examine.rig.distance, "expected mean camera distance; 0: any")
      ->capture_default_str();
  command->callback([a, &exit_code] { exit_code = doctor(*a); });
}

}  // namespace mfl::data::doctor
