#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <thread>

#include "runtime/comm/communicator.h"
#include "runtime/tensor.h"
#include "tests/support/comm_checks.h"

namespace mfl {
namespace {

using Ranks = std::vector<std::unique_ptr<Communicator>>;

// Runs f on every rank at once; returns what each threw, empty for nothing. A rank that throws aborts the others.
std::vector<std::string> on_all(Ranks& ranks, const std::function<void(Communicator&)>& f) {
  std::vector<std::string> errors(ranks.size());
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      try {
        f(*ranks[r]);
      } catch (const std::exception& e) {
        errors[r] = e.what();
        ranks[r]->abort(e.what());
      }
    });
  for (auto& t : threads) t.join();
  return errors;
}
void all_pass(Ranks& ranks, const std::function<void(Communicator&)>& f) {
  for (const std::string& e : on_all(ranks, f)) EXPECT_EQ(e, "");
}

Ranks make_file_ranks(int n, const std::filesystem::path& folder) {
  Ranks ranks(static_cast<std::size_t>(n));
  std::vector<std::thread> threads;
  for (int r = 0; r < n; ++r) threads.emplace_back([&, r] { ranks[std::size_t(r)] = make_file(folder, r, n); });
  for (auto& t : threads) t.join();
  return ranks;
}
// A name that no other test uses; removed at the end.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / text("mfl_comm_", getpid(), '_', counter()++);
  ~Folder() { std::filesystem::remove_all(path); }
  static int& counter() {
    static int n = 0;
    return n;
  }
};

TEST(SingleRank, DoesWhatManyRanksWouldDo) {
  auto c = make_single(kCpu);
  EXPECT_GT(test::check_collectives(*c, false), 0);
  test::check_control_plane(*c);
}

TEST(ThreadRanks, CollectivesEqualTheSerialSumBitwise) {
  for (int n : {1, 2, 3, 4}) {
    Ranks ranks = make_thread_ranks(n);
    all_pass(ranks, [&](Communicator& c) { test::check_collectives(c, n == 2); });
  }
}
TEST(ThreadRanks, ControlPlane) {
  Ranks ranks = make_thread_ranks(4);
  all_pass(ranks, test::check_control_plane);
}
TEST(ThreadRanks, AbortWakesEveryWaitingRankWithTheReason) {
  Ranks ranks = make_thread_ranks(4);
  const auto errors = on_all(ranks, [](Communicator& c) {
    c.barrier();
    if (c.rank() == 2) throw_error<DataError>("scene_07.h5 is truncated");
    float x = 1;
    c.all_reduce(Stream::create(kCpu, "test"), make_view(&x, {1}, DType::f32), ReduceOp::sum);
  });
  for (std::size_t r : {0u, 1u, 3u})
    EXPECT_EQ(errors[r], text("rank ", r, ": all_reduce was abandoned: scene_07.h5 is truncated"));
  EXPECT_THROW(ranks[0]->check(), CommError);
}
TEST(ThreadRanks, DifferentCallsAreReportedOnEveryRank) {
  Ranks ranks = make_thread_ranks(3);
  const auto errors = on_all(ranks, [](Communicator& c) {
    float x[2] = {1, 2};
    c.all_reduce(Stream::create(kCpu, "test"), make_view(x, {c.rank() == 1 ? 2 : 1}, DType::f32), ReduceOp::sum);
  });
  for (const std::string& e : errors)
    EXPECT_NE(e.find("rank 1 called all_reduce of 2 f32 sum while rank 0 called all_reduce of 1 f32 sum"),
              std::string::npos)
        << e;
}
TEST(ThreadRanks, ANotANumberIsNotHiddenByMinAndMax) {
  Ranks ranks = make_thread_ranks(3);
  all_pass(ranks, [](Communicator& c) {
    for (int bad = 0; bad < 3; ++bad)
      for (ReduceOp op : {ReduceOp::min, ReduceOp::max}) {
        float x = c.rank() == bad ? std::numeric_limits<float>::quiet_NaN() : float(c.rank());
        c.all_reduce(Stream::create(kCpu, "test"), make_view(&x, {1}, DType::f32), op);
        if (x == x) throw_error<Error>(name_of(op), " hid the NaN of rank ", bad);
      }
  });
}

TEST(FileRanks, CollectivesAndControlPlane) {
  Folder folder;
  Ranks ranks = make_file_ranks(3, folder.path);
  all_pass(ranks, [](Communicator& c) {
    EXPECT_EQ(c.local_size(), 3);
    EXPECT_EQ(c.local_rank(), c.rank());
    test::check_control_plane(c);
    test::check_collectives(c, false);
  });
  std::size_t left = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path)) ++left;
  EXPECT_EQ(left, 3u) << "each rank leaves the file of its last call only";
}
TEST(FileRanks, AbortReachesTheWaiting) {
  Folder folder;
  Ranks ranks = make_file_ranks(2, folder.path);
  const auto errors = on_all(ranks, [](Communicator& c) {
    if (c.rank() == 0) throw_error<DataError>("no disk left");
    c.barrier();
  });
  EXPECT_EQ(errors[1], "rank 1: the run was abandoned: no disk left");
}
TEST(FileRanks, AFolderOfAnEarlierRunIsRefused) {
  Folder folder;
  { Ranks ranks = make_file_ranks(2, folder.path); }
  EXPECT_THROW(make_file(folder.path, 1, 2), ConfigError);
}

TEST(Communicator, ChecksItsArguments) {
  auto c = make_single(kCpu);
  const Stream s = Stream::create(kCpu, "test");
  std::int32_t i[4] = {};
  const View v = make_view(i, {4}, DType::i32);
  EXPECT_THROW(c->all_reduce(s, v, ReduceOp::avg), ShapeError);
  EXPECT_THROW(c->broadcast(s, v, 1), ShapeError);
  EXPECT_THROW(c->all_gather(s, slice(v, 0, 0, 3), v), ShapeError);
  EXPECT_THROW(c->all_reduce(s, make_view(i, {4}, DType::i32, Device{DeviceKind::cuda, 0}), ReduceOp::sum), ShapeError);
}
TEST(Communicator, ADryRunMovesNothing) {
  auto c = make_single(kMeta);
  c->all_reduce(Stream::create(kMeta, "test"), make_view(static_cast<void*>(nullptr), {4}, DType::f32, kMeta),
                ReduceOp::sum);
}

// The launcher's variables, for the life of a scope.
class Environment {
 public:
  Environment() {
    for (const char* n : kNames) {
      const char* v = std::getenv(n);
      before_.push_back(v ? std::optional<std::string>(v) : std::nullopt);
      unsetenv(n);
    }
  }
  ~Environment() {
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (before_[i])
        setenv(kNames[i], before_[i]->c_str(), 1);
      else
        unsetenv(kNames[i]);
    }
  }
  void set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }

 private:
  static constexpr const char* kNames[] = {
      "MFL_RANK", "MFL_WORLD_SIZE", "MFL_RENDEZVOUS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
      "PMI_RANK", "PMI_SIZE",       "PMIX_RANK",      "SLURM_PROCID",         "SLURM_STEP_NUM_TASKS",
      "SLURM_NTASKS"};
  std::vector<std::optional<std::string>> before_;
};

TEST(MakeCommunicator, WithoutALauncherThereIsOneRank) {
  Environment env;
  EXPECT_STREQ(make_communicator(kCpu)->name(), "single");
  env.set("SLURM_PROCID", "0");  // a batch script: one process, whatever the job's size
  EXPECT_STREQ(make_communicator(kCpu)->name(), "single");
  env.set("OMPI_COMM_WORLD_RANK", "0");
  env.set("OMPI_COMM_WORLD_SIZE", "1");
  EXPECT_STREQ(make_communicator(kCpu)->name(), "single");
}
TEST(MakeCommunicator, MeetsInTheRendezvousFolder) {
  Environment env;
  Folder folder;
  env.set("MFL_RANK", "1");
  env.set("MFL_WORLD_SIZE", "2");
  env.set("MFL_RENDEZVOUS", folder.path);
  std::unique_ptr<Communicator> first;
  std::thread other([&] { first = make_file(folder.path, 0, 2); });
  auto second = make_communicator(kCpu);
  other.join();
  EXPECT_STREQ(second->name(), "file");
  EXPECT_EQ(second->rank(), 1);
  EXPECT_EQ(second->size(), 2);
}
// The order that communicator.h states: a pair that comes first hides the ones behind it, half a pair hides nothing.
TEST(MakeCommunicator, AsksTheLaunchersInTheirOrder) {
  const std::pair<const char*, const char*> pairs[] = {{"MFL_RANK", "MFL_WORLD_SIZE"},
                                                       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                                       {"PMI_RANK", "PMI_SIZE"},
                                                       {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
  for (std::size_t first = 0; first < std::size(pairs); ++first) {
    Environment env;
    Folder folder;
    if (first > 0) env.set(pairs[first - 1].first, "0");
    env.set(pairs[first].first, "1");
    env.set(pairs[first].second, "2");
    for (std::size_t later = first + 1; later < std::size(pairs); ++later) {
      env.set(pairs[later].first, "6");
      env.set(pairs[later].second, "7");
    }
    env.set("PMIX_RANK", "6");
    env.set("SLURM_NTASKS", "7");
    env.set("MFL_RENDEZVOUS", folder.path);
    std::unique_ptr<Communicator> other;
    std::thread meet([&] { other = make_file(folder.path, 0, 2); });
    const auto mine = make_communicator(kCpu);
    meet.join();
    EXPECT_EQ(mine->rank(), 1) << pairs[first].first;
    EXPECT_EQ(mine->size(), 2) << pairs[first].first;
  }
}
TEST(MakeCommunicator, RefusesOneProcessOfAJobOfSeveralTasks) {
  Environment env;
  env.set("SLURM_NTASKS", "8");
  env.set("SLURM_PROCID", "0");   // as a batch script has it
  try {
    make_communicator(kCpu);
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_NE(std::string(e.what()).find("SLURM_NTASKS=8 tasks, but one process was started"), std::string::npos) << e.what();
  }
  env.set("MFL_RANK", "0");
  env.set("MFL_WORLD_SIZE", "1");
  EXPECT_STREQ(make_communicator(kCpu)->name(), "single");
}
TEST(MakeCommunicator, RefusesAFolderWhereNobodyKnowsTheSize) {
  Environment env;
  Folder folder;
  env.set("PMIX_RANK", "0");
  env.set("MFL_RENDEZVOUS", folder.path);
  EXPECT_THROW(make_communicator(kCpu), ConfigError);
}
TEST(MakeCommunicator, RefusesNumbersThatCannotBe) {
  Environment env;
  env.set("MFL_RANK", "4");
  env.set("MFL_WORLD_SIZE", "4");
  try {
    make_communicator(kCpu);
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_STREQ(e.what(), "MFL_RANK=4 is not below MFL_WORLD_SIZE=4");
  }
  env.set("MFL_RANK", "one");
  EXPECT_THROW(make_communicator(kCpu), ConfigError);
}

TEST(RunRank, TurnsAnErrorIntoItsExitCodeAndEndsTheOthers) {
  Ranks ranks = make_thread_ranks(2);
  std::atomic<int> codes[2] = {0, 0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      codes[r] = run_rank(*ranks[std::size_t(r)], [&]() -> int {
        if (r == 1) throw_error<DataError>("broken");
        ranks[0]->barrier();
        return 0;
      });
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(codes[0], kExitComm);
  EXPECT_EQ(codes[1], kExitData);
}

}  // namespace
}  // namespace mfl
