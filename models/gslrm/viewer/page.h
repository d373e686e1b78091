// The page as it was embedded at build time (embed_page.cmake), cut where the scene goes in.
#pragma once

#include <string_view>

namespace mfl::gslrm {

extern const std::string_view kViewerPageHead, kViewerPageTail;

}  // namespace mfl::gslrm
