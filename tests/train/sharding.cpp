// Optimizer state divided among ranks has the bits of undivided state: parameters, moments, average, norm and decision.
#include "train/sharding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <thread>

#include "models/weights/coverage.h"
#include "runtime/rng.h"
#include "train/ema_weights.h"
#include "train/optimizer.h"

namespace mfl {
namespace {

// Boundaries of shares fall inside tensors: 64 + 1280 + 64 + 100096 + 192 elements with the gaps, a frozen one among them.
struct Small {
  Stream s;
  Arena arena, scratch;
  ParamStore store;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<EmaWeights> ema;

  explicit Small(ShardRanks ranks, Device d = kCpu, DType compute = DType::bf16, bool on_host = false)
      : s(Stream::create(d, "test")), arena(d, std::size_t{1} << 26, "test"), scratch(d, std::size_t{1} << 26, "scratch"),
        store(arena, Precision::of(compute)) {
    store.add("in.bias", {7}), store.add("in.weight", {5, 5, 51}, true), store.add("norm", {64});
    store.add("middle.weight", {100, 1000}, true), store.add("out.class_embedding", {3, 50}, true);
    store.seal(s);
    store.find("norm")->trainable = false;
    auto sharding = std::make_shared<Sharding>(arena, store, ranks);
    Rng rng(3, Draw::test);
    set(store.values(), rng);
    weights::refresh_compute(s, store);
    optimizer = std::make_unique<Optimizer>(s, arena, store, OptimizerConfig{.groups = ParamGroups::embeddings_apart(0.1, 3), .max_norm = 20,
                                            .moments_on_host = on_host, .allowed_factor = 3}, sharding);
    ema = std::make_unique<EmaWeights>(s, arena, store, 0.9999, on_host, sharding);
  }
  void set(const Tensor& t, Rng& rng, double scale = 1) {
    std::vector<float> x(static_cast<std::size_t>(t.numel()), 0.0f);
    for (const Param& p : store.all())
      for (std::int64_t i = 0; i < p.numel(); ++i) x[std::size_t(p.first + i)] = float(scale * rng.normal());
    copy(s, make_view(static_cast<const void*>(x.data()), t.shape(), DType::f32), t);
    s.synchronize();
  }
  // Clipped, applied, left out, applied.
  std::vector<StepScalars> train() {
    std::vector<StepScalars> all;
    int k = 0;
    for (const double scale : {0.1, 0.001, 1.0, 0.05}) {
      Rng rng(std::uint64_t(10 + k++), Draw::test);
      set(store.grads(), rng, scale);
      optimizer->step(s, 1e-2, 1, {});
      ema->update(s);
      optimizer->request(s);
      all.push_back(optimizer->take());
    }
    return all;
  }
  std::vector<std::byte> bytes(const Tensor& t) {
    std::vector<std::byte> x(t.bytes());
    copy(s, t, make_view(static_cast<void*>(x.data()), t.shape(), t.dtype()));
    s.synchronize();
    return x;
  }
  std::vector<std::byte> whole(const Tensor& held) {
    std::vector<std::byte> x(static_cast<std::size_t>(store.flat_numel()) * size_of(held.dtype()));
    optimizer->sharding().collect(s, held, make_view(static_cast<void*>(x.data()), {store.flat_numel()}, held.dtype()));
    s.synchronize();
    return x;
  }
  std::vector<std::vector<std::byte>> state() {
    return {bytes(store.values()), bytes(store.computes()), whole(optimizer->exp_avg()), whole(optimizer->exp_avg_sq()), whole(ema->shadow())};
  }
};

void on_ranks(int n, const std::function<void(Communicator&)>& body) {
  auto ranks = make_thread_ranks(n);
  std::vector<std::thread> threads;
  std::vector<int> codes(std::size_t(n), -1);
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] { codes[std::size_t(r)] = run_rank(*ranks[std::size_t(r)], [&] { return body(*ranks[std::size_t(r)]), 0; }); });
  for (auto& t : threads) t.join();
  for (const int code : codes) EXPECT_EQ(code, 0);
}

void expect_same(const std::vector<StepScalars>& a, const std::vector<StepScalars>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(std::memcmp(&a[i].norm, &b[i].norm, sizeof(double)), 0) << i;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].grad_scale, b[i].grad_scale) << i;
    EXPECT_EQ(a[i].outcome, b[i].outcome) << i;
    EXPECT_EQ(a[i].updates, b[i].updates) << i;
  }
}

TEST(Sharding, HasTheBitsOfUndividedState) {
  for (const DType compute : {DType::f32, DType::bf16})
    for (const bool on_host : {false, true}) {
      Small alone({}, kCpu, compute, on_host);
      const auto steps = alone.train();
      ASSERT_EQ(steps[0].outcome, UpdateOutcome::clipped);
      ASSERT_EQ(steps[1].outcome, UpdateOutcome::applied);
      ASSERT_EQ(steps[2].outcome, UpdateOutcome::norm_skip);
      const auto state = alone.state();
      for (int n = on_host ? 4 : 1; n <= 4; ++n)
        on_ranks(n, [&](Communicator& comm) {
          Small small(shard_ranks(true, comm), kCpu, compute, on_host);
          expect_same(steps, small.train());
          EXPECT_TRUE(small.state() == state) << "rank " << comm.rank() << " of " << n;
        });
    }
}

TEST(Sharding, EveryRankHoldsTheSameNumberOfBytesWhateverTheTensors) {
  for (int n = 1; n <= 5; ++n) {
    std::vector<int> holders;
    std::int64_t flat = 0;
    for (int r = 0; r < n; ++r) {
      Small small({r, n, nullptr}, kMeta);
      const Sharding& sharding = small.optimizer->sharding();
      flat = small.store.flat_numel();
      holders.resize(std::size_t(flat));
      std::int64_t held = 0;
      for (const Sharding::Part& p : sharding.parts()) {
        EXPECT_EQ(p.local, held);
        EXPECT_EQ(p.first % ParamStore::kAlign, 0);
        held += p.count;
        for (std::int64_t i = 0; i < p.count; ++i) ++holders[std::size_t(p.first + i)];
      }
      EXPECT_EQ(held, sharding.held());
      EXPECT_EQ(small.optimizer->exp_avg().numel(), held);
      EXPECT_EQ(small.ema->shadow().numel(), held);
      EXPECT_LT(held - flat / n, n * ParamStore::kAlign);
    }
    int shared = 0;
    for (std::int64_t i = 0; i < flat; ++i) {
      EXPECT_TRUE(holders[std::size_t(i)] == 1 || holders[std::size_t(i)] == n);
      shared += holders[std::size_t(i)] == n && n > 1;
    }
    EXPECT_LT(shared, n * ParamStore::kAlign);
  }
}

TEST(Sharding, TheShownAverageAndTheWeightsBehindItAreWholeOnEveryRank) {
  Small alone({});
  alone.train();
  const auto before = alone.state();
  std::vector<std::vector<std::byte>> inside;
  {
    EmaWeights::Shown shown(alone.s, alone.scratch, *alone.ema);
    inside = {alone.bytes(alone.store.values()), alone.bytes(alone.store.computes())};
  }
  EXPECT_NE(inside[0], before[0]);
  on_ranks(3, [&](Communicator& comm) {
    Small small(shard_ranks(true, comm));
    small.train();
    {
      EmaWeights::Shown shown(small.s, small.scratch, *small.ema);
      EXPECT_TRUE(small.bytes(small.store.values()) == inside[0]);
      EXPECT_TRUE(small.bytes(small.store.computes()) == inside[1]);
    }
    EXPECT_TRUE(small.state() == before);
  });
}

// A store of fewer elements than a share's alignment on every rank: all of it is the rest, which every rank holds.
TEST(Sharding, AStoreThatIsTooSmallToDivideIsHeldByAll) {
  on_ranks(4, [](Communicator& comm) {
    const Stream s = Stream::create(kCpu, "test");
    Arena arena(kCpu, std::size_t{1} << 20, "test");
    ParamStore store(arena, Precision::of(DType::f32));
    store.add("w", {3, 5});
    store.seal(s);
    Optimizer optimizer(s, arena, store, {}, std::make_shared<Sharding>(arena, store, shard_ranks(true, comm)));
    EXPECT_EQ(optimizer.exp_avg().numel(), 64);
    fill_zero(s, store.grads());
    optimizer.step(s, 1e-3, 1, {});
    std::vector<float> whole(64, 1);
    optimizer.sharding().collect(s, optimizer.exp_avg(), make_view(whole.data(), {64}, DType::f32));
    EXPECT_EQ(whole, std::vector<float>(64, 0));
  });
}

// A file's tensors reach the elements that a rank holds, channel-last ones through their permutation.
TEST(Sharding, LoadsWhatARankHoldsOfATensor) {
  on_ranks(3, [](Communicator& comm) {
    const Stream s = Stream::create(kCpu, "test");
    Arena arena(kCpu, std::size_t{1} << 20, "test");
    ParamStore store(arena, Precision::of(DType::f32));
    store.add("a", {100});
    store.add("k", {6, 5, 3, 3}, true, true);
    store.seal(s);
    const Sharding all(arena, store), mine(arena, store, shard_ranks(true, comm));
    const Tensor whole = Tensor::on_heap({all.held()}, DType::f32), held = Tensor::on_heap({mine.held()}, DType::f32);
    fill_zero(s, whole), fill_zero(s, held);
    for (const Param& p : store.all()) {
      std::vector<float> file(std::size_t(p.numel()));
      for (std::size_t i = 0; i < file.size(); ++i) file[i] = float(p.first + 1) + float(i);
      const io::StoredTensor t = io::stored(make_view(static_cast<const void*>(file.data()), p.shape, DType::f32));
      all.load(s, whole, p, t, p.name);
      mine.load(s, held, p, t, p.name);
    }
    std::vector<float> collected(std::size_t(all.held()));
    mine.collect(s, held, make_view(collected.data(), {all.held()}, DType::f32));
    EXPECT_EQ(collected, std::vector<float>(whole.data<float>(), whole.data<float>() + whole.numel()));
  });
}

}  // namespace
}  // namespace mfl
