#include "data/doctor/finding.h"

#include <algorithm>

#include "runtime/error.h"

namespace mfl::data::doctor {

const char* name_of(Severity s) { return s == Severity::error ? "error" : s == Severity::warning ? "warning" : "note"; }

std::string one_line(const Finding& f) {
  std::string line = text(name_of(f.severity), ": ", f.what);
  if (!f.where.empty()) line += text(" (", f.where, ")");
  if (!f.expected.empty()) line += text("; expected ", f.expected);
  if (!f.got.empty()) line += text("; got ", f.got);
  line += '.';
  if (!f.remedy.empty()) line += text(' ', f.remedy, '.');
  return line;
}

bool sound(const Findings& all) {
  return std::none_of(all.begin(), all.end(), [](const Finding& f) { return f.severity == Severity::error; });
}

}  // namespace mfl::data::doctor
