// How an oracle stores a gradient: overwrite, accumulate, or not at all.
#pragma once

#include "runtime/context.h"

namespace mfl {

template <class T>
void grad_write(T& slot, double gradient, GradMode mode) {
  if (mode == GradMode::overwrite) slot = T(gradient);
  if (mode == GradMode::accumulate) slot = T(double(slot) + gradient);
}

}  // namespace mfl
