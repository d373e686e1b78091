// All checks over one subject, the verdict, and what the report page shows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/doctor/diagnosis.h"
#include "data/doctor/hull.h"
#include "data/doctor/pixels.h"
#include "data/doctor/rig.h"
#include "data/doctor/slots.h"
#include "data/doctor/splits.h"

namespace mfl::data::doctor {

struct GeometryRow {                      // one view, mean over the samples whose hull was made
  double disagreement = 0;                // median of the tangency equations, px; NaN: none
  double centroid_raw = 0, centroid = 0;  // px, see HullView
  double iou = 0, iou_least = 1;
  double iou_without = 0;  // mean IoU of the other views when this one is left out
};
struct Geometry {
  Disagreement equations;
  std::vector<GeometryRow> rows;
  std::vector<std::size_t> hull_samples;  // of Subject::examined
  std::vector<HullResult> hulls;          // of these
  std::vector<Vec3> centres;              // of all examined samples that have one
  double miss = 0;                        // mean rms miss distance of the centroid rays, in units of the rig
  double worst_iou = 1, worst_centroid = 0;
  std::vector<Diagnosis> poses;  // only looked for where something is wrong
  std::optional<ImpliedIntrinsics> intrinsics;
};

struct ExamineOptions {
  RigExpectations rig;
  int hulls = 4;  // samples that get a visual hull
  HullOptions hull;
  bool diagnose = true;  // look for the cause of what is wrong
  bool usage = true;     // also prompts and splits: how the set is used, not whether it is right
};
struct Examination {
  Findings findings;  // worst first
  Geometry geometry;
  RigTable rig;
  PixelTable pixels;
  std::optional<SlotTable> slots;
  SplitTable splits;
  double seconds = 0;
  bool is_sound() const { return sound(findings); }
};
Geometry examine_geometry(const Subject&, const ExamineOptions&);
Findings check_geometry(const Subject&, const Geometry&);
Examination examine(const Subject&, const ExamineOptions& = {});

// "sound", "sound, with 2 warnings" or "unsound: 3 errors".
std::string verdict(const Findings&);

// The fast part, for a trainer's start: cameras and at most three samples' pixels, without pictures; under a second.
Findings quick_check(const ViewReader&, const RigExpectations&);

}  // namespace mfl::data::doctor
