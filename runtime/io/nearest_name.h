// For messages: the name that was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mfl::io {

// The name with the smallest edit distance to `wanted`; empty when there is none, or none is closer than half its
// length.
std::string nearest_name(std::string_view wanted, const std::vector<std::string>& names);

}  // namespace mfl::io
