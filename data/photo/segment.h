// Where is the animal in a picture that says nothing about it? For an animal on a ground that is not the animal's colour, away
// from the picture's border. No learned network: what cannot be reached from the border without crossing a strong edge is the
// seed, a colour model of animal and surroundings (GrabCut) draws the outline, and the largest part of it is the animal.
// segment.cpp and background_model.cpp use OpenCV; segment_none.cpp is built without it and says so when called.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/preprocess/mask.h"

namespace mfl::data::photo {

struct Segmentation {
  preprocess::Mask mask;             // one component without small holes; area 0 where nothing was found
  double confidence = 0;             // expected IoU with the true outline, in [0, 1] (README: how it was calibrated)
  std::vector<std::string> reasons;  // why it is not higher, as parts of a sentence; empty where all is well
};

bool have_segmentation();  // false in a build without OpenCV

// Of one RGB picture. Deterministic. About a second of CPU for 1152 x 1024.
Segmentation segment_animal(const Image& rgb);

// Of the frames of one camera that stands still: the median over time is the picture without the animal.
class BackgroundModel {
 public:
  // Reads frames [start, end) (end -1: to the video's end) and keeps `samples` of them, evenly spread. Throws DataError.
  explicit BackgroundModel(const std::string& video, std::int64_t start = 0, std::int64_t end = -1, int samples = 25);
  // From frames in memory, all of one size; for tests.
  explicit BackgroundModel(const std::vector<Image>& frames);
  ~BackgroundModel();

  // What differs from the background, its outline drawn like segment_animal's. Where the animal stood still (it is in the
  // background then) or the camera moved, the frame's own segmentation is surer, and is what is returned.
  Segmentation segment(const Image& rgb) const;
  const Image& background() const;

 private:
  Image median_;
};

}  // namespace mfl::data::photo
