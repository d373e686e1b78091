// What the doctor looks at: the cameras of every sample, and the pixels of a few. Read from a raw recording, from
// sample folders or from a packed file; the checks see no difference.
//
// What is broken in the files themselves (an unreadable sample, a size that does not fit) becomes a finding, not an
// exception: the rest is still examined.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/doctor/finding.h"
#include "data/doctor/pinhole.h"
#include "data/doctor/silhouette.h"
#include "data/hdf5_file.h"

namespace mfl::data::doctor {

enum class SubjectKind { recording, folders, packed };
const char* name_of(SubjectKind);

struct ViewRecord {
  std::string name;
  Pinhole camera;
  int prompt_slot = -1;  // -1: the file assigns none
};
struct SampleRecord {
  std::string name;
  std::int64_t raw_frame = -1;
  Split split = Split::unassigned;
  std::string fingerprint;  // equal for samples with equal pixels; empty: not compared
  std::vector<ViewRecord> views;
};
struct ViewPixels {
  Image image;  // RGBA; from a recording: video colour, thresholded mask as alpha
  Silhouette outline;
  int bits = 8;  // a channel, in the file
  bool has_alpha = true;
};
struct SamplePixels {
  std::size_t sample = 0;  // of Subject::samples
  std::vector<ViewPixels> views;
};

struct Subject {
  SubjectKind kind = SubjectKind::folders;
  std::string path;
  std::vector<SampleRecord> samples;  // a recording: one a frame that was examined
  std::vector<SamplePixels> examined;
  std::int64_t total = 0;        // samples, or frames of the recording
  double frames_per_second = 0;  // of the recording; 0: unknown
  std::string recipe;            // JSON of a packed file
  Findings problems;

  const Pinhole& camera(const SamplePixels& s, std::size_t view) const { return samples[s.sample].views[view].camera; }
};

struct SubjectOptions {
  int samples = 12;  // at most so many have their pixels examined, spread evenly
  int frames = 240;  // of a recording, which is read in order: no later frame is looked at
};
// Throws DataError where there is nothing to look at.
Subject open_subject(const std::string& path, const SubjectOptions& = {});
Subject open_recording_subject(const std::string& path, const SubjectOptions&);
// The samples of a packed file as it is open for training; pixels of `samples` of them.
Subject subject_of(const ViewReader&, const SubjectOptions&);

// n indices spread over [0, total), the middle of n equal parts.
std::vector<std::int64_t> spread(std::int64_t total, int n);

}  // namespace mfl::data::doctor
