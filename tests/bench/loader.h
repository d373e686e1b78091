// mfl_bench loader: how fast batches come from a packed file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mfl::bench {

struct LoaderOptions {
  std::string data;               // packed file or list; empty: one is made of procedural scenes with sensor noise, and removed
  int image_size = 512;
  int batch = 2, views = 6;
  std::vector<int> workers;       // empty: 0 (everything in one thread), then 1 .. cores
  double seconds = 5;             // of each measurement
  std::int64_t memory_limit = 0;  // MiB > 0: in a control group of so much memory, with nothing of the file in the page cache;
                                  // a file that is made is twice as large
};

// One record a number of workers: images a second, and a CPU second of all threads; prints each. Before that, checks that
// batches are the same for all numbers of workers. Throws: ConfigError for a file that is not larger than the limit, and
// where control groups cannot be made.
std::vector<nlohmann::ordered_json> bench_loader(const LoaderOptions&);

}  // namespace mfl::bench
