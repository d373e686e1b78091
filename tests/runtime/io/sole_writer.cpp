// One writer a folder: the second is refused with who has it; a killed one blocks nobody; on another host its beat tells.
#include "runtime/io/sole_writer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::io {
namespace {

using std::chrono::milliseconds;

constexpr SoleWriter::Waits kShort{.beat = milliseconds(40), .watch = milliseconds(300), .dying = milliseconds(150), .lease = milliseconds(600)};

// A process that holds the folder until it is killed.
int holder_of(const std::filesystem::path& folder) {
  int ready[2];
  if (::pipe(ready) != 0) return -1;
  const int pid = ::fork();
  if (pid == 0) {
    const auto held = SoleWriter::of_folder(folder, "mfl_train", kShort);
    [[maybe_unused]] const auto told = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  ::close(ready[1]);
  char c = 0;
  [[maybe_unused]] const auto heard = ::read(ready[0], &c, 1);
  ::close(ready[0]);
  return pid;
}
void end(int pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

// What a holder on another host has left, or goes on writing.
struct Elsewhere {
  std::filesystem::path file;
  std::atomic<bool> beats{false}, done{false};
  std::thread thread;
  explicit Elsewhere(const std::filesystem::path& folder, bool alive) : file(folder / ".mfl.lock"), beats(alive) {
    write(0);
    if (alive)
      thread = std::thread([this] {
        for (int i = 1; !done; ++i) {
          std::this_thread::sleep_for(milliseconds(40));
          write(i);
        }
      });
  }
  ~Elsewhere() {
    done = true;
    if (thread.joinable()) thread.join();
  }
  void write(int beat) const {
    const std::string s = nlohmann::json{{"program", "mfl_train"}, {"host", "node07"}, {"pid", 4711}, {"since", "2026-01-02 03:04:05 UTC"}, {"boot", "another"},
                                         {"processes", "pid:[1]"}, {"start", 17}, {"job", "99"}, {"beat", beat}}.dump();
    std::fstream out(file, std::ios::in | std::ios::out);   // in place, as a holder does
    if (!out) out.open(file, std::ios::out);
    out << s << std::string(1024 - s.size(), ' ') << std::flush;
  }
};

TEST(SoleWriter, TheSecondIsRefusedWithWhoHasIt) {
  const test::TempFolder folder;
  const int pid = holder_of(folder.path());
  MFL_EXPECT_THROW_WITH(SoleWriter::of_folder(folder.path(), "mfl_train", kShort), ConfigError, text("in use by mfl_train, process ", pid, " on host "));
  EXPECT_NO_THROW(SoleWriter::of_folder(folder / "another", "mfl_train", kShort));
  end(pid);
}

TEST(SoleWriter, AKilledOneBlocksNobodyAndAnEndLeavesNothing) {
  const test::TempFolder folder;
  end(holder_of(folder.path()));
  EXPECT_TRUE(std::filesystem::exists(folder / ".mfl.lock"));
  const auto begin = std::chrono::steady_clock::now();
  SoleWriter::of_folder(folder.path(), "mfl_train", kShort).reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kShort.watch) << "waited for a process of this host that is gone";
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SoleWriter, OneThatIsOnItsWayOutIsWaitedFor) {
  const test::TempFolder folder;
  const int pid = holder_of(folder.path());
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(60));
    end(pid);
  });
  EXPECT_NO_THROW(SoleWriter::of_folder(folder.path(), "mfl_train", {.dying = milliseconds(5000)}));
  later.join();
}

TEST(SoleWriter, AnotherHostsIsKnownByItsBeat) {
  const test::TempFolder folder;
  {
    const Elsewhere alive(folder.path(), true);
    MFL_EXPECT_THROW_WITH(SoleWriter::of_folder(folder.path(), "mfl_train", kShort), ConfigError, "process 4711 on host node07, since 2026-01-02 03:04:05 UTC, Slurm job 99");
  }
  const Elsewhere dead(folder.path(), false);
  EXPECT_NO_THROW(SoleWriter::of_folder(folder.path(), "mfl_train", kShort)) << "the host died: another one goes on";
}

TEST(SoleWriter, AFileHasALockBesideIt) {
  const test::TempFolder folder;
  {
    const auto held = SoleWriter::of_file(folder / "set.h5", "mfl_data pack", kShort);
    MFL_EXPECT_THROW_WITH(SoleWriter::of_file(folder / "set.h5", "mfl_data pack", kShort), ConfigError, "set.h5 is in use by mfl_data pack");
    EXPECT_NO_THROW(SoleWriter::of_file(folder / "other.h5", "mfl_data pack", kShort));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SoleWriter, SomethingElseInTheLockFileIsOverwritten) {
  const test::TempFolder folder;
  std::ofstream(folder / ".mfl.lock") << "{\"host\": 7, \"pid\": \"x\"";
  EXPECT_NO_THROW(SoleWriter::of_folder(folder.path(), "mfl_train", kShort));
}

TEST(SoleWriter, OfManyAtOnceOneGetsIt) {
  const test::TempFolder folder;
  std::atomic<int> inside{0}, most{0}, got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) try {
          const auto held = SoleWriter::of_folder(folder.path(), "mfl_train", {.beat = milliseconds(40), .dying = milliseconds(1)});
          const int now = ++inside;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {}
          std::this_thread::sleep_for(milliseconds(2));
          ++got, --inside;
        } catch (const ConfigError&) {
        }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(most, 1);
  EXPECT_GT(got, 0);
}

}  // namespace
}  // namespace mfl::io
