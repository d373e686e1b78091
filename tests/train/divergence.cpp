// The parts of what a run does about numbers that are not finite and ranks that are slow.
#include "train/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#include "tests/support/temp_folder.h"
#include "train/background_save.h"
#include "train/finite.h"
#include "train/rank_times.h"
#include "train/return_points.h"
#include "train/update_samples.h"

namespace mfl {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

UpdateResult update(std::int64_t pass, UpdateOutcome outcome, double loss = 1, std::uint64_t objective = 0) {
  UpdateResult u{.pass = pass, .loss = loss, .objective = objective};
  u.scalars.outcome = outcome;
  return u;
}

TEST(Divergence, IsARowOfUpdatesThatAreNotFinite) {
  Divergence d(3, 100, 0);
  d.start(0);
  EXPECT_EQ(d.sound_before(), 0);
  std::int64_t pass = 0;
  EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::applied)));
  EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::clipped)));
  EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::non_finite)));
  EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::non_finite)));
  EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::applied)));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(d.record(update(++pass, UpdateOutcome::non_finite)));
  EXPECT_TRUE(d.record(update(++pass, UpdateOutcome::non_finite)));
  EXPECT_EQ(d.sound_before(), 5);   // the weights behind pass 5 have carried nothing
  d.returned(4);
  EXPECT_EQ(d.sound_before(), 5);
  d.refused(3);
  EXPECT_EQ(d.sound_before(), 3);
}

TEST(Divergence, IsARowOfUpdatesThatWereNotApplied) {
  Divergence d(100, 4, 0);
  for (int i = 1; i <= 3; ++i) EXPECT_FALSE(d.record(update(i, i % 2 ? UpdateOutcome::norm_skip : UpdateOutcome::non_finite)));
  EXPECT_TRUE(d.record(update(4, UpdateOutcome::norm_skip)));
}

TEST(Divergence, IsALossThatGrew) {
  Divergence d(10, 100, 10);
  std::int64_t pass = 0;
  auto window = [&](double loss, std::uint64_t objective = 0) {
    std::optional<std::string> why;
    for (std::size_t i = 0; i < Divergence::kWindow; ++i) {
      const double peak = i % 5 == 0 ? 1e6 : loss;   // single peaks do not count
      if (const auto w = d.record(update(++pass, UpdateOutcome::applied, peak, objective))) why = w;
    }
    return why;
  };
  EXPECT_FALSE(window(1.0));
  EXPECT_FALSE(window(0.1));
  EXPECT_FALSE(window(0.4));            // up to here sound: below half of the bound
  EXPECT_FALSE(window(0.9));
  const auto why = window(1.1);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("divergence_factor"), std::string::npos) << *why;
  EXPECT_EQ(d.sound_before(), 3 * std::int64_t(Divergence::kWindow) + 1);
  d.returned(150);
  EXPECT_FALSE(window(1.1));            // begins anew
  EXPECT_FALSE(window(50, 1));          // other loss weights do not compare
}

TEST(Finite, FindsTheFirstElementOfEveryType) {
  for (const DType type : {DType::f32, DType::f64, DType::bf16}) {
    for (const std::int64_t at : {0, 5, 4095, 4096, 9999}) {
      const Tensor t = Tensor::on_heap({10000}, type);
      fill_zero(Stream::create(kCpu, "t"), t);
      EXPECT_EQ(first_non_finite(t), -1);
      auto* bytes = static_cast<std::uint8_t*>(View(t).data);
      const std::size_t size = size_of(type);
      for (const int negative : {0, 1}) {   // infinities: an exponent of ones
        std::uint8_t* e = bytes + std::size_t(at) * size;
        e[size - 1] = std::uint8_t(0x7f | (negative << 7)), e[size - 2] = type == DType::f64 ? 0xf0 : 0x80;
        EXPECT_EQ(first_non_finite(t), at) << name_of(type);
      }
    }
  }
  const Tensor largest = Tensor::on_heap({3}, DType::f32);
  std::fill_n(largest.data<float>(), 3, std::numeric_limits<float>::max());
  EXPECT_EQ(first_non_finite(largest), -1);
  largest.data<float>()[2] = kNan;
  EXPECT_EQ(first_non_finite(largest), 2);
}

TEST(BackgroundSave, RefusesAStateThatIsNotFiniteAndGoesOn) {
  const Stream s = Stream::create(kCpu, "compute");
  const Tensor weights = Tensor::on_heap({8}, DType::f32), moments = Tensor::on_heap({8}, DType::f32);
  fill_zero(s, weights), fill_zero(s, moments);
  std::vector<FailedSave> failed;
  int written = 0, done = 0;
  BackgroundSave save(s, {weights, moments}, {.done = [&](const SavedCheckpoint&) { ++done; }, .failed = [&](const FailedSave& f) { failed.push_back(f); },
                                              .what = [](std::size_t b, std::int64_t i) { return text("element ", i, " of buffer ", b); }});
  auto go = [&](std::int64_t number) {
    save.start("checkpoint", number, [&] { return ++written, std::uint64_t{1}; });
    save.wait();
  };
  go(1);
  moments.data<float>()[5] = std::numeric_limits<float>::infinity();
  go(2);   // does not throw, although go_on is false: it is no failure of the disk
  moments.data<float>()[5] = 0;
  go(3);
  EXPECT_EQ(written, 2);
  EXPECT_EQ(done, 2);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_TRUE(failed[0].not_finite);
  EXPECT_EQ(failed[0].number, 2);
  EXPECT_NE(failed[0].why.find("element 5 of buffer 1"), std::string::npos) << failed[0].why;
}

TEST(ReturnPoints, AreSoundBeforeAPassAndSetAsideBehindOne) {
  const test::TempFolder folder;
  ReturnPoints points;
  for (int pass : {2, 4, 6, 8}) {
    std::ofstream(folder / std::to_string(pass)) << pass;
    points.add(pass, folder / std::to_string(pass), pass != 6);
  }
  std::filesystem::remove(folder / "2");
  ASSERT_EQ(points.sound(7).size(), 2u);
  EXPECT_EQ(points.sound(7)[0], folder / "6");
  EXPECT_EQ(points.sound(7)[1], folder / "4");
  EXPECT_TRUE(points.sound(4).empty());
  EXPECT_EQ(points.set_aside(4), 1);
  EXPECT_TRUE(std::filesystem::exists(folder / "8.unsound"));
  EXPECT_FALSE(std::filesystem::exists(folder / "8"));
  EXPECT_TRUE(std::filesystem::exists(folder / "6"));   // not this run's
}

template <class Body>
void on_ranks(int n, Body body) {
  auto ranks = make_thread_ranks(n);
  std::vector<std::thread> threads;
  for (int r = 0; r < n; ++r) threads.emplace_back([&, r] { run_rank(*ranks[std::size_t(r)], [&] { return body(*ranks[std::size_t(r)]), 0; }); });
  for (auto& t : threads) t.join();
}

TEST(UpdateSamples, NameWhoIsToBlameOrAllOfAnUpdate) {
  on_ranks(3, [](Communicator& comm) {
    const Stream s = Stream::create(kCpu, "t");
    const std::string mine = "sample_" + std::to_string(comm.rank());
    const Tensor losses = Tensor::on_heap({2}, DType::f32);
    auto run = [&](UpdateSamples& samples, float second, const std::vector<std::string>& names) {
      samples.begin();
      for (int micro = 0; micro < 2; ++micro) {
        losses.data<float>()[0] = 1, losses.data<float>()[1] = micro == 1 && comm.rank() == 2 ? second : 1;
        samples.micro_batch(s, names, losses);
      }
      samples.queued();
      return samples.take(comm);
    };
    UpdateSamples together(kCpu, 2, 2, {"l2_loss", "ssim_loss"});
    const Suspects one = run(together, kNan, {mine, "other"});
    ASSERT_EQ(one.list.size(), 1u);
    EXPECT_TRUE(one.certain);
    EXPECT_EQ(one.list[0].rank, 2);
    EXPECT_EQ(one.list[0].micro_batch, 1);
    EXPECT_EQ(one.text(), "rank 2: sample_2, other (ssim_loss)");
    const Suspects all = run(together, 1, {mine, "\xff"});   // foreign bytes
    EXPECT_FALSE(all.certain);
    EXPECT_EQ(all.list.size(), 6u);
    UpdateSamples each(kCpu, 2, 2, {});
    const Suspects exact = run(each, kNan, {mine, "other"});
    EXPECT_EQ(exact.text(), "rank 2: other (loss)");
  });
}

TEST(RankTimes, ASlowRankIsNamedOnce) {
  on_ranks(3, [](Communicator& comm) {
    const Stream s = Stream::create(kCpu, "t");
    RankTimes times(comm, 1, 1.5);
    const Tensor places = Tensor::on_heap({times.places()}, DType::f32);
    int said = 0;
    for (int i = 0; i < 60; ++i) {
      times.begin(s, true, comm.rank() == 1 ? 0.5 : 0.001);   // waits for its data
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      times.end(s);
      times.put(s, places, 0);
      comm.all_reduce(s, places, ReduceOp::avg);
      times.request(s, places);
      if (const auto slow = times.take()) {
        ++said;
        EXPECT_EQ(slow->rank, 1);
        EXPECT_FALSE(slow->host.empty());
        EXPECT_NEAR(slow->data_wait, 0.5, 1e-3);
        EXPECT_GT(slow->seconds, 0.5);
        EXPECT_LT(slow->median, 0.3);
      }
    }
    EXPECT_EQ(said, 1);
    const RankSeconds mean = times.mean();
    ASSERT_EQ(mean.own.size(), 3u);
    EXPECT_NEAR(mean.data_wait[1], 0.5, 1e-3);
    EXPECT_GE(mean.own[0], 0.001);
    EXPECT_TRUE(times.mean().own.empty());
  });
}

}  // namespace
}  // namespace mfl
