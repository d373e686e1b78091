#include "train/signals.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

namespace mfl {
namespace {

TEST(StopSignals, TermAndUsr1AskForARequeue) {
  for (int number : {SIGTERM, SIGUSR1}) {
    StopSignals signals;
    EXPECT_EQ(signals.mine(), Stop::none);
    raise(number);
    EXPECT_EQ(signals.mine(), Stop::requeue);
  }
}
TEST(StopSignals, AllRanksAgreeWhenOneHasReceivedASignal) {
  // One process has one set of signals; a rank that received none is played by a fresh value of the same gather.
  StopSignals signals;
  auto ranks = make_thread_ranks(2);
  raise(SIGUSR1);
  Stop seen[2];
  std::thread other([&] {
    const auto all = ranks[1]->gather<int>(static_cast<int>(Stop::none));
    seen[1] = static_cast<Stop>(std::max(all[0], all[1]));
  });
  seen[0] = signals.agreed(*ranks[0]);
  other.join();
  EXPECT_EQ(seen[0], Stop::requeue);
  EXPECT_EQ(seen[1], Stop::requeue);
}
TEST(StopSignals, TheHandlersGoWithTheObject) {
  struct sigaction now {};
  { StopSignals signals; }
  sigaction(SIGTERM, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}
TEST(StopSignalsDeathTest, ASecondInterruptEndsAtOnce) {
  EXPECT_EXIT(
      {
        StopSignals signals;
        raise(SIGINT);
        if (signals.mine() != Stop::interrupt) _exit(1);
        raise(SIGINT);
      },
      ::testing::ExitedWithCode(kExitInterrupted), "Ctrl-C again");
}

}  // namespace
}  // namespace mfl
