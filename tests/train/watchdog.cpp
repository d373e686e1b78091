#include "train/watchdog.h"

#include <gtest/gtest.h>

#include "runtime/log.h"

namespace mfl {
namespace {

using namespace std::chrono_literals;

TEST(Watchdog, TurnsAStalledCollectiveIntoAnErrorThatNamesPhaseAndBucket) {
  auto ranks = make_thread_ranks(2);
  std::string error;
  std::thread waiting([&] {
    Watchdog dog(*ranks[0], {.stall = 0.1}, [] { return InFlight{"gradient bucket 3 of 12"}; });
    dog.phase("backward");
    try {
      ranks[0]->barrier();  // rank 1 never comes
    } catch (const CommError& e) {
      error = e.what();
    }
    EXPECT_THROW(dog.phase("optimizer"), CommError);
  });
  waiting.join();
  EXPECT_NE(error.find("rank 0 of 2 has made no progress for"), std::string::npos) << error;
  EXPECT_NE(error.find("in phase \"backward\"; in flight: gradient bucket 3 of 12"), std::string::npos) << error;
  EXPECT_THROW(ranks[1]->check(), CommError) << "the other rank learns of it";
}
TEST(Watchdog, StaysQuietWhileThereIsProgress) {
  auto c = make_single(kCpu);
  Watchdog dog(*c, {.stall = 0.4});
  for (int i = 0; i < 12; ++i) {
    std::this_thread::sleep_for(50ms);
    dog.phase("forward");
  }
  dog.check();
}
TEST(Watchdog, WithoutALimitItStillWatchesTheCommunicator) {
  auto ranks = make_thread_ranks(2);
  Watchdog dog(*ranks[0], {.stall = 0});
  ranks[1]->abort("rank 1 failed: no disk left");
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(50ms);
    try {
      dog.check();
    } catch (const CommError& e) {
      EXPECT_NE(std::string(e.what()).find("no disk left"), std::string::npos);
      return;
    }
  }
  FAIL() << "five seconds and no word";
}
TEST(WatchdogDeathTest, EndsAProcessThatDoesNotComeBack) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        auto c = make_single(kCpu);
        Watchdog dog(*c, {.stall = 0.05, .grace = 0.05});
        std::this_thread::sleep_for(30s);
      },
      ::testing::ExitedWithCode(kExitComm), "did not come back");
}

}  // namespace
}  // namespace mfl
