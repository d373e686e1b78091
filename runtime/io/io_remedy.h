// What a person can do about an error of the system while something is written; ends a sentence that has named file and reason.
#pragma once

#include <string_view>

namespace mfl::io {

// Begins with a space, ends with a full stop; empty where there is nothing to advise.
std::string_view io_remedy(int error_number);

}  // namespace mfl::io
