// The doctor's report as one HTML file that needs nothing else: inline styles, SVG drawings, PNG pictures as base64.
#pragma once

#include <string>

#include "data/doctor/examine.h"

namespace mfl::data::doctor {

std::string report_page(const Subject&, const Examination&);
// Atomic. Throws DataError.
void write_report_page(const std::string& path, const Subject&, const Examination&);

// ---- parts ----
std::string escaped(const std::string&);
std::string top_view(const RigTable&, const std::vector<Vec3>& animal);  // SVG: the rig seen along its up axis
std::string side_view(
    const RigTable&, const std::vector<Vec3>& animal);  // SVG: distance from the up axis through the centre, and height
std::string alpha_histogram(const PixelTable&);         // SVG, logarithmic
std::string pictures(const Subject&, const Geometry&);  // HTML: views of some samples, outlines, hull

}  // namespace mfl::data::doctor
