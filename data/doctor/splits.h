// Are the splits apart? Equal samples in two splits, and neighbours in time across them.
#pragma once

#include <map>

#include "data/doctor/subject.h"

namespace mfl::data::doctor {

struct SplitTable {
  std::map<Split, std::int64_t> samples;
  std::int64_t duplicates = 0;  // samples whose pixels another sample of the same split has too
  std::int64_t shared = 0;      // of validation and test: samples that are in training too
  std::string example;          // two names
  std::int64_t nearest = -1;    // raw frames from a validation or test sample to the next training sample; -1: unknown
  double mixed = 0;             // share of the other samples whose neighbour in time is a training sample; blocks: only edges
};
SplitTable examine_splits(const Subject&);
Findings check_splits(const Subject&, const SplitTable&);

}  // namespace mfl::data::doctor
