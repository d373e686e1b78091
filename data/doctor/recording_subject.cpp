#include <algorithm>
#include <exception>

#include "data/doctor/subject.h"
#include "data/recording.h"
#include "data/video_reader.h"

namespace mfl::data::doctor {
namespace {

Pinhole pinhole(const RawCamera& c) {
  const Mat3 k = corner_intrinsics(c);
  Pinhole p;
  p.width = c.width, p.height = c.height;
  p.fx = k[0], p.skew = k[1], p.cx = k[2], p.fy = k[4], p.cy = k[5];
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) p.w2c[4 * i + j] = c.R[3 * i + j];
    p.w2c[4 * i + 3] = c.T[i];
  }
  p.w2c[15] = 1;
  return p;
}

}  // namespace

Subject open_recording_subject(const std::string& path, const SubjectOptions& o) {
  const Recording recording = open_recording(path);
  const std::size_t cameras = recording.cameras.size();
  Subject subject;
  subject.kind = SubjectKind::recording, subject.path = path;
  subject.total = recording.frames, subject.frames_per_second = recording.frames_per_second;
  const std::vector<std::int64_t> frames = spread(std::min<std::int64_t>(recording.frames, o.frames), o.samples);
  for (std::int64_t f : frames) {
    SampleRecord record;
    record.name = text("frame ", f), record.raw_frame = f;
    for (std::size_t c = 0; c < cameras; ++c)
      record.views.push_back({text("camera ", c), pinhole(recording.cameras[c]), -1});
    subject.examined.push_back({subject.samples.size(), std::vector<ViewPixels>(cameras)});
    subject.samples.push_back(std::move(record));
  }
  std::vector<std::exception_ptr> errors(cameras);
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t c = 0; c < cameras; ++c) {
    try {
      VideoReader colour(recording.videos[c]), mask(recording.masks[c]);
      Image rgb, grey;
      for (std::size_t i = 0; i < frames.size(); ++i) {
        while (colour.position() < frames[i]) colour.skip();
        while (mask.position() < frames[i]) mask.skip();
        colour.read(rgb), mask.read_grey(grey);
        ViewPixels& p = subject.examined[i].views[c];
        p.outline = silhouette(grey);
        p.image = Image(rgb.width, rgb.height, 4);
        for (std::size_t k = 0; k < p.outline.mask.size(); ++k) {
          for (int n = 0; n < 3; ++n) p.image.pixels[4 * k + n] = rgb.pixels[3 * k + n];
          p.image.pixels[4 * k + 3] = grey.pixels[k];
        }
      }
    } catch (...) {
      errors[c] = std::current_exception();
    }
  }
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);
  if (o.frames < recording.frames)
    subject.problems.push_back({Severity::note,
                                text("the first ", o.frames, " of ", recording.frames, " frames were read"), "", "", "",
                                "--frames N reads further, in order"});
  return subject;
}

}  // namespace mfl::data::doctor
