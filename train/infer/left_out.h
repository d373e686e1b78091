// An object of many that cannot be made does not cost the others.
//
// The rule: a DataError of what an object is made of (its picture, its mask, the views of it) is said at once with the object's name,
// the object is left out, all others are made, and the program ends with exit code 3 and the names once more. The same command tries
// it again. Anything else (memory, device, disk, the model's own files) ends the run, as does the error of a set of one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/error.h"
#include "runtime/log.h"

namespace mfl::infer {

class LeftOut {
 public:
  // Runs f, which reads object i of `size`; notes that it has failed.
  template <class F>
  void attempt(std::int64_t i, std::int64_t size, const std::string& name, F&& f) {
    try {
      f();
    } catch (const DataError& e) {
      if (size == 1) throw;
      log_error(name, " is left out: ", e.what());
      add(i, name);
    }
  }
  void add(std::int64_t i, const std::string& name) { objects_.push_back(i), names_.push_back(name); }
  std::int64_t here() const { return static_cast<std::int64_t>(objects_.size()); }   // of this rank, before share()

  // Collective: from here on, those of all ranks.
  void share(Communicator& comm) {
    std::string mine;
    for (std::size_t k = 0; k < objects_.size(); ++k) mine += std::to_string(objects_[k]) + " " + names_[k] + "\n";
    std::vector<std::pair<std::int64_t, std::string>> all;
    for (const std::string& of : comm.gather_text(mine))
      for (std::size_t at = 0; at < of.size();) {
        const std::size_t space = of.find(' ', at), end = of.find('\n', space);
        all.emplace_back(std::stoll(of.substr(at, space - at)), of.substr(space + 1, end - space - 1));
        at = end + 1;
      }
    std::sort(all.begin(), all.end());
    objects_.clear(), names_.clear();
    for (const auto& [i, name] : all) add(i, name);
  }
  std::int64_t total() const { return here(); }
  bool has(std::int64_t i) const { return std::find(objects_.begin(), objects_.end(), i) != objects_.end(); }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::int64_t> objects_;
  std::vector<std::string> names_;
};

}  // namespace mfl::infer
