// kill -9 of any rank, or of mpirun, at any time loses nothing that was saved: runs of mfl_train are killed at random moments, most of them in the
// middle of a save, and after each kill
//
//   the newest checkpoint that has its name loads, with the bits of the undisturbed run's of that pass;
//   it is no older than the last one that the log called saved;
//   a copy of the folder, started again, ends with the bits of the undisturbed run: weights, moments, counters, logged losses;
//   the folder itself is killed on, until its run is through.
//
//   crash_drill --train mfl_train --shim libmfl_fault_io.so [--mpirun mpirun] [--kills 200] [--seed N]
//
// Two kinds of kill: by the preloaded shim at a random call that writes a checkpoint (before or after it), and from outside at a random
// time, while the shim makes these calls slow. That a kill fell into a save is read off the folder: a half-written checkpoint without
// its name is left there.
#include <cstdio>
#include <functional>
#include <iostream>
#include <random>
#include <sstream>

#include "tests/support/child_process.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_program.h"

namespace mfl::test {
namespace {

using std::chrono::milliseconds;

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};
template <class... P>
void require(bool holds, const P&... p) {
  if (!holds) throw Failed(text(p...));
}

struct Options {
  std::string train, shim, mpirun;
  int kills = 200;
  unsigned seed = std::random_device{}();
};

enum class Ranks { one, two_by_folder, two_by_mpi };
const char* name_of(Ranks r) { return r == Ranks::one ? "1 rank" : r == Ranks::two_by_folder ? "2 ranks, folder" : "2 ranks, mpirun"; }

// The processes of one run.
class Job {
 public:
  Job(const Options& o, Ranks ranks, const std::vector<std::string>& command, Environment environment, const fs::path& scratch) {
    environment["OMP_NUM_THREADS"] = "1";
    environment["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none";
    const auto said = [&](int i) { return scratch / text("said.", i); };
    if (ranks == Ranks::two_by_mpi) {
      // The shim goes to the ranks alone.
      std::vector<std::string> c = {o.mpirun, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"};
      const std::string shim = environment.contains("LD_PRELOAD") ? environment["LD_PRELOAD"] : "";
      environment.erase("LD_PRELOAD");
      if (!shim.empty()) c.insert(c.end(), {"env", "LD_PRELOAD=" + shim});
      c.insert(c.end(), command.begin(), command.end());
      mpi_ = true;
      children_.push_back(std::make_unique<Child>(c, environment, said(0)));
      return;
    }
    const int n = ranks == Ranks::one ? 1 : 2;
    if (n > 1) {
      meeting_ = scratch / "meeting";
      fs::remove_all(meeting_);
      environment["MFL_RENDEZVOUS"] = meeting_.string(), environment["MFL_WORLD_SIZE"] = "2";
    }
    for (int r = 0; r < n; ++r) {
      if (n > 1) environment["MFL_RANK"] = std::to_string(r);
      children_.push_back(std::make_unique<Child>(command, environment, said(r)));
    }
  }

  bool running() {
    for (auto& c : children_)
      if (c->code()) return false;
    return true;
  }
  // The ranks that live: of mpirun, its children.
  std::vector<int> ranks() const {
    if (mpi_) return children_of(children_[0]->pid());
    std::vector<int> all;
    for (const auto& c : children_) all.push_back(c->pid());
    return all;
  }
  int launcher() const { return children_[0]->pid(); }
  // Ends as under a launcher: when one rank is gone, the others follow within `grace`. The worst exit code.
  int end(milliseconds grace) {
    const auto first_gone = [&] { while (running()) std::this_thread::sleep_for(milliseconds(1)); };
    first_gone();
    if (children_.size() > 1) {
      const auto until = std::chrono::steady_clock::now() + grace;
      const auto open = [&] { return std::any_of(children_.begin(), children_.end(), [](auto& c) { return !c->code(); }); };
      while (open() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(1));
      for (auto& c : children_)
        if (!c->code()) c->kill();
    }
    int worst = 0;
    for (auto& c : children_) worst = std::max(worst, c->wait());
    return worst;
  }
  std::string said() const {
    std::string all;
    for (const auto& c : children_) all += c->said();
    return all;
  }

 private:
  std::vector<std::unique_ptr<Child>> children_;
  fs::path meeting_;
  bool mpi_ = false;
};

struct Counts {
  int kills = 0, in_save = 0, from_nothing = 0, by_shim = 0;
};

// Runs of one model on so many ranks, and what an undisturbed one leaves.
class Drill {
 public:
  Drill(const Options& o, const TinyProgram& tiny, Ranks ranks, fs::path folder) : o_(o), tiny_(tiny), ranks_(ranks), folder_(std::move(folder)) {
    fs::create_directories(folder_);
    // All checkpoints are kept here, with a trace of the calls that a save makes.
    const fs::path straight = folder_ / "straight", trace = folder_ / "trace";
    const auto begin = std::chrono::steady_clock::now();
    Job job(o_, ranks_, tiny_.command(straight), {{"LD_PRELOAD", o_.shim}, {"MFL_FAULT_MATCH", tiny_.checkpoint_part()}, {"MFL_FAULT_TRACE", trace.string()}}, folder_);
    require(job.end(milliseconds(20000)) == 0, "the undisturbed run failed:\n", job.said());
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const Complete& c : tiny_.checkpoints(straight)) {
      truth_[c.number] = tiny_.state(c.path);
      if (c.number != tiny_.last()) fs::remove_all(c.path);
    }
    require(int(truth_.size()) == tiny_.last(), "the undisturbed run left ", truth_.size(), " checkpoints of ", tiny_.last());
    losses_ = logged_losses(tiny_.log(straight));
    require(int(losses_.size()) == tiny_.last(), "the undisturbed run logged ", losses_.size(), " losses of ", tiny_.last());
    std::ifstream in(trace);
    for (std::string line; std::getline(in, line);) ++calls_;
    require(calls_ > tiny_.last(), "the shim saw ", calls_, " calls");
  }

  // One start that ends by a kill, and what must hold then. False: the run came to its end first.
  bool kill_once(std::mt19937& random) {
    const fs::path run = folder_ / "killed";
    const auto uniform = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const std::int64_t before = newest(run);
    Environment environment = {{"LD_PRELOAD", o_.shim}, {"MFL_FAULT_MATCH", tiny_.checkpoint_part()}};
    const bool by_shim = uniform(0, 99) < 45;
    const int left = std::max<int>(1, int(double(calls_) * double(tiny_.last() - before) / tiny_.last()));
    if (by_shim) {
      environment["MFL_FAULT_KIND"] = uniform(0, 1) ? "kill" : "kill_after";
      environment["MFL_FAULT_AT"] = std::to_string(uniform(1, left));
    } else {
      environment["MFL_FAULT_SLOW_US"] = std::to_string(std::max(1, 40000 * tiny_.last() / calls_));   // 40 ms a save
    }
    Job job(o_, ranks_, tiny_.command(run, limit()), environment, folder_);
    bool killed = by_shim;
    std::vector<int> orphans;
    if (!by_shim) {
      // A fifth anywhere in the run's life, start included; the rest once it saves.
      if (uniform(0, 99) >= 20)
        while (job.running() && !saving(run)) std::this_thread::sleep_for(std::chrono::microseconds(300));
      std::this_thread::sleep_for(milliseconds(uniform(0, int(1000 * seconds_ / 2) + 40 * (tiny_.last() - int(before)))));
      const std::vector<int> ranks = job.ranks();
      std::vector<int> victims = ranks;
      if (ranks_ == Ranks::two_by_mpi) victims.push_back(job.launcher());
      killed = job.running() && !ranks.empty();
      if (killed) ::kill(victims[std::size_t(uniform(0, int(victims.size()) - 1))], SIGKILL);
      orphans = ranks;
    }
    const int code = job.end(milliseconds(uniform(0, 30)));
    // Where the launcher itself was killed, its ranks have to notice.
    const auto begin = std::chrono::steady_clock::now();
    while (std::any_of(orphans.begin(), orphans.end(), [](int pid) { return fs::exists(text("/proc/", pid)); })) {
      require(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30), "a rank lives 30 s after its launcher:\n", job.said());
      std::this_thread::sleep_for(milliseconds(2));
    }
    if (code == 0) {
      check_whole(run, job.said());
      fs::remove_all(run);
      return false;
    }
    require(killed || code >= 128, "a run that nobody killed ended with ", code, ":\n", job.said());
    fs::create_directories(run);   // killed before it was made

    ++counts.kills;
    counts.by_shim += by_shim;
    counts.in_save += tiny_.half_written(run) > 0;
    const std::int64_t now = newest(run);
    counts.from_nothing += now == 0;
    require(now >= before, "the newest checkpoint was ", before, " before the kill and is ", now);
    std::int64_t said = 0;
    if (std::ifstream in(tiny_.log(run)); in)
      for (std::string line; std::getline(in, line);)
        if (const auto j = nlohmann::json::parse(line, nullptr, false); j.is_object() && j["event"] == "checkpoint" && j["path"].get<std::string>().find(tiny_.checkpoint_part()) != std::string::npos)
          said = std::max(said, j["pass"].get<std::int64_t>());
    require(now >= said, "the log calls checkpoint ", said, " saved, the newest is ", now);
    for (const Complete& c : tiny_.checkpoints(run))
      require(tiny_.state(c.path) == truth_.at(c.number), c.path.string(), " differs from the undisturbed run's");

    const fs::path finished = folder_ / "finished";
    fs::remove_all(finished);
    fs::copy(run, finished, fs::copy_options::recursive);
    Job end(o_, ranks_, tiny_.command(finished, limit()), {}, folder_);
    const int last = end.end(milliseconds(20000));
    require(last == 0, "the run after the kill ended with ", last, ":\n", end.said());
    check_whole(finished, end.said());
    if (now >= tiny_.last() - 1) fs::remove_all(run);   // nothing left to be killed in
    return true;
  }

  std::string line() const {
    char s[200];
    std::snprintf(s, sizeof s, "%-12s %-16s %5d %12d %18d %14d", tiny_.name(), name_of(ranks_), counts.kills, counts.in_save, counts.by_shim, counts.from_nothing);
    return s;
  }
  Counts counts;

 private:
  std::vector<std::string> limit() const {
    return {"--set", std::string(tiny_.checkpoint_part() == std::string("ckpt_") ? "training.checkpointing.checkpoints_total_limit" : "checkpoints_total_limit") + "=3"};
  }
  std::int64_t newest(const fs::path& run) const {
    const auto all = tiny_.checkpoints(run);
    return all.empty() ? 0 : all.back().number;
  }
  bool saving(const fs::path& run) const { return fs::exists(run) && tiny_.half_written(run) > 0; }
  void check_whole(const fs::path& run, const std::string& said) const {
    const auto all = tiny_.checkpoints(run);
    require(!all.empty() && all.back().number == tiny_.last(), "the run ended without its last checkpoint:\n", said);
    require(all.size() <= 3, all.size(), " checkpoints are left of 3");
    for (const Complete& c : all) require(tiny_.state(c.path) == truth_.at(c.number), c.path.string(), " differs from the undisturbed run's:\n", said);
    require(logged_losses(tiny_.log(run)) == losses_, "the logged losses differ from the undisturbed run's:\n", said);
    for (const auto& entry : fs::directory_iterator(run)) {
      const std::string file = entry.path().filename().string();
      require(!file.ends_with(".partial") && !file.ends_with(".lock"), entry.path().string(), " is left over:\n", said);
    }
    require(tiny_.checkpoint_part() == std::string("ckpt_") || fs::exists(run / "pipeckpts" / "model_index.json"), "no pipeline:\n", said);
  }

  const Options& o_;
  const TinyProgram& tiny_;
  Ranks ranks_;
  fs::path folder_;
  double seconds_ = 0;
  int calls_ = 0;
  std::map<std::int64_t, std::map<std::string, std::string>> truth_;
  std::map<std::int64_t, std::string> losses_;
};

int run(const Options& o) {
  const auto begin = std::chrono::steady_clock::now();
  std::cout << "seed " << o.seed << std::endl;
  std::mt19937 random(o.seed);
  const TempFolder root;
  const TinyProgram gslrm(TinyProgram::Model::gslrm, o.train, root / "gslrm", 6), views(TinyProgram::Model::mvdiffusion, o.train, root / "views", 4);
  struct Share {
    const TinyProgram* tiny;
    Ranks ranks;
    int percent;
  };
  std::vector<Share> shares = {{&gslrm, Ranks::one, 50}, {&gslrm, Ranks::two_by_folder, 20}, {&gslrm, Ranks::two_by_mpi, o.mpirun.empty() ? 0 : 10}, {&views, Ranks::one, 20}};
  Counts all;
  std::vector<std::string> table;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const int wanted = i + 1 == shares.size() ? o.kills - all.kills : o.kills * shares[i].percent / 100;
    if (wanted <= 0) continue;
    Drill drill(o, *shares[i].tiny, shares[i].ranks, root / text("drill_", i));
    try {
      for (int starts = 0; drill.counts.kills < wanted; ++starts) {
        require(starts < 10 * wanted + 50, "runs come to their end unkilled");
        drill.kill_once(random);
      }
    } catch (const std::exception& e) {
      std::cerr << "FAILED (seed " << o.seed << ", " << shares[i].tiny->name() << ", " << name_of(shares[i].ranks) << ", kill " << drill.counts.kills << "): " << e.what() << '\n';
      return 1;
    }
    table.push_back(drill.line());
    std::cout << table.back() << std::endl;
    all.kills += drill.counts.kills, all.in_save += drill.counts.in_save, all.from_nothing += drill.counts.from_nothing, all.by_shim += drill.counts.by_shim;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%-12s %-16s %5s %12s %18s %14s\n", "", "", "kills", "in a save", "at a chosen call", "no checkpoint");
  for (const std::string& line : table) std::puts(line.c_str());
  std::printf("%d kills, %d of them inside a save (%.0f %%), %.0f s, seed %u: nothing that was saved is lost, every run ended on the same bits\n", all.kills, all.in_save,
              100.0 * all.in_save / all.kills, seconds, o.seed);
  if (2 * all.in_save >= all.kills || all.kills < 50) return 0;   // few kills prove no share
  std::cerr << "FAILED: fewer than half of the kills fell into a save\n";
  return 1;
}

}  // namespace
}  // namespace mfl::test

int main(int argc, char** argv) {
  mfl::test::Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--train") o.train = value;
    else if (key == "--shim") o.shim = value;
    else if (key == "--mpirun") o.mpirun = value;
    else if (key == "--kills") o.kills = std::stoi(value);
    else if (key == "--seed") o.seed = unsigned(std::stoul(value));
    else return std::cerr << "unknown option " << key << '\n', 2;
  }
  if (o.train.empty() || o.shim.empty()) return std::cerr << "--train and --shim are needed\n", 2;
  try {
    return mfl::test::run(o);
  } catch (const std::exception& e) {
    std::cerr << "FAILED (seed " << o.seed << "): " << e.what() << '\n';
    return 1;
  }
}
