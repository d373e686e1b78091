// Disks that fill up, fail, damage and dawdle under whole runs of mfl_train: a sentence, older checkpoints untouched, and training on
// from them to the bits of an undisturbed run. Every call that writes a checkpoint fails once.
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/child_process.h"
#include "tests/support/run_log_lines.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_program.h"

namespace mfl::test {
namespace {

using std::chrono::milliseconds;

struct Ended {
  int code = -1;
  std::string said;
};

class FaultsBase : public ::testing::Test {
 protected:
  explicit FaultsBase(TinyProgram::Model m) : model_(m) {}
  const TinyProgram::Model model_;
  static constexpr int kLast = 4;
  TempFolder root;
  std::optional<TinyProgram> tiny;
  std::map<std::int64_t, std::map<std::string, std::string>> truth;   // by pass
  std::map<std::int64_t, std::string> losses;

  void SetUp() override {
    tiny.emplace(model_, MFL_TRAIN_PROGRAM, root / "tiny", kLast);
    const Ended straight = start("straight");
    ASSERT_EQ(straight.code, 0) << straight.said;
    for (const Complete& c : tiny->checkpoints(root / "straight")) truth[c.number] = tiny->state(c.path);
    ASSERT_EQ(truth.size(), std::size_t(kLast));
    losses = logged_losses(tiny->log(root / "straight"));
  }

  bool gslrm() const { return model_ == TinyProgram::Model::gslrm; }
  Ended start(const std::string& run, Environment environment = {}, std::vector<std::string> more = {}) const {
    environment["OMP_NUM_THREADS"] = "1";
    environment["LD_PRELOAD"] = MFL_FAULT_IO;
    Child child(tiny->command(root / run, std::move(more)), environment, root / "said");
    const int code = child.wait();
    return {code, child.said()};
  }
  Environment fault(const std::string& kind, long at, const std::string& count = "", const std::string& match = "") const {
    return {{"MFL_FAULT_KIND", kind}, {"MFL_FAULT_AT", std::to_string(at)}, {"MFL_FAULT_COUNT", count}, {"MFL_FAULT_MATCH", match.empty() ? tiny->checkpoint_part() : match}};
  }
  static std::vector<std::string> go_on() { return {"--set", "mfl.on_checkpoint_failure=continue"}; }
  std::vector<std::string> passes(int n) const {
    return {"--set", std::string(gslrm() ? "training.schedule.max_fwdbwd_passes=" : "max_train_steps=") + std::to_string(n)};
  }
  // The numbers of complete checkpoints; each has the undisturbed run's bits.
  std::vector<std::int64_t> sound(const std::string& run) const {
    std::vector<std::int64_t> all;
    for (const Complete& c : tiny->checkpoints(root / run)) {
      all.push_back(c.number);
      EXPECT_EQ(tiny->state(c.path), truth.at(c.number)) << c.path;
    }
    return all;
  }
  void expect_ends_whole(const std::string& run) const {
    const Ended e = start(run);
    EXPECT_EQ(e.code, 0) << e.said;
    const auto all = sound(run);
    EXPECT_FALSE(all.empty() || all.back() != kLast) << e.said;
    EXPECT_EQ(logged_losses(tiny->log(root / run)), losses) << e.said;
    EXPECT_EQ(tiny->half_written(root / run), 0);
  }
  // Calls on checkpoints of a run from `from` on.
  std::vector<std::string> trace(const std::string& from) const {
    fs::remove_all(root / "traced");
    fs::copy(root / from, root / "traced", fs::copy_options::recursive);
    const Ended e = start("traced", {{"MFL_FAULT_MATCH", tiny->checkpoint_part()}, {"MFL_FAULT_TRACE", (root / "trace").string()}}, passes(2));
    EXPECT_EQ(e.code, 0) << e.said;
    std::vector<std::string> calls;
    std::ifstream in(root / "trace");
    for (std::string line; std::getline(in, line);) calls.push_back(line);
    return calls;
  }
};

class Faults : public FaultsBase, public ::testing::WithParamInterface<TinyProgram::Model> {
 protected:
  Faults() : FaultsBase(GetParam()) {}
};
// What both models share, tried with one of them.
class DiskFaults : public FaultsBase {
 protected:
  DiskFaults() : FaultsBase(TinyProgram::Model::gslrm) {}
};

INSTANTIATE_TEST_SUITE_P(Runs, Faults, ::testing::Values(TinyProgram::Model::gslrm, TinyProgram::Model::mvdiffusion),
                         [](const auto& p) { return p.param == TinyProgram::Model::gslrm ? "Gslrm" : "MvDiffusion"; });

// Each call of a save fails in turn, all later ones too: the run ends with a sentence, and what was there goes on to the same bits.
// Long: every call of GS-LRM's single file, every eighth of the thousand of MVDiffusion's folder. Short: those that are one of a kind,
// and a few of the many writes. The kind of failure goes round.
TEST_P(Faults, EveryCallOfASaveMayFail) {
  ASSERT_EQ(start("first", {}, passes(1)).code, 0);
  const std::vector<std::string> calls = trace("first");
  ASSERT_GT(calls.size(), 10u);
  const bool every = std::getenv("MFL_SLOW_TESTS") != nullptr;
  std::map<std::string, int> seen;
  int failed = 0, unharmed = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string name = calls[i].substr(calls[i].find(' ') + 1, calls[i].find(' ', calls[i].find(' ') + 1) - calls[i].find(' ') - 1);
    const int nth = seen[name]++;
    if (nth > 0 && (every ? !gslrm() && i % 8 != 0 : (i * 2654435761u) % calls.size() >= 4)) continue;
    const std::string kind = std::array{"ENOSPC", "EIO", "EROFS"}[i % 3];
    SCOPED_TRACE(calls[i] + " fails with " + kind);
    fs::remove_all(root / "hurt");
    fs::copy(root / "first", root / "hurt", fs::copy_options::recursive);
    const Ended e = start("hurt", fault(kind, long(i) + 1), passes(2));
    // Only what a person needs: no failure may be silent, none may lose a checkpoint that was there.
    if (e.code == 0) {
      ++unharmed;
      EXPECT_EQ(sound("hurt").back(), 2) << e.said;
    } else {
      ++failed;
      EXPECT_EQ(e.code, 3) << e.said;
      EXPECT_NE(e.said.find(tiny->checkpoint_part()), std::string::npos) << e.said;
      EXPECT_NE(e.said.find(kind == "ENOSPC" ? "No space left on device" : kind == "EIO" ? "Input/output error" : "Read-only file system"), std::string::npos) << e.said;
      EXPECT_NE(e.said.find(kind == "ENOSPC" ? "Free space" : kind == "EIO" ? "dmesg" : "mounted read-only"), std::string::npos) << e.said;
    }
    const auto kept = sound("hurt");
    EXPECT_TRUE(std::find(kept.begin(), kept.end(), 1) != kept.end()) << e.said;
    expect_ends_whole("hurt");
    if (HasFailure()) return;
  }
  EXPECT_GT(failed, 3 * unharmed) << "of " << calls.size();
  std::cout << failed << " failures of " << calls.size() << " calls end the run, " << unharmed << " do not concern the new checkpoint\n";
}

// A disk that is full for a while, with mfl.on_checkpoint_failure: continue.
TEST_P(Faults, TrainingGoesOnIfToldTo) {
  const Ended e = start("on", fault("ENOSPC", 1, "1"), go_on());
  EXPECT_EQ(e.code, 0) << e.said;
  EXPECT_NE(e.said.find("was not saved"), std::string::npos) << e.said;
  EXPECT_NE(e.said.find("1 checkpoint was not written in this run"), std::string::npos) << e.said;
  const auto kept = sound("on");
  ASSERT_EQ(kept.size(), std::size_t(kLast - 1)) << e.said;
  EXPECT_EQ(kept.back(), kLast);
  const auto failures = log_lines(tiny->log(root / "on"), "checkpoint_failed"), end = log_lines(tiny->log(root / "on"), "end");
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0]["pass"], 1);
  EXPECT_NE(failures[0]["what"].get<std::string>().find("No space left"), std::string::npos) << failures[0].dump();
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0]["failed_checkpoints"], 1);
  EXPECT_EQ(logged_losses(tiny->log(root / "on")), losses);
}

TEST_F(DiskFaults, ALastCheckpointThatFailsIsAnErrorEvenThen) {
  const Ended e = start("never", fault("EDQUOT", 1), go_on());
  EXPECT_EQ(e.code, 3) << e.said;
  EXPECT_NE(e.said.find("quota"), std::string::npos) << e.said;
  EXPECT_EQ(log_lines(tiny->log(root / "never"), "checkpoint_failed").size(), std::size_t(kLast));
  EXPECT_EQ(log_lines(tiny->log(root / "never"), "end").at(0)["failed_checkpoints"], kLast);
  EXPECT_TRUE(sound("never").empty());
  expect_ends_whole("never");
}

TEST_F(DiskFaults, WritesThatTakeHalfAreGoneOnWith) {
  const Ended e = start("short", fault("short", 1));
  EXPECT_EQ(e.code, 0) << e.said;
  EXPECT_EQ(sound("short").size(), std::size_t(kLast));
}

// One bit of what is written is wrong: nothing damaged gets a checkpoint's name.
TEST_P(Faults, ADamagedWriteIsFoundBeforeItHasItsName) {
  const std::string part = gslrm() ? "ckpt_" : "unet/.diffusion";
  int found = 0;
  for (const int at : gslrm() ? std::vector{2, 3, 5, 9, 40} : std::vector{2}) {   // some writes concern bytes that mean nothing: padding
    fs::remove_all(root / "damaged");
    const Ended e = start("damaged", fault("corrupt", at, "1", part));
    found += e.code == 3;
    EXPECT_TRUE(e.code == 0 || e.code == 3) << e.said;
    sound("damaged");
    if (e.code == 3) {
      EXPECT_TRUE(e.said.find("damaged") != std::string::npos || e.said.find("differs from what was written") != std::string::npos) << e.said;
      expect_ends_whole("damaged");
    }
  }
  EXPECT_GT(found, 0);
}

// A bit turns on the disk after the system has called the file safe.
TEST_P(Faults, ReadingBackFindsWhatTheDiskHasDamaged) {
  const std::string part = gslrm() ? "ckpt_" : "diffusion_pytorch_model";
  const Ended e = start("verified", fault("decay", 1, "", part), {"--verify-checkpoints"});
  EXPECT_EQ(e.code, 3) << e.said;
  EXPECT_TRUE(sound("verified").empty());
  expect_ends_whole("verified");
}

TEST_P(Faults, ADamagedCheckpointIsPassedOverLoudlyForTheOneBefore) {
  const Ended e = start("rotten", {}, passes(2));
  EXPECT_EQ(e.code, 0) << e.said;
  const fs::path newest = tiny->checkpoints(root / "rotten").back().path, file = gslrm() ? newest : newest / "unet" / "diffusion_pytorch_model.safetensors";
  std::string bytes = TinyProgram::bytes(file);
  bytes[bytes.size() / 2] ^= 0x10;
  std::ofstream(file, std::ios::binary) << bytes;
  const Ended again = start("rotten");
  EXPECT_EQ(again.code, 0) << again.said;
  EXPECT_NE(again.said.find("cannot resume from"), std::string::npos) << again.said;
  EXPECT_NE(again.said.find("damaged"), std::string::npos) << again.said;
  EXPECT_EQ(sound("rotten").size(), std::size_t(kLast));
  EXPECT_EQ(logged_losses(tiny->log(root / "rotten")), losses);
}

TEST_F(DiskFaults, ADiskThatDawdlesHoldsNoStepUp) {
  // 400 ms a save, and only one before the last; the steps in between are not told to wait.
  const Ended e = start("slow", {{"MFL_FAULT_SLOW_US", "3000"}, {"MFL_FAULT_MATCH", tiny->checkpoint_part()}},
                        {"--set", std::string(gslrm() ? "training.checkpointing.checkpoint_every" : "checkpointing_steps") + "=2"});
  EXPECT_EQ(e.code, 0) << e.said;
  const auto saves = log_lines(tiny->log(root / "slow"), "checkpoint");
  ASSERT_GE(saves.size(), 2u);
  EXPECT_GT(saves[0]["write_seconds"].get<double>(), 0.1);
  EXPECT_LT(saves[0]["stall_seconds"].get<double>(), 0.2 * saves[0]["write_seconds"].get<double>()) << saves[0].dump();
}

// The log, events and pictures can stop nothing.
TEST_F(DiskFaults, ALogThatCannotBeWrittenStopsNothing) {
  const Ended e = start("mute", fault("ENOSPC", 1, "", "log.jsonl:tfevents"));
  EXPECT_EQ(e.code, 0) << e.said;
  EXPECT_NE(e.said.find("cannot write the run log"), std::string::npos) << e.said;
  EXPECT_EQ(sound("mute").size(), std::size_t(kLast));
  // A gap in between is stated, and no line is broken.
  const Ended gap = start("gap", fault("ENOSPC", 3, "2", "log.jsonl"));
  EXPECT_EQ(gap.code, 0) << gap.said;
  EXPECT_FALSE(log_lines(tiny->log(root / "gap"), "log_gap").empty()) << TinyProgram::bytes(tiny->log(root / "gap"));
}

TEST_F(DiskFaults, AReadOnlyFolderIsRefusedAtTheStart) {
  ASSERT_EQ(start("closed", {}, passes(1)).code, 0);
  const std::string before = TinyProgram::bytes(tiny->log(root / "closed"));
  const Ended e = start("closed", fault("EROFS", 1, "", "/closed/"));
  EXPECT_EQ(e.code, 3) << e.said;
  EXPECT_NE(e.said.find("mounted read-only"), std::string::npos) << e.said;
  EXPECT_EQ(TinyProgram::bytes(tiny->log(root / "closed")), before);
  expect_ends_whole("closed");
}

// A second run into the folder of the first, which lives; and the place of one that was killed is free at once.
TEST_F(DiskFaults, ASecondRunInTheFolderIsRefusedWithWhoHasIt) {
  Environment slow = {{"LD_PRELOAD", MFL_FAULT_IO}, {"MFL_FAULT_SLOW_US", "100000"}, {"MFL_FAULT_MATCH", tiny->checkpoint_part()}, {"OMP_NUM_THREADS", "1"}};
  Child first(tiny->command(root / "run"), slow, root / "first_said");
  for (int i = 0; i < 3000 && !fs::exists(root / "run" / ".mfl.lock"); ++i) std::this_thread::sleep_for(milliseconds(2));
  const Ended second = start("run");
  EXPECT_EQ(second.code, 2) << second.said << first.said();
  EXPECT_NE(second.said.find(text("process ", first.pid(), " on host")), std::string::npos) << second.said;
  EXPECT_FALSE(first.code()) << "the first run was over already: " << first.said();
  first.kill();
  EXPECT_EQ(first.wait(), 128 + SIGKILL);
  expect_ends_whole("run");
  EXPECT_FALSE(fs::exists(root / "run" / ".mfl.lock"));
}

// The real thing where a file system may be mounted: 3 MB of memory that fill up, and one that is mounted read-only.
TEST_F(DiskFaults, AFullFileSystem) {
  const fs::path small = root / "small";
  fs::create_directories(small);
  // In a mount space of its own, so that nothing is left behind.
  auto inside = [&](const std::string& script) {
    Child child({"unshare", "-m", "bash", "-c", script}, {{"OMP_NUM_THREADS", "1"}}, root / "said");
    const int code = child.wait();
    return Ended{code, child.said()};
  };
  if (const Ended e = inside("mount -t tmpfs -o size=1m tmpfs " + small.string()); e.code != 0) GTEST_SKIP() << "no file system may be mounted here: " << e.said;
  std::string command;
  for (const std::string& c : tiny->command(small / "run")) command += "'" + c + "' ";
  const Ended e = inside("set -e; cd " + small.string() + "; mount -t tmpfs -o size=64m tmpfs .; cd " + small.string() + "; " + command + passes(1)[0] + " " + passes(1)[1] +
                         "; dd if=/dev/zero of=fill bs=64k 2>/dev/null || true; set +e; " + command + "; code=$?; set -e; echo \"code $code\"; rm fill; ls -A run; " + command +
                         "; cp -r run " + (root / "out").string() + "; mount -o remount,ro .; set +e; " + command + "; echo \"read-only $?\"");
  ASSERT_EQ(e.code, 0) << e.said;
  EXPECT_NE(e.said.find("No space left on device"), std::string::npos) << e.said;
  EXPECT_NE(e.said.find("code 3"), std::string::npos) << e.said;
  EXPECT_NE(e.said.find("read-only 3"), std::string::npos) << e.said;
  EXPECT_NE(e.said.find("mounted read-only"), std::string::npos) << e.said;
  EXPECT_EQ(sound("out").back(), kLast) << e.said;
}

}  // namespace
}  // namespace mfl::test
