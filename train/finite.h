// Whether numbers in host memory are finite: what a checkpoint asks of its copy before anything is written.
#pragma once

#include <cstdint>

#include "runtime/view.h"

namespace mfl {

// Index of the first element that is NaN or infinite; -1: none, or no floating type. Reads the memory once; any thread.
std::int64_t first_non_finite(ConstView host);

}  // namespace mfl
