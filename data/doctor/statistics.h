// The doctor's figures about one sample, as the packed file keeps them (data/sample.h, ViewStats).
#pragma once

#include "data/sample.h"

namespace mfl::data::doctor {

// Fills `clipped`, `hull_iou` and `centroid_error` of the views that have alpha, where they are unknown. Views that are
// only inputs take no part in the hull. About 10 ms for six views.
void measure(Sample&);

}  // namespace mfl::data::doctor
