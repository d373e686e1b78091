#include "runtime/comm/roll_call.h"

#include <gtest/gtest.h>

#include <atomic>

namespace mfl {
namespace {

using namespace std::chrono_literals;
using Rank = RollCall::Rank;

Rank rank(int r, std::uint64_t begun, bool inside, const std::string& flight = "", bool here = true) {
  return {.rank = r, .host = r < 2 ? "a" : "b", .heard = true, .left = false, .silent = 0.5, .place = {"update", 7, {flight, here}},
          .begun = begun, .inside = inside, .call = "all_reduce of 96 bytes"};
}

TEST(WhoIsMissing, ARankThatHasNotBegunTheCallInWhichOthersAre) {
  EXPECT_EQ(who_is_missing({rank(0, 9, true), rank(1, 9, true, "gradient bucket 3 of 4"), rank(2, 8, false)}, 5),
            "gradient bucket 3 of 4 waits for rank 2 on b (in phase \"update\" for 7.0 s); ranks 0, 1 arrived");
  EXPECT_EQ(who_is_missing({rank(0, 9, true), rank(1, 8, false)}, 5),
            "all_reduce of 96 bytes waits for rank 1 on a (in phase \"update\" for 7.0 s); rank 0 arrived");
}
TEST(WhoIsMissing, ARankThatIsThroughIsNotAheadOfOneThatIsStillInside) {
  // The bytes of rank 3 are missing: rank 1 had what it needed of it, rank 0 not.
  std::vector<Rank> all{rank(0, 9, true, "gradient bucket 3 of 4"), rank(1, 10, true, "gradient bucket 4 of 4"), rank(2, 9, true), rank(3, 9, true)};
  all[3].silent = 12;
  EXPECT_EQ(who_is_missing(all, 5), "gradient bucket 3 of 4 waits for rank 3 on b (not heard for 12.0 s, last in phase \"update\"); "
                                    "ranks 0, 1, 2 arrived");
  all[3].begun = 5;
  EXPECT_NE(who_is_missing(all, 5).find("gradient bucket 3 of 4 waits for rank 3"), std::string::npos) << "its last word may be an old one";
}
TEST(WhoIsMissing, ADeviceThatHasNotComeToWhatItsHostHasEnqueued) {
  EXPECT_EQ(who_is_missing({rank(0, 12, false, "gradient bucket 3 of 4"), rank(1, 12, false, "gradient bucket 3 of 4", false)}, 5),
            "gradient bucket 3 of 4 waits for rank 1 on a (in phase \"update\" for 7.0 s, its device has not come to it); rank 0 can be heard");
}
TEST(WhoIsMissing, NobodyOrEverybody) {
  EXPECT_EQ(who_is_missing({rank(0, 9, true), rank(1, 9, true)}, 5),
            "all_reduce of 96 bytes: all ranks answer, and none is missing in it");
  std::vector<Rank> all{rank(0, 9, true), rank(1, 9, true), rank(2, 9, true)};
  all[1].heard = false;
  all[2].left = true;
  EXPECT_EQ(who_is_missing(all, 5), "all_reduce of 96 bytes waits for rank 1 on a (has never been heard), rank 2 on b (has left the run); "
                                    "rank 0 arrived");
}

TEST(RollCall, RanksHearWhereTheOthersAreAndWhoIsSilent) {
  auto comms = make_thread_ranks(3);
  std::vector<std::unique_ptr<RollCall>> calls(3);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 3; ++r) threads.emplace_back([&, r] { calls[r] = std::make_unique<RollCall>(*comms[r], 0.02); });
  for (auto& t : threads) t.join();
  auto soon = [](const std::function<bool()>& f) {
    for (int i = 0; i < 500 && !f(); ++i) std::this_thread::sleep_for(10ms);
    return f();
  };
  calls[1]->set_place([] { return RollCall::Place{"data", 3, {"gradient bucket 1 of 2", false}}; });
  EXPECT_TRUE(soon([&] { return calls[0]->ranks()[1].place.phase == "data"; }));
  const Rank one = calls[0]->ranks()[1];
  EXPECT_EQ(one.place.flight.what, "gradient bucket 1 of 2");
  EXPECT_FALSE(one.place.flight.here);
  EXPECT_EQ(one.begun, 1u) << "the exchange of addresses";
  EXPECT_TRUE(calls[0]->lost(5).empty());

  // What a stopped process looks like: the thread says nothing.
  std::atomic<bool> stopped{true};
  calls[2]->set_place([&] {
    while (stopped) std::this_thread::sleep_for(1ms);
    return RollCall::Place{};
  });
  EXPECT_TRUE(soon([&] { return calls[0]->lost(0.3) == std::vector<int>{2} && calls[1]->lost(0.3) == std::vector<int>{2}; }));
  stopped = false;
  EXPECT_TRUE(soon([&] { return calls[0]->lost(0.3).empty(); }));
  calls[2].reset();
  std::this_thread::sleep_for(500ms);
  EXPECT_TRUE(calls[0]->lost(0.3).empty()) << "it has said goodbye";
  EXPECT_TRUE(calls[0]->ranks()[2].left);
}

}  // namespace
}  // namespace mfl
