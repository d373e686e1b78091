// `mfl_data doctor PATH`.
#pragma once

#include <string>

#include "data/doctor/examine.h"
#include "data/doctor/subject.h"

namespace mfl::data::doctor {

struct Arguments {
  std::string path, page;  // page empty: NAME_doctor.html in the working directory
  SubjectOptions subject;
  ExamineOptions examine;
  bool no_page = false;
};

// Prints what was found and the verdict, writes the page. The program's exit code: 3 where the verdict is unsound.
int run(const Arguments&);

}  // namespace mfl::data::doctor
