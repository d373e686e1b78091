// What a check of the doctor has to say: one line each, in the same form for the terminal, the page and the trainer.
#pragma once

#include <string>
#include <vector>

namespace mfl::data::doctor {

enum class Severity {
  note,     // worth knowing
  warning,  // training works, but something is lost or at risk
  error,    // the data contradicts itself or the model's conventions: unsound
};

struct Finding {
  Severity severity = Severity::note;
  std::string what;   // the fact
  std::string where;  // which cameras, samples, files; empty: all
  std::string expected, got;
  std::string remedy;
};
using Findings = std::vector<Finding>;

const char* name_of(Severity);
// "error: WHAT (WHERE): expected ..., got ... Remedy." on one line.
std::string one_line(const Finding&);
bool sound(const Findings&);  // no error among them

}  // namespace mfl::data::doctor
