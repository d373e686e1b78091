// Any bytes are either a sample whose cameras pass every check, or a DataError; without the checks too.
#include "tests/fuzz/targets.h"

#include <cmath>

#include "data/sample_json.h"

namespace mfl::fuzz {

bool opencv_cameras(std::span<const std::byte> bytes) {
  using namespace data;
  const auto parse = [&](Check check) {
    std::vector<RecordingInfo> recordings;
    SampleFile f = parse_sample_file(text_of(bytes), "fuzz", recordings, check);
    require(f.images.size() == f.sample.views.size() && f.sample.recording < static_cast<int>(recordings.size()));
    return f.sample;
  };
  accepted([&] { parse(Check::form); });
  return accepted([&] {
    for (const View& view : parse(Check::all).views) {
      check_camera(view.camera, "fuzz");
      for (double v : inverse(view.camera.w2c)) require(std::isfinite(v));
    }
  });
}

}  // namespace mfl::fuzz
