#include "train/watchdog.h"

#include <algorithm>
#include <cstdlib>
#include <iomanip>

#include "runtime/log.h"

namespace mfl {
namespace {

// A loop that enters phases as it should is not asked what is in flight.
constexpr double kAsk = 2;  // seconds in one phase

}  // namespace

Watchdog::Watchdog(Communicator& comm, Limits limits, std::function<InFlight()> where, RollCall* ranks)
    : comm_(comm), limits_(limits), where_(std::move(where)), ranks_(ranks) {
  if (ranks_) {
    if (limits_.silence > 0) limits_.silence = std::max(limits_.silence, 4 * ranks_->interval());
    ranks_->set_place([this] { return place(); });
  }
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  if (ranks_) ranks_->set_place({});
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::phase(const char* name) {
  std::lock_guard lock(mutex_);
  if (!fired_.empty()) throw CommError(fired_);
  phase_ = name;
  since_ = Clock::now();
}
void Watchdog::check() const {
  std::lock_guard lock(mutex_);
  if (!fired_.empty()) throw CommError(fired_);
}

RollCall::Place Watchdog::place() const {
  RollCall::Place p;
  {
    std::lock_guard lock(mutex_);
    p.phase = phase_;
    p.seconds = std::chrono::duration<double>(Clock::now() - since_).count();
  }
  if (!where_ || p.seconds < std::min(kAsk, limits_.stall > 0 ? limits_.stall / 4 : kAsk)) return p;
  try {
    p.flight = where_();
  } catch (const std::exception& e) {  // of the device
    p.flight.what = e.what();
  }
  return p;
}

std::string Watchdog::verdict() {
  const RollCall::Place here = place();
  const std::string phase = text(" in phase \"", here.phase, '"');
  try {
    comm_.check();
  } catch (const std::exception& e) {
    return text(e.what(), " (", phase.substr(1), ')');
  }
  const std::string me = text("rank ", comm_.rank(), " of ", comm_.size());
  const double quiet = limits_.silence > 0 ? limits_.silence / 2 : 5;
  if (ranks_ && limits_.silence > 0) {
    const std::vector<int> silent = ranks_->lost(quiet);
    auto sentence = [&](double seconds) {
      return text(me, " has not heard ", silent.size(), silent.size() == 1 ? " rank" : " ranks", " for ", seconds,
                  " s: stopped, killed, or its host or the network gone; it is", phase, "; ", who_is_missing(ranks_->ranks(), quiet));
    };
    if (!ranks_->lost(limits_.silence).empty()) return sentence(limits_.silence) + " (mfl.faults.silence_seconds)";
    // A launcher that finds the host gone ends the run without a word about ranks, so they are named before it can.
    if (!silent.empty() && silent != silent_) log_warning(sentence(quiet), "; at ", limits_.silence, " s the run ends");
    if (silent.empty() && !silent_.empty()) log_warning(me, " hears all ranks again");
    silent_ = silent;
  }
  if (limits_.stall <= 0 || here.seconds < limits_.stall) return {};
  std::string why = text(me, " has made no progress for ", std::setprecision(3), here.seconds, " s", phase);
  if (ranks_ && comm_.size() > 1) return why + "; " + who_is_missing(ranks_->ranks(), quiet);
  if (!here.flight.what.empty()) why += "; in flight: " + here.flight.what;
  if (comm_.size() > 1) why += "; another rank may have failed or fallen behind, look at its log";
  return why;
}

void Watchdog::watch() {
  const double shortest = std::min(limits_.stall > 0 ? limits_.stall : 10, ranks_ && limits_.silence > 0 ? limits_.silence : 10);
  const std::chrono::duration<double> pause(std::clamp(shortest / 10, 0.005, 1.0));
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, pause, [&] { return stop_; })) {
    lock.unlock();
    std::string why = verdict();
    if (!why.empty()) return fire(std::move(why));
    lock.lock();
  }
}

void Watchdog::fire(std::string why) {
  {
    std::lock_guard lock(mutex_);
    fired_ = why;
  }
  log_error(why);
  // An abort can hang where the network is gone, so it is not this thread that waits for it.
  std::thread abort([this, &why] {
    comm_.abort(why, kExitComm);
    std::lock_guard lock(mutex_);
    aborted_ = true;
    wake_.notify_all();
  });
  {
    std::unique_lock lock(mutex_);
    if (!wake_.wait_for(lock, std::chrono::duration<double>(limits_.grace), [&] { return stop_ && aborted_; })) {
      log_error("the training loop did not come back within ", limits_.grace, " s of that; ending the process");
      std::_Exit(kExitComm);
    }
  }
  abort.join();
}

}  // namespace mfl
