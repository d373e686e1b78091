#include "data/sample.h"

#include <algorithm>

namespace mfl::data {

const char* name_of(Split s) {
  switch (s) {
    case Split::train: return "train";
    case Split::val: return "val";
    case Split::test: return "test";
    case Split::unassigned: break;
  }
  return "unassigned";
}

const char* name_of(Role r) { return r == Role::input ? "input" : r == Role::target ? "target" : "both"; }

int RecordingInfo::piece(std::int64_t raw_frame) const {
  return static_cast<int>(std::upper_bound(jumps.begin(), jumps.end(), raw_frame) - jumps.begin());
}

}  // namespace mfl::data
