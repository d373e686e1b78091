#include "train/watchdog.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/log.h"

namespace mfl {

Watchdog::Watchdog(Communicator& comm, double limit_seconds, std::function<std::string()> where, double grace_seconds)
    : comm_(comm), limit_(limit_seconds), grace_(grace_seconds), where_(std::move(where)), thread_([this] {
        watch();
      }) {}

Watchdog::~Watchdog() {
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

void Watchdog::watch() {
  const bool limited = limit_.count() > 0;
  const std::chrono::duration<double> pause(limited ? std::clamp(limit_.count() / 10, 0.005, 1.0) : 1.0);
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, pause, [&] { return stop_; })) {
    try {
      lock.unlock();
      comm_.check();
      lock.lock();
    } catch (const std::exception& e) {
      lock.lock();
      return fire(lock, text(e.what(), " (in phase \"", phase_, "\")"));
    }
    const std::chrono::duration<double> silent = Clock::now() - since_;
    if (!limited || silent < limit_) continue;
    std::string why = text("rank ", comm_.rank(), " of ", comm_.size(), " has made no progress for ", silent.count(),
                           " s in phase \"", phase_, "\"");
    lock.unlock();
    const std::string where = where_ ? where_() : std::string();
    lock.lock();
    if (!where.empty()) why += text("; in flight: ", where);
    if (comm_.size() > 1) why += "; another rank may have failed or fallen behind, look at its log";
    return fire(lock, std::move(why));
  }
}

void Watchdog::fire(std::unique_lock<std::mutex>& lock, std::string why) {
  fired_ = why;
  lock.unlock();
  log_error(why);
  comm_.abort(why, kExitComm);
  lock.lock();
  if (wake_.wait_for(lock, grace_, [&] { return stop_; })) return;
  log_error("the training loop did not come back within ", grace_.count(), " s of that; ending the process");
  std::_Exit(kExitComm);
}

}  // namespace mfl
