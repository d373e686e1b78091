// Checkpoints of MVDiffusion: what is written is read back in the same bits, whole or not at all; Python's are resumed.
#include "train/mvdiffusion/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/mvdiffusion/folder_info.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/unet.h"
#include "models/weights/coverage.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/atomic_folder.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/rng.h"
#include "tests/support/op_case.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(MFL_SOURCE_DIR) / "tests" / "golden" / "checkpoint";

// The network of tests/golden/make_checkpoint.py: names, shapes and order of its parameters, and a training run of them.
struct Small {
  Device device;
  Stream s;
  Arena arena;
  ParamStore store;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<EmaWeights> ema;
  RunState state;

  explicit Small(Device d = kCpu, DType compute = DType::f32, std::int64_t width = 4, bool average = true)
      : device(d), s(Stream::create(d, "test")), arena(d, std::size_t{1} << 24, "test"), store(arena, Precision::of(compute)) {
    const std::int64_t w = width, e = 4 * w;
    auto both = [&](const std::string& name, Shape weight, bool kernel = false) {
      store.add(name + ".weight", weight, true, kernel);
      store.add(name + ".bias", {weight[0]});
    };
    auto norm = [&](const std::string& name, std::int64_t c) { store.add(name + ".weight", {c}), store.add(name + ".bias", {c}); };
    auto resnet = [&](const std::string& name, std::int64_t in) {
      norm(name + ".norm1", in);
      both(name + ".conv1", {w, in, 3, 3}, true);
      both(name + ".time_emb_proj", {w, e});
      norm(name + ".norm2", w);
      both(name + ".conv2", {w, w, 3, 3}, true);
      if (in != w) both(name + ".conv_shortcut", {w, in, 1, 1}, true);
    };
    both("conv_in", {w, 8, 3, 3}, true);
    both("time_embedding.linear_1", {e, w}), both("time_embedding.linear_2", {e, e});
    both("class_embedding.linear_1", {e, 6}), both("class_embedding.linear_2", {e, e});
    resnet("down_blocks.0.resnets.0", w);
    resnet("up_blocks.0.resnets.0", 2 * w);
    resnet("mid_block.resnets.0", w);
    norm("conv_norm_out", w);
    both("conv_out", {4, w, 3, 3}, true);
    store.seal(s);
    optimizer = std::make_unique<Optimizer>(s, arena, store, OptimizerConfig{.beta1 = 0.9, .beta2 = 0.999,
                                            .groups = ParamGroups::embeddings_apart(0.01, 2), .max_norm = 0, .allowed_factor = 0});
    if (average) ema = std::make_unique<EmaWeights>(s, arena, store);
  }
  Trained trained() { return {s, store, *optimizer, ema.get(), R"({"_class_name": "UNetMV2DConditionModel", "block_out_channels": [4]})"}; }

  // Masters to the host, or back.
  std::vector<float> get(const Tensor& t) {
    std::vector<float> x(static_cast<std::size_t>(t.numel()));
    copy(s, t, make_view(x.data(), t.shape(), DType::f32));
    s.synchronize();
    return x;
  }
  void set(const Tensor& t, const std::vector<float>& x) {
    copy(s, make_view(static_cast<const void*>(x.data()), t.shape(), DType::f32), t);
    s.synchronize();
  }
  void randomise(std::uint64_t seed) {
    Rng rng(seed, Draw::test);
    for (const Tensor& t : {store.values(), optimizer->exp_avg(), optimizer->exp_avg_sq(), ema ? ema->shadow() : Tensor{}}) {
      if (!t) continue;
      std::vector<float> x(static_cast<std::size_t>(t.numel()), 0.0f);
      for (const Param& p : store.all())
        for (std::int64_t i = 0; i < p.numel(); ++i) x[std::size_t(p.first + i)] = std::abs(float(rng.normal()));
      set(t, x);
    }
  }
  // make_checkpoint.py's step: grad = 0.05 value + 0.01; the learning rate halves from the fourth on.
  void step() {
    std::vector<float> g = get(store.values());
    for (float& x : g) x = 0.05f * x + 0.01f;
    set(store.grads(), g);
    optimizer->step(s, learning_rate(), 1, {});
    optimizer->request(s);
    state.updates = optimizer->take().updates;
    if (ema) ema->update(s);
    ++state.step, ++state.schedule_count, state.data_position = state.data_position.value_or(0) + 1;
  }
  double learning_rate() const { return state.schedule_count < 3 ? 1e-2 : 5e-3; }
  std::map<std::string, std::vector<float>> everything() {
    std::map<std::string, std::vector<float>> all = {{"values", get(store.values())}, {"m", get(optimizer->exp_avg())},
                                                     {"v", get(optimizer->exp_avg_sq())}};
    if (ema) all["average"] = get(ema->shadow());
    return all;
  }
  fs::path save(const fs::path& directory, std::optional<std::int64_t> limit = {}) {
    SavedCheckpoint last;
    CheckpointWriter w(trained(), directory, {.done = [&](const SavedCheckpoint& c) { last = c; }});
    w.save(state, learning_rate(), 1e-2, "seed: 42\n", limit);
    w.before_update();
    w.wait();
    return last.path;
  }
};

std::string read_text(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void reads_back_the_same_bits(Device device) {
  test::TempFolder folder;
  Small a(device), b(device, DType::bf16);
  a.randomise(1), b.randomise(2);
  a.state = {.step = 500, .updates = 498, .schedule_count = 1000, .data_position = 501, .objects_an_update = 12, .best = 0.1 + 0.2, .best_step = 400};
  a.ema->set_updates(499);
  a.optimizer->set_updates(a.s, 498);
  const fs::path at = a.save(folder.path());
  EXPECT_EQ(at.filename(), "checkpoint-500");
  EXPECT_EQ(names_in(at), (std::vector<std::string>{"mfl.json", "optimizer.bin", "random_states_0.pkl", "scaler.pt", "scheduler.bin",
                                                    "unet", "unet_ema"}));
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"checkpoint-500"});   // nothing temporary is left
  verify_folder(at);
  const Resumed r = resume(b.trained(), at);
  EXPECT_TRUE(r.ours);
  EXPECT_EQ(a.everything(), b.everything());
  EXPECT_EQ(r.state.step, 500);
  EXPECT_EQ(r.state.updates, 498);
  EXPECT_EQ(r.state.schedule_count, 1000);
  EXPECT_EQ(r.state.data_position, 501u);
  EXPECT_EQ(r.state.best, 0.1 + 0.2);
  EXPECT_EQ(r.state.best_step, 400);
  EXPECT_EQ(b.ema->updates(), 499);
  b.optimizer->step(b.s, 0, 1, {});
  b.optimizer->request(b.s);
  EXPECT_EQ(b.optimizer->take().updates, 499);
  for (const char* said : {"written by this program: step 500", "46 of 46 tensors", "after 498 updates", "after 499 updates"})
    EXPECT_NE(r.table.find(said), std::string::npos) << said << " in\n" << r.table;
}
TEST(MvCheckpoint, ReadsBackTheSameBits) { reads_back_the_same_bits(kCpu); }
TEST(MvCheckpoint, CudaReadsBackTheSameBits) {
  MFL_SKIP_WITHOUT_CUDA();
  reads_back_the_same_bits({DeviceKind::cuda, 0});
}

TEST(MvCheckpoint, ATrainingRunThatWasStoppedEndsOnTheSameBits) {
  test::TempFolder folder;
  Small straight, stopped, resumed;
  straight.randomise(3), stopped.randomise(3);
  for (int i = 0; i < 6; ++i) straight.step();
  for (int i = 0; i < 3; ++i) stopped.step();
  resumed.state = resume(resumed.trained(), stopped.save(folder.path())).state;
  for (int i = 0; i < 3; ++i) resumed.step();
  EXPECT_EQ(straight.everything(), resumed.everything());
  EXPECT_EQ(straight.ema->updates(), resumed.ema->updates());
  EXPECT_EQ(straight.state.updates, resumed.state.updates);
}

// The copy is of the moment of save(): a step that follows at once does not reach the file.
TEST(MvCheckpoint, HoldsTheStateAtItsSave) {
  test::TempFolder folder;
  Small a, b;
  a.randomise(4);
  a.state.updates = 1;
  const auto before = a.everything();
  CheckpointWriter w(a.trained(), folder.path(), {});
  w.save(a.state, 1e-2, 1e-2, "", {});
  w.before_update();
  a.step();
  w.wait();
  resume(b.trained(), folder / "checkpoint-0");
  EXPECT_EQ(b.everything(), before);
}

// accelerate's and diffusers' files: names, order, groups, fields.
TEST(MvCheckpoint, HasTheLayoutOfAccelerateAndDiffusers) {
  test::TempFolder folder;
  Small a;
  a.randomise(5);
  a.step();
  const fs::path at = a.save(folder.path()), theirs = kGolden / "checkpoint-3";
  for (const char* part : {"unet", "unet_ema"}) {
    const io::SafetensorsFile x(at / part / "diffusion_pytorch_model.safetensors"), y(theirs / part / "diffusion_pytorch_model.safetensors");
    EXPECT_EQ(x.metadata(), y.metadata());
    ASSERT_EQ(x.tensors().size(), y.tensors().size());
    for (const io::NamedStored& t : y.tensors()) {
      EXPECT_EQ(x.at(t.name).shape, t.tensor.shape) << t.name;
      EXPECT_EQ(x.at(t.name).type(), t.tensor.type()) << t.name;
    }
    // A convolution is held channel-last, and published as [O, I, KH, KW].
    const Tensor w = x.load("conv_in.weight");
    const std::vector<float> held = a.get(std::string(part) == "unet" ? a.store.values() : a.ema->shadow());
    const Param& p = *a.store.find("conv_in.weight");
    for (int o = 0; o < 4; ++o)
      for (int i = 0; i < 8; ++i)
        for (int k = 0; k < 9; ++k) ASSERT_EQ(w.data<float>()[(o * 8 + i) * 9 + k], held[std::size_t(p.first + (o * 9 + k) * 8 + i)]);
  }
  const auto fields = nlohmann::json::parse(read_text(at / "unet_ema" / "config.json")), python = nlohmann::json::parse(read_text(theirs / "unet_ema" / "config.json"));
  EXPECT_EQ(fields["optimization_step"], 1);
  for (const char* key : {"decay", "inv_gamma", "min_decay", "power", "update_after_step", "use_ema_warmup"}) EXPECT_EQ(fields[key], python[key]) << key;
  EXPECT_EQ(read_text(at / "unet" / "config.json"), "{\n  \"_class_name\": \"UNetMV2DConditionModel\",\n  \"block_out_channels\": [\n    4\n  ]\n}\n");

  const io::Value x = io::read_torch_file(at / "optimizer.bin"), y = io::read_torch_file(theirs / "optimizer.bin");
  ASSERT_EQ(x.at("param_groups").items().size(), 2u);   // attn_mv and norm_mv have no members: no group
  for (std::size_t g = 0; g < 2; ++g) {
    const io::Value &u = x.at("param_groups").items()[g], &v = y.at("param_groups").items()[g];
    ASSERT_EQ(u.entries().size(), v.entries().size());
    for (const auto& [key, value] : v.entries()) ASSERT_TRUE(u.find(key)) << key.string();
    for (const char* key : {"eps", "weight_decay", "initial_lr"}) EXPECT_EQ(u.at(key).number(), v.at(key).number()) << key;
    ASSERT_EQ(u.at("params").items().size(), v.at("params").items().size());
    for (std::size_t i = 0; i < u.at("params").items().size(); ++i)
      EXPECT_EQ(u.at("params").items()[i].integer(), v.at("params").items()[i].integer());
  }
  const auto ours = io::tensors_of(x), ref = io::tensors_of(y);
  ASSERT_EQ(ours.size(), ref.size());
  for (std::size_t i = 0; i < ref.size(); ++i) {
    EXPECT_EQ(ours[i].name, ref[i].name);
    EXPECT_EQ(ours[i].tensor.shape, ref[i].tensor.shape) << ref[i].name;
    EXPECT_TRUE(ours[i].tensor.contiguous()) << ref[i].name;
  }
  const io::Value u = io::read_torch_file(at / "scheduler.bin"), v = io::read_torch_file(theirs / "scheduler.bin");
  ASSERT_EQ(u.entries().size(), v.entries().size());
  for (std::size_t i = 0; i < v.entries().size(); ++i) EXPECT_EQ(u.entries()[i].first.string(), v.entries()[i].first.string());
  EXPECT_EQ(io::read_torch_file(at / "random_states_0.pkl").at("step").integer(), 0);
}

// Python's third step resumed, then its fourth taken here.
void goes_both_ways(Device device) {
  Small a(device);
  const Resumed r = resume(a.trained(), kGolden / "checkpoint-3");
  EXPECT_FALSE(r.ours);
  EXPECT_EQ(r.state.step, 3);
  EXPECT_EQ(r.state.updates, 3);
  EXPECT_EQ(r.state.schedule_count, 3);
  EXPECT_EQ(a.ema->updates(), 3);
  EXPECT_NE(r.table.find("written by accelerate: step 3"), std::string::npos) << r.table;
  EXPECT_NE(r.table.find("not taken   random_states_0.pkl"), std::string::npos) << r.table;
  a.state = r.state;
  a.step();
  const io::SafetensorsFile after(kGolden / "after.safetensors");
  for (auto [prefix, flat] : {std::pair{"value.", a.store.values()}, {"average.", a.ema->shadow()}}) {
    const std::vector<float> found = a.get(flat);
    for (const Param& p : a.store.all()) {
      Tensor host = Tensor::on_heap(p.memory_shape(), DType::f32);
      std::copy_n(found.begin() + p.first, p.numel(), host.data<float>());
      const Tensor ours = io::load(weights::published(p, host).tensor, p.name), expected = after.load(prefix + p.name);
      for (std::int64_t i = 0; i < p.numel(); ++i)
        ASSERT_NEAR(ours.data<float>()[i], expected.data<float>()[i], 1e-6) << prefix << p.name << '[' << i << ']';
    }
  }
  if (const char* out = std::getenv("MFL_WRITE_CHECKPOINT")) a.save(out);
}
TEST(MvCheckpoint, GoesBothWaysWithPython) { goes_both_ways(kCpu); }
TEST(MvCheckpoint, CudaGoesBothWaysWithPython) {
  MFL_SKIP_WITHOUT_CUDA();
  goes_both_ways({DeviceKind::cuda, 0});
}

TEST(MvCheckpoint, ResumesHalfPrecisionWeightsAndStartsAnAverageThatIsMissing) {
  test::TempFolder folder;
  const fs::path at = folder / "checkpoint-3";
  fs::copy(kGolden / "checkpoint-3", at, fs::copy_options::recursive);
  fs::remove_all(at / "unet"), fs::remove_all(at / "unet_ema");
  fs::copy(kGolden / "half", at / "unet", fs::copy_options::recursive);
  Small a, b;
  const Resumed r = resume(a.trained(), at);
  resume(b.trained(), kGolden / "checkpoint-3");
  const std::vector<float> half = a.get(a.store.values()), full = b.get(b.store.values());
  for (std::size_t i = 0; i < full.size(); ++i) EXPECT_NEAR(half[i], full[i], 1e-3);
  EXPECT_NE(half, full);
  EXPECT_EQ(a.get(a.ema->shadow()), half);
  EXPECT_EQ(a.ema->updates(), 0);
  EXPECT_NE(r.table.find("values, f16"), std::string::npos) << r.table;
  EXPECT_NE(r.table.find("the average begins anew at the weights"), std::string::npos) << r.table;
  verify_folder(at);
}

// ---- whole or not at all ----

void half_a_checkpoint(const fs::path& target) {
  io::AtomicFolder folder(target);
  io::write_text_file(folder.temporary() / "unet" / "config.json", "{}");
  std::raise(SIGKILL);
}
TEST(MvCheckpointDeathTest, AKilledWriterLeavesNoCheckpointAndTheNextOneCleansUp) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // The child of a threadsafe death test is this test in a process of its own: the environment tells it the place.
  std::optional<test::TempFolder> folder;
  if (!std::getenv("MFL_TEST_KILLED_WRITER")) ::setenv("MFL_TEST_KILLED_WRITER", (folder.emplace() / "runs").c_str(), 1);
  const fs::path directory = std::getenv("MFL_TEST_KILLED_WRITER");
  EXPECT_EXIT(half_a_checkpoint(directory / "checkpoint-7"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(names_in(directory).size(), 1u);
  EXPECT_TRUE(list_checkpoints(directory).empty());
  EXPECT_EQ(checkpoint_to_resume(directory, "latest"), fs::path());
  Small a;
  a.state.step = 8;
  a.save(directory);
  EXPECT_EQ(names_in(directory), std::vector<std::string>{"checkpoint-8"});
  ::unsetenv("MFL_TEST_KILLED_WRITER");
}

TEST(MvCheckpoint, AnotherOfTheSameStepReplacesItInOneStep) {
  test::TempFolder folder;
  Small a, b;
  a.state.step = 5;
  a.save(folder.path());
  a.randomise(6);
  a.state.updates = 1;
  a.save(folder.path());
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"checkpoint-5"});
  resume(b.trained(), folder / "checkpoint-5");
  EXPECT_EQ(a.everything(), b.everything());
}

TEST(MvCheckpoint, KeepsTheLimitAndTheBest) {
  test::TempFolder folder;
  Small a;
  for (int i = 1; i <= 6; ++i) {
    a.state.step = i * 100;
    if (i == 2) a.state.best = 20, a.state.best_step = 200;
    a.save(folder.path(), 3);
  }
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"checkpoint-200", "checkpoint-500", "checkpoint-600"}));
  // A fresh run in the same folder does not delete what it writes itself, nor what it did not write.
  a.state = {}, a.state.step = 50;
  a.save(folder.path(), 1);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"checkpoint-200", "checkpoint-50", "checkpoint-500", "checkpoint-600"}));
  EXPECT_EQ(list_checkpoints(folder.path()).back().step, 600);
}

TEST(MvCheckpoint, WhatCannotBeWrittenIsASentenceAndLeavesNothing) {
  test::TempFolder folder;
  Small a;
  io::write_text_file(folder / "file", "in the way");
  MFL_EXPECT_THROW_WITH(a.save(folder / "file"), DataError, "checkpoint-0 was not written");
  // A full disk, as far as a process can make one: no file of more than 4096 bytes.
  struct Limit {
    rlimit before;
    Limit() {
      std::signal(SIGXFSZ, SIG_IGN);
      getrlimit(RLIMIT_FSIZE, &before);
      const rlimit small{4096, before.rlim_max};
      setrlimit(RLIMIT_FSIZE, &small);
    }
    ~Limit() { setrlimit(RLIMIT_FSIZE, &before); }
  };
  const fs::path directory = folder / "runs";
  {
    const Limit full;
    MFL_EXPECT_THROW_WITH(a.save(directory), DataError, "free space there");
  }
  EXPECT_TRUE(names_in(directory).empty());
  a.save(directory);
  EXPECT_EQ(names_in(directory).size(), 1u);
  EXPECT_NE(disk_forecast(directory, 3, std::uint64_t{1} << 50, "set checkpoints_total_limit").find("up to 3 checkpoints"), std::string::npos);
  EXPECT_EQ(disk_forecast(directory, 3, 1, ""), "");
}

// ---- refusals ----

TEST(MvCheckpoint, RefusesWhatDoesNotFitBeforeTakingAnything) {
  test::TempFolder folder;
  Small a, wide(kCpu, DType::f32, 8);
  a.randomise(7), wide.randomise(8);
  const auto before = wide.everything();
  a.state.step = 3, a.state.updates = 3;
  const fs::path at = a.save(folder.path());
  MFL_EXPECT_THROW_WITH(resume(wide.trained(), at), DataError, "wrong shape");
  EXPECT_EQ(wide.everything(), before);

  Small b;
  b.randomise(9);
  const auto mine = b.everything();
  auto broken = [&](const std::function<void(const fs::path&)>& change) {
    const fs::path copy = folder / "broken" / "checkpoint-3";
    fs::remove_all(copy);
    fs::create_directories(copy.parent_path());
    fs::copy(at, copy, fs::copy_options::recursive);
    change(copy);
    return copy;
  };
  auto refused = [&](const fs::path& p, const std::string& phrase) {
    MFL_EXPECT_THROW_WITH(resume(b.trained(), p), DataError, phrase);
    EXPECT_EQ(b.everything(), mine) << phrase;
  };
  const char* file = "diffusion_pytorch_model.safetensors";
  auto without_conv_out = [&](const fs::path& p) {
    const io::SafetensorsFile f(at / "unet" / file);
    std::vector<io::NamedStored> tensors = f.tensors();
    std::erase_if(tensors, [](const io::NamedStored& t) { return t.name.starts_with("conv_out"); });
    io::write_safetensors(p / file, tensors, {{"format", "pt"}});
  };
  refused(broken([&](const fs::path& p) { without_conv_out(p / "unet"); }), "conv_out.");
  refused(broken([&](const fs::path& p) { without_conv_out(p / "unet_ema"); }), "conv_out.");
  refused(broken([&](const fs::path& p) { fs::remove_all(p / "unet"); }), "has no folder unet");
  refused(broken([&](const fs::path& p) { fs::remove(p / "optimizer.bin"); }), "has no optimizer.bin");
  refused(broken([&](const fs::path& p) { io::write_text_file(p / "mfl.json", "{}"); }), "version");
  refused(broken([&](const fs::path& p) { io::write_text_file(p / "optimizer.bin", "<html>"); }), "is no file of torch.save");
  refused(folder / "nowhere", "is no folder");

  const io::Value good = io::read_torch_file(at / "optimizer.bin");
  auto with_state = [&](const std::function<void(io::Value&)>& change) {
    return broken([&](const fs::path& p) {
      io::Value root = io::read_torch_file(at / "optimizer.bin");
      change(root);
      io::write_torch_file(p / "optimizer.bin", root);
    });
  };
  refused(with_state([](io::Value& v) {
    for (int i = 0; i < 46; ++i) {
      io::Value one = io::Value::dict();
      one.set("step", 3);
      one.set("state1", io::stored_scalar(1)), one.set("qmap1", io::stored_scalar(1)), one.set("absmax1", io::stored_scalar(1));
      v.at("state").set(i, one);
    }
  }), "8-bit AdamW");
  refused(with_state([](io::Value& v) { v.at("state").at(5).set("exp_avg", io::stored_scalar(1)); }), "optimizer.state.5.exp_avg");
  refused(with_state([](io::Value& v) { v.set("param_groups", io::Value::list({v.at("param_groups").items()[0]})); }), "the run trains 46");
  refused(with_state([](io::Value& v) {   // one group of all: another order of the indices
    io::Value group = v.at("param_groups").items()[0], params = io::Value::list();
    for (int i = 0; i < 46; ++i) params.push(i);
    group.set("params", params);
    v.set("param_groups", io::Value::list({group}));
  }), "optimizer groups of 46 tensors, the run has 42 + 4");

  const Resumed fine = resume(b.trained(), at);
  EXPECT_EQ(b.everything(), a.everything());
  EXPECT_EQ(fine.state.updates, 3);
}

TEST(MvCheckpoint, FindsWhatResumeFromCheckpointNames) {
  test::TempFolder folder;
  EXPECT_EQ(checkpoint_to_resume(folder.path(), {}), fs::path());
  EXPECT_EQ(checkpoint_to_resume(folder.path(), "latest"), fs::path());
  Small a;
  for (int step : {90, 100}) a.state.step = step, a.save(folder.path());
  EXPECT_EQ(checkpoint_to_resume(folder.path(), "latest"), folder / "checkpoint-100");
  // Python's trainer, stopped while it wrote.
  fs::create_directories(folder / "checkpoint-110" / "unet");
  EXPECT_EQ(checkpoint_to_resume(folder.path(), "latest"), folder / "checkpoint-100");
  EXPECT_EQ(checkpoint_to_resume(folder.path(), "checkpoint-90"), folder / "checkpoint-90");
  EXPECT_EQ(checkpoint_to_resume(folder.path(), "elsewhere/checkpoint-90/"), folder / "checkpoint-90");
  EXPECT_EQ(checkpoint_to_resume(folder / "none", (kGolden / "checkpoint-3").string()), kGolden / "checkpoint-3");
  MFL_EXPECT_THROW_WITH(checkpoint_to_resume(folder.path(), "checkpoint-5"), ConfigError, "it holds checkpoint-90, checkpoint-100");
}

TEST(MvCheckpoint, VerificationFindsAChangedByte) {
  test::TempFolder folder;
  Small a;
  a.randomise(10);
  const fs::path at = a.save(folder.path());
  verify_folder(at);
  for (const char* name : {"unet/diffusion_pytorch_model.safetensors", "optimizer.bin", "scheduler.bin"}) {
    std::string bytes = read_text(at / name);
    bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 1);
    const std::string good = read_text(at / name);
    io::write_text_file(at / name, bytes);
    MFL_EXPECT_THROW_WITH(verify_folder(at), DataError, "is damaged");
    io::write_text_file(at / name, good);
  }
  fs::remove(at / "scaler.pt");
  MFL_EXPECT_THROW_WITH(verify_folder(at), DataError, "is missing");
}

TEST(MvCheckpoint, AFolderIsDescribedOnOneScreen) {
  test::TempFolder folder;
  Small a;
  a.randomise(15);
  a.step();
  auto says = [](const std::string& described, std::initializer_list<const char*> phrases) {
    for (const char* p : phrases) EXPECT_NE(described.find(p), std::string::npos) << p << " in\n" << described;
  };
  says(describe_folder(a.save(folder.path()).string() + "/"),
       {"written by this program", "unet                    46 tensors, 2512 values, f32", "the average after 1 updates",
        "AdamW, after 1 updates, groups of 42 + 4 tensors at learning rates 0.01, 0.02", "count 1", "step 1, 1 updates applied"});
  says(describe_folder(kGolden / "checkpoint-3"), {"written by accelerate", "the average after 3 updates", "AdamW, after 3 updates", "count 3"});
  says(describe_folder(kGolden / "half"), {"UNetMV2DConditionModel, 46 tensors, 2512 values, f16"});
  says(describe_folder(kGolden.parent_path() / "pipeline" / "vae"), {"AutoencoderKL"});
  MFL_EXPECT_THROW_WITH(describe_folder(folder.path()), DataError, "neither a checkpoint-N");
  MFL_EXPECT_THROW_WITH(describe_folder(folder / "nowhere"), DataError, "is no folder");
}

// The full-size network, by name and shape alone: groups and indices of the published trainer, bytes of a checkpoint.
TEST(MvCheckpoint, TheFullSizeNetworkHasThePublishedIndices) {
  const Device meta{DeviceKind::meta, 0};
  const Stream s = Stream::create(meta, "test");
  Arena arena(meta, std::size_t{1} << 40, "test");
  ParamStore store(arena, Precision::of(DType::bf16));
  const Unet unet(Scope{store}, UnetSpec{});
  store.seal(s);
  Optimizer optimizer(s, arena, store, OptimizerConfig{.groups = ParamGroups::embeddings_apart(0.01, 1)});
  EmaWeights ema(s, arena, store);
  const auto groups = optimizer.grouped();
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].size(), 686u);
  EXPECT_EQ(groups[1].size(), 4u);
  EXPECT_TRUE(groups[2].empty());
  EXPECT_EQ(groups[1][0]->name, "class_embedding.linear_1.weight");
  EXPECT_EQ(groups[0][0]->name, "conv_in.weight");
  EXPECT_EQ(groups[0][6]->name, "down_blocks.0.attentions.0.norm.weight");   // class_embedding is left out of the count
  EXPECT_EQ(groups[0][252]->name, "up_blocks.0.resnets.0.norm1.weight");     // up before mid
  EXPECT_EQ(groups[0][636]->name, "mid_block.attentions.0.norm.weight");
  EXPECT_EQ(groups[0][685]->name, "conv_out.bias");
  const std::uint64_t bytes = CheckpointWriter::staging_bytes({s, store, optimizer, &ema, ""});
  EXPECT_NEAR(double(bytes), 4.0 * 4 * 870184644, 1e6);   // values, two moments, average
}

// ---- the pipeline at the end ----

TEST(MvCheckpoint, TheFinalPipelineIsTheFrozenComponentsAndTheAverage) {
  const fs::path source = fs::path(MFL_SOURCE_DIR) / "tests" / "golden" / "pipeline";
  test::TempFolder folder;
  Small a;
  a.randomise(11);
  SavedCheckpoint saved;
  CheckpointWriter w(a.trained(), folder / "run", {.done = [&](const SavedCheckpoint& c) { saved = c; }});
  w.save_pipeline(source, folder / "run" / "pipeckpts", 9);
  w.wait();
  EXPECT_EQ(saved.number, 9);
  EXPECT_GT(saved.bytes, 14000u);
  const fs::path at = folder / "run" / "pipeckpts";
  std::vector<std::string> expected = names_in(source);
  EXPECT_EQ(names_in(at), expected);
  EXPECT_EQ(read_text(at / "vae" / "diffusion_pytorch_model.safetensors"), read_text(source / "vae" / "diffusion_pytorch_model.safetensors"));
  // As diffusers and load_unet read it.
  Small b;
  load_unet(b.s, b.store, at / "unet");
  EXPECT_EQ(b.get(b.store.values()), a.get(a.ema->shadow()));
  MFL_EXPECT_THROW_WITH(w.save_pipeline(at, folder / "run" / "pipeckpts", 9), DataError, "written over the one");
  MFL_EXPECT_THROW_WITH(w.save_pipeline(folder / "nowhere", at, 9), DataError, "does not exist");
  Small live(kCpu, DType::f32, 4, false);
  live.randomise(12);
  CheckpointWriter(live.trained(), folder / "run", {}).save_pipeline(source, at, 10);
  load_unet(b.s, b.store, at / "unet");
  EXPECT_EQ(b.get(b.store.values()), live.get(live.store.values()));
}

// conv_in of the pipeline that a run begins with: four input channels are widened, the new ones zero; eight stay as trained.
TEST(MvCheckpoint, ConvInIsWidenedOnlyFromFourChannels) {
  test::TempFolder folder;
  Small a, b;
  a.randomise(13), b.randomise(14);
  const fs::path at = a.save(folder.path());
  load_unet(b.s, b.store, at / "unet");
  EXPECT_EQ(b.get(b.store.values()), a.get(a.store.values()));
  const io::SafetensorsFile f(at / "unet" / "diffusion_pytorch_model.safetensors");
  const Tensor eight = f.load("conv_in.weight");
  Tensor four = Tensor::on_heap({4, 4, 3, 3}, DType::f32);
  for (int o = 0; o < 4; ++o) std::copy_n(eight.data<float>() + o * 72, 36, four.data<float>() + o * 36);
  std::vector<io::NamedStored> tensors = f.tensors();
  for (io::NamedStored& t : tensors)
    if (t.name == "conv_in.weight") t.tensor = io::stored(four);
  write_component(folder / "four", "diffusion_pytorch_model.safetensors", "{}", tensors);
  load_unet(b.s, b.store, folder / "four");
  const Tensor now = io::load(weights::published(*b.store.find("conv_in.weight"), b.store.find("conv_in.weight")->value).tensor, "conv_in");
  for (int i = 0; i < 4 * 72; ++i) EXPECT_EQ(now.data<float>()[i], i % 72 < 36 ? eight.data<float>()[i] : 0.0f);
  // A checkpoint is the run's own: it is never widened.
  fs::copy(folder / "four" / "diffusion_pytorch_model.safetensors", at / "unet" / "diffusion_pytorch_model.safetensors", fs::copy_options::overwrite_existing);
  MFL_EXPECT_THROW_WITH(resume(b.trained(), at), DataError, "conv_in.weight");
}

}  // namespace
}  // namespace mfl::mvdiffusion
