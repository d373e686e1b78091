// Weights from a file into a parameter store, by name, and the table that says how well the two fit.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/weight_file.h"
#include "runtime/module.h"

namespace mfl::weights {

struct Coverage {
  struct WrongShape {
    std::string name;
    Shape wanted, found;
  };
  std::string source;                   // the file
  std::vector<std::string> loaded;      // in the store and in the file, shapes equal
  std::vector<std::string> missing;     // in the store, not in the file
  std::vector<std::string> unexpected;  // in the file, not in the store
  std::vector<WrongShape> wrong_shape;
  std::int64_t loaded_numel = 0, wanted_numel = 0;
  std::string hint;  // why nothing, or little, matched; empty otherwise

  bool complete() const { return missing.empty() && wrong_shape.empty(); }
  // A line of totals and one line for each group of names, at most `lines` of them a kind.
  std::string table(std::size_t lines = 8) const;
};

// Names and shapes only; reads no tensor.
Coverage compare(const ParamStore&, const io::WeightFile&);
// Throws DataError with the table unless every missing name begins with one of `allow_missing` and no shape is wrong.
void require_complete(const Coverage&, const std::vector<std::string>& allow_missing);

struct LoadOptions {
  std::vector<std::string> allow_missing = {};  // name prefixes that the file may lack
  bool log = true;                         // print the table
};
// compare, require_complete, then the values and the compute copies. Waits for the copies.
Coverage load_parameters(const Stream&, ParamStore&, const io::WeightFile&, const LoadOptions& = {});

// One tensor into one parameter's master (not into its compute copy), or where a frozen network keeps none into what it keeps.
// The shapes may differ by axes of one element.
void load_parameter(const Stream&, const Param&, const io::StoredTensor&, std::string_view what);
// The compute copies, after masters have changed.
void refresh_compute(const Stream&, const ParamStore&);
// The parameter with its slice of another flat buffer of its store's layout as its value: what load_parameter fills is then a
// moment or an average.
Param slice_of(const Tensor& flat, const Param&);

// Host values laid out as the parameter is in memory (its value, gradient or a moment of its) as a checkpoint has them: under
// its name, in its published shape. The tensor is held.
io::NamedStored published(const Param&, const Tensor& host);
// The same of values that are on their way to a file: [memory_shape] becomes the published shape, row-major.
io::NamedStored published(const Param&, const io::StoredTensor& in_memory);

}  // namespace mfl::weights
