#include "train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace mfl {
namespace {

std::atomic<int> requested{0};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");
std::atomic<bool> installed{false};

constexpr int kSignals[] = {SIGTERM, SIGUSR1, SIGINT};
struct sigaction before[3];

// Only what is safe in a handler: an atomic, write, _exit.
void on_signal(int number) {
  const int wanted = static_cast<int>(number == SIGINT ? Stop::interrupt : Stop::requeue);
  const int had = requested.exchange(wanted);
  if (number == SIGINT && had == static_cast<int>(Stop::interrupt)) _exit(kExitInterrupted);
  const char* words = number == SIGINT ? "\nstopping after this step; Ctrl-C again ends at once, without a checkpoint\n"
                                       : "\nasked to stop: a checkpoint follows this step\n";
  std::size_t length = 0;
  while (words[length]) ++length;
  [[maybe_unused]] const auto written = write(STDERR_FILENO, words, length);
}

}  // namespace

StopSignals::StopSignals() {
  MFL_CHECK(!installed.exchange(true), "stop signals: the handlers are installed already");
  requested = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a read of the loader goes on
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &before[i]);
}
StopSignals::~StopSignals() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before[i], nullptr);
  installed = false;
}

Stop StopSignals::mine() const { return static_cast<Stop>(requested.load()); }
Stop StopSignals::agreed(Communicator& comm) const {
  const auto all = comm.gather<int>(requested.load());
  return static_cast<Stop>(*std::max_element(all.begin(), all.end()));
}

}  // namespace mfl
