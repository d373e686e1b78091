// RFC 4648, section 4.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace mfl::io {

std::string base64(std::span<const std::byte>);

}  // namespace mfl::io
