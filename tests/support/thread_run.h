// A whole run of a tiny model in this process, its ranks being threads.
#pragma once

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/tiny_program.h"
#include "train/gslrm_trainer.h"
#include "train/mvdiffusion/trainer.h"

namespace mfl::test {

// The exit code, which all ranks have.
inline int train_on_ranks(const TinyProgram& program, const fs::path& run, std::vector<ConfigOverride> more, int n) {
  const bool views = program.model() == TinyProgram::Model::mvdiffusion;
  more.insert(more.begin(), {views ? "output_dir" : "training.checkpointing.checkpoint_dir", run.string()});
  auto ranks = make_thread_ranks(n);
  std::vector<int> codes(std::size_t(n), -1);
  std::vector<std::thread> threads;
  const std::string file = program.config().string();
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] {
      Communicator& comm = *ranks[std::size_t(r)];
      codes[std::size_t(r)] = run_rank(comm, [&] {
        return views ? mvdiffusion::train(mvdiffusion::load_train_config(file, more).config, comm, {}) : train_gslrm(load_gslrm_config(file, more).config, comm, {});
      });
    });
  for (auto& t : threads) t.join();
  for (const int c : codes) EXPECT_EQ(c, codes[0]) << "all ranks end with one code";
  return codes[0];
}

}  // namespace mfl::test
