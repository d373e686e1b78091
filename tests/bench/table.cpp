#include "tests/bench/table.h"

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/error.h"

namespace mfl::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string word(const Json& j, const char* key) { return j.value(key, std::string()); }
// Three significant digits: what a repeat on the same machine reproduces.
std::string number(const Json& j, const char* key) {
  if (!j.contains(key) || !j[key].is_number()) return "";
  const double x = j[key].get<double>();
  return x >= 100 ? fmt::format("{:.0f}", x) : fmt::format("{:.3g}", x);
}
std::string percent(const Json& j, const char* key) {
  return j.contains(key) && j[key].is_number() ? fmt::format("{:.0f} %", 100 * j[key].get<double>()) : "";
}

// Records in order of first appearance; later ones of the same key replace.
class Latest {
 public:
  void put(const std::string& key, const Json& j) {
    const auto [at, fresh] = index_.try_emplace(key, records_.size());
    if (fresh)
      records_.push_back(j);
    else
      records_[at->second] = j;
  }
  const std::vector<Json>& records() const { return records_; }

 private:
  std::map<std::string, std::size_t> index_;
  std::vector<Json> records_;
};

struct Device {
  Latest figures, kernels;
  Json peaks;
};

}  // namespace

void print_tables(const std::vector<std::string>& files, std::ostream& out) {
  std::map<std::string, Device> devices;
  for (const std::string& file : files) {
    std::ifstream in(file);
    if (!in) throw_error<DataError>(file, ": cannot be read");
    int number_of_line = 0;
    for (std::string line; std::getline(in, line);) {
      ++number_of_line;
      if (line.empty()) continue;
      const Json j = Json::parse(line, nullptr, false);
      if (j.is_discarded() || !j.is_object() || !j.contains("kind") || !j.contains("device"))
        throw_error<DataError>(file, ", line ", number_of_line,
                               ": not a record of mfl_bench (a JSON object with kind and device)");
      Device& d = devices[word(j, "device")];
      const std::string kind = word(j, "kind");
      if (kind == "kernel")
        d.kernels.put(word(j, "op") + '/' + word(j, "case") + '/' + word(j, "direction") + '/' + word(j, "dtype"), j);
      if (kind == "figure") d.figures.put(word(j, "what"), j);
      if (kind == "peaks") d.peaks[word(j, "dtype")] = j;
    }
  }
  for (const auto& [name, d] : devices) {
    out << "**" << name << "**";
    for (const auto& [dtype, p] : d.peaks.items())
      out << "; measured roofs: " << number(p, "gbps") << " GB/s, " << number(p, "tflops") << " TFLOP/s (" << dtype
          << ')';
    out << "\n\n";
    if (!d.figures.records().empty()) {
      out << "| what | value | command | commit |\n|---|---:|---|---|\n";
      for (const Json& j : d.figures.records())
        out << "| " << word(j, "what") << " | " << number(j, "value") << ' ' << word(j, "unit") << " | `"
            << word(j, "command") << "` | " << word(j, "commit") << " |\n";
      out << '\n';
    }
    if (!d.kernels.records().empty()) {
      out << "| kernel | shape | pass | type | ms (10 % to 90 %) | GB/s | TFLOP/s | of the roof | commit |\n"
             "|---|---|---|---|---:|---:|---:|---:|---|\n";
      for (const Json& j : d.kernels.records())
        out << "| " << word(j, "op") << " | " << word(j, "case") << " | " << word(j, "direction") << " | "
            << word(j, "dtype") << " | " << number(j, "ms")
            << (j.contains("ms_p10") ? " (" + number(j, "ms_p10") + " to " + number(j, "ms_p90") + ")" : "") << " | "
            << number(j, "gbps") << " | " << number(j, "tflops") << " | "
            << percent(j, "of_roof") << " | " << word(j, "commit") << " |\n";
      out << '\n';
    }
  }
}

}  // namespace mfl::bench
