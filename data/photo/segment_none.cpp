// In a build without OpenCV.
#include "data/photo/segment.h"

namespace mfl::data::photo {
namespace {

[[noreturn]] void missing() {
  throw_error<DataError>("this build has no OpenCV and cannot tell an animal from its background. Give a mask or an alpha, or build with -DMFL_OPENCV=ON");
}

}  // namespace

bool have_segmentation() { return false; }
Segmentation segment_animal(const Image&) { missing(); }
BackgroundModel::BackgroundModel(const std::string&, std::int64_t, std::int64_t, int) { missing(); }
BackgroundModel::BackgroundModel(const std::vector<Image>&) { missing(); }
BackgroundModel::~BackgroundModel() = default;
Segmentation BackgroundModel::segment(const Image&) const { missing(); }
const Image& BackgroundModel::background() const { return median_; }

}  // namespace mfl::data::photo
