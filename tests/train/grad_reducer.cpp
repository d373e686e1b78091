#include "train/grad_reducer.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "tests/support/reduce_checks.h"

namespace mfl {
namespace {

// A communicator of two ranks that records what it is asked for.
class Recorder final : public Communicator {
 public:
  Recorder() : Communicator(0, 2, kCpu) {}
  const char* name() const override { return "recorder"; }
  void abort(const std::string&, int) noexcept override {}
  std::vector<std::pair<const void*, std::int64_t>> sent;
  bool fails = false;
  std::function<void()> during = [] {};

 private:
  void do_all_reduce(const Stream&, void* data, std::int64_t n, DType, ReduceOp op) override {
    during();
    if (fails) throw_error<CommError>("the cable is out");
    EXPECT_EQ(op, ReduceOp::avg);
    sent.emplace_back(data, n);
  }
  void do_reduce_scatter(const Stream&, const void*, void*, std::int64_t, DType, ReduceOp) override {}
  void do_all_gather(const Stream&, const void*, void*, std::size_t) override {}
  void do_broadcast(const Stream&, void*, std::size_t, int) override {}
  void do_exchange(const void*, void*, std::size_t) override {}
};

// Six parameters of 64 elements (256 bytes); buckets of two.
struct Fixture {
  Stream stream = Stream::create(kCpu, "test");
  Arena arena{kCpu, 1 << 20, "test"};
  ParamStore params{arena, Precision::of(DType::f32)};
  Recorder comm;
  Ctx cx{stream, arena, Precision::of(DType::f32)};
  explicit Fixture(std::vector<int> frozen = {}) {
    for (int i = 0; i < 6; ++i) params.add(text("p", i), {64});
    params.seal(stream);
    for (int i : frozen) params.all()[std::size_t(i)].trainable = false;
  }
  void ready(GradReducer& r, std::size_t from, std::size_t to) { r.ready(cx, params.range(from, to)); }
  // First parameter and number of elements of every collective so far.
  std::vector<std::pair<int, std::int64_t>> sent() const {
    std::vector<std::pair<int, std::int64_t>> out;
    for (auto [data, n] : comm.sent)
      out.emplace_back(int((static_cast<const float*>(data) - params.grads().data<float>()) / 64), n);
    return out;
  }
};
using Sent = std::vector<std::pair<int, std::int64_t>>;

TEST(GradReducer, SendsABucketWhenItsLastParameterIsReady) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  EXPECT_EQ(r.buckets(), 3u);
  r.begin(true);
  f.ready(r, 5, 6);
  EXPECT_EQ(f.sent(), Sent{});
  f.ready(r, 4, 5);
  EXPECT_EQ(f.sent(), (Sent{{4, 128}}));
  f.ready(r, 0, 4);
  EXPECT_EQ(f.sent(), (Sent{{4, 128}, {2, 128}, {0, 128}}));
  r.join(f.cx);
  EXPECT_EQ(f.comm.sent.size(), 3u);
}
TEST(GradReducer, TheOrderOfCollectivesDoesNotDependOnTheOrderOfReadiness) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(true);
  f.ready(r, 0, 2);
  f.ready(r, 2, 4);
  EXPECT_EQ(f.sent(), Sent{});
  f.ready(r, 4, 6);
  EXPECT_EQ(f.sent(), (Sent{{4, 128}, {2, 128}, {0, 128}}));
}
TEST(GradReducer, FrozenParametersDoNotBlockAndAreNotWaitedFor) {
  Fixture f({4, 0, 1});
  GradReducer r(f.params, f.comm, 512);
  EXPECT_EQ(r.buckets(), 2u);
  r.begin(true);
  f.ready(r, 5, 6);
  EXPECT_EQ(f.sent(), (Sent{{5, 64}})) << "5, frozen 4 and 3 would exceed 512 bytes";
  f.ready(r, 2, 4);
  EXPECT_EQ(f.sent(), (Sent{{5, 64}, {2, 128}}));
}
TEST(GradReducer, JoinSendsWhatWasNeverReady) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(true);
  f.ready(r, 4, 6);
  r.join(f.cx);
  EXPECT_EQ(f.sent(), (Sent{{4, 128}, {2, 128}, {0, 128}}));
}
TEST(GradReducer, EarlyMicroBatchesSendNothing) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(false);
  f.ready(r, 0, 6);
  r.join(f.cx);
  EXPECT_TRUE(f.comm.sent.empty());
}
TEST(GradReducer, RefusesWhatWouldSendAnUnfinishedGradient) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(true);
  EXPECT_THROW(r.ready(f.cx, {0, 32}), ShapeError);
  f.ready(r, 5, 6);
  EXPECT_THROW(f.ready(r, 4, 6), ShapeError);
}
TEST(GradReducer, AFailureNamesTheBucket) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(true);
  f.ready(r, 4, 6);
  f.comm.fails = true;
  try {
    f.ready(r, 2, 4);
    FAIL();
  } catch (const CommError& e) {
    EXPECT_STREQ(e.what(), "the cable is out; it was gradient bucket 2 of 3 (p3 to p2, 0.0 MB)");
  }
}
TEST(GradReducer, NamesTheBucketInFlight) {
  Fixture f;
  GradReducer r(f.params, f.comm, 512);
  r.begin(true);
  EXPECT_EQ(r.in_flight().what, "");
  std::string during;
  f.comm.during = [&] { during = r.in_flight().what; };
  f.ready(r, 4, 6);
  EXPECT_EQ(during, "gradient bucket 1 of 3 (p5 to p4, 0.0 MB)");
  EXPECT_EQ(r.in_flight().what, "");
}

void on_threads(int n, const std::function<void(Communicator&)>& f) {
  auto ranks = make_thread_ranks(n);
  std::mutex mutex;
  std::string errors;
  std::vector<std::thread> threads;
  for (auto& rank : ranks)
    threads.emplace_back([&] {
      try {
        f(*rank);
      } catch (const std::exception& e) {
        rank->abort(e.what());
        std::lock_guard lock(mutex);
        errors += text(e.what(), '\n');
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(errors, "");
}

TEST(DataParallel, TheReducerAveragesOverOneTwoThreeAndFourRanks) {
  for (int n : {1, 2, 3, 4}) on_threads(n, test::check_grad_reducer);
}
TEST(DataParallel, AnAbortInMidBucketReachesTheOthersAndNamesTheBucket) {
  on_threads(3, [](Communicator& comm) {
    Fixture f;
    GradReducer r(f.params, comm, 512);
    r.begin(true);
    f.ready(r, 4, 6);
    if (comm.rank() == 1) {
      comm.abort("rank 1 failed: out of memory");
      return;
    }
    try {
      f.ready(r, 0, 4);
      throw_error<Error>("rank ", comm.rank(), " went on");
    } catch (const CommError& e) {
      EXPECT_EQ(std::string(e.what()), text("rank ", comm.rank(),
                                            ": all_reduce was abandoned: rank 1 failed: out of memory; it "
                                            "was gradient bucket 2 of 3 (p3 to p2, 0.0 MB)"));
    }
  });
}

}  // namespace
}  // namespace mfl
