// Pipeline folders in the diffusers layout (tests/golden/pipeline, written by the libraries themselves), prompt embeddings and
// the table of slots.
#include "models/mvdiffusion/pipeline_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/prompts.h"
#include "models/mvdiffusion/vae.h"
#include "runtime/io/torch_file.h"
#include "tests/models/diffusion_support.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;
using test::Frozen;

const fs::path kGolden = fs::path(MFL_SOURCE_DIR) / "tests" / "golden" / "pipeline";

class PipelineFolder : public ::testing::Test {
 protected:
  PipelineFolder() : folder_(fs::temp_directory_path() / text("mfl_pipeline_", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PipelineFolder() override { fs::remove_all(folder_); }
  // A copy of the golden pipeline that a test may damage.
  fs::path copy() {
    fs::copy(kGolden, folder_ / "p", fs::copy_options::recursive);
    return folder_ / "p";
  }
  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  template <class F>
  static std::string refusal(F&& f) {
    try {
      f();
    } catch (const DataError& e) {
      return e.what();
    }
    return "";
  }
  const fs::path folder_;
};

// bf16 from torch.save's pytorch_model.bin.
TEST_F(PipelineFolder, LoadsAnEncoderByName) {
  const PipelineFiles files(kGolden);
  const fs::path folder = files.component("image_encoder");
  const ClipConfig config = ClipConfig::read(JsonConfig::read(folder / "config.json"));
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.projection, 8);
  Frozen<ClipVision> loaded(kCpu, DType::f32, config), formula(kCpu, DType::f32, config);
  const weights::Coverage coverage = load_component(loaded.s, loaded.store, folder, {.log = false});
  EXPECT_EQ(coverage.loaded.size(), loaded.store.all().size());
  EXPECT_TRUE(coverage.unexpected.empty());
  test::fill_formula(formula.s, formula.store);
  for (std::size_t i = 0; i < loaded.store.all().size(); ++i) {
    const Param &a = loaded.store.all()[i], &b = formula.store.all()[i];
    for (std::int64_t k = 0; k < a.numel(); ++k)
      ASSERT_EQ(a.value.data<float>()[k], float(bf16(b.value.data<float>()[k]))) << a.name << '[' << k << ']';
  }
}

TEST_F(PipelineFolder, ReadsItsSchedules) {
  const PipelineFiles files(kGolden);
  const PipelineFiles::Scheduler scheduler = files.scheduler();
  EXPECT_EQ(scheduler.steps_offset, 1);
  EXPECT_NEAR(scheduler.schedule.alpha_bar(0), 0.99915, 1e-9);
  EXPECT_NEAR(files.embedding_noise().alpha_bar(0), 0.99995869, 1e-7);
  // Hub pipelines hold PNDM's or DDIM's file: the keys are the same, more may come.
  const JsonConfig pndm = JsonConfig::parse(
      R"({"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
          "num_train_timesteps": 1000, "skip_prk_steps": true, "trained_betas": null})", "pndm");
  EXPECT_EQ(read_schedule(pndm).alpha_bar(999), scheduler.schedule.alpha_bar(999));
}

TEST_F(PipelineFolder, TakesAComponentFromItsFolderOrTheOneAbove) {
  EXPECT_EQ(component_folder(kGolden, "vae"), kGolden / "vae");
  EXPECT_EQ(component_folder(kGolden / "vae", "vae"), kGolden / "vae");
  EXPECT_THROW(component_folder(folder_, "vae"), DataError);
  EXPECT_EQ(component_weights(kGolden / "vae").filename(), "diffusion_pytorch_model.safetensors");
  EXPECT_EQ(component_weights(kGolden / "image_encoder").filename(), "pytorch_model.bin");
}

TEST_F(PipelineFolder, RefusesWhatIsMissingOrOtherwise) {
  EXPECT_NE(refusal([&] { PipelineFiles("/nowhere/pipeckpts"); }).find("does not exist"), std::string::npos);
  EXPECT_NE(refusal([&] { PipelineFiles{folder_}; }).find("no model_index.json"), std::string::npos);
  const fs::path p = copy();
  fs::rename(p / "vae", p / "vae_");
  EXPECT_NE(refusal([&] { PipelineFiles{p}; }).find("no folder vae"), std::string::npos);
  fs::rename(p / "vae_", p / "vae");
  write(p / "scheduler" / "scheduler_config.json", R"({"beta_schedule": "scaled_linear", "num_train_timesteps": 1000})");
  EXPECT_NE(refusal([&] { PipelineFiles(p).scheduler(); }).find("expected \"v_prediction\""), std::string::npos);
  fs::remove(p / "vae" / "diffusion_pytorch_model.safetensors");
  EXPECT_NE(refusal([&] { component_weights(p / "vae"); }).find("has no weights"), std::string::npos);
  write(p / "vae" / "diffusion_pytorch_model.safetensors.index.json", "{}");
  EXPECT_NE(refusal([&] { component_weights(p / "vae"); }).find("split over several files"), std::string::npos);
  for (const std::string& bad : {std::string(), std::string("["), std::string("[]"), std::string("\xff"), std::string(100000, '['),
                                 std::string("{\"unet\": ") + std::string(50000, '[')}) {
    write(p / "model_index.json", bad);
    EXPECT_NE(refusal([&] { PipelineFiles{p}; }), "") << bad.substr(0, 10);
  }
}

TEST_F(PipelineFolder, CopiesAllButTheUnet) {
  const PipelineFiles files(kGolden);
  const fs::path target = folder_ / "trained" / "pipeckpts";
  files.copy_frozen(target);
  EXPECT_TRUE(fs::exists(target / "vae" / "diffusion_pytorch_model.safetensors"));
  EXPECT_TRUE(fs::exists(target / "feature_extractor" / "preprocessor_config.json"));
  EXPECT_TRUE(fs::exists(target / "model_index.json"));
  EXPECT_FALSE(fs::exists(target / "unet"));
  EXPECT_THROW(PipelineFiles(copy()).copy_frozen(folder_ / "p"), DataError);
}

TEST_F(PipelineFolder, AWrittenComponentLoadsAgain) {
  const JsonConfig config = JsonConfig::read(kGolden / "image_encoder" / "config.json");
  const ClipConfig clip = ClipConfig::read(config);
  Frozen<ClipVision> a(kCpu, DType::f32, clip), b(kCpu, DType::f32, clip);
  test::fill_formula(a.s, a.store);
  std::vector<io::NamedStored> tensors;
  for (const Param& p : a.store.all()) tensors.push_back(weights::published(p, p.value));
  write_component(folder_ / "c", "model.safetensors", R"({"b": 1, "a": [1, 2]})", tensors);
  EXPECT_EQ(io::SafetensorsFile(folder_ / "c" / "model.safetensors").metadata().at("format"), "pt");
  std::ifstream json(folder_ / "c" / "config.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(json), {}), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": 1\n}\n");
  EXPECT_TRUE(load_component(b.s, b.store, folder_ / "c", {.log = false}).complete());
  EXPECT_EQ(std::memcmp(a.store.values().view().data, b.store.values().view().data, a.store.values().bytes()), 0);
}

// The fuzz target's corpus (tests/fuzz/diffusers_config.cpp): each file is a configuration of one kind at most, or a DataError.
TEST(DiffusersConfig, MalformedFilesAreRefused) {
  int files = 0, good = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(MFL_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / "diffusers_config")) {
    ++files;
    auto attempt = [&](auto read) {
      try {
        read(JsonConfig::read(entry.path()));
        ++good;
      } catch (const DataError&) {
      }
    };
    attempt([](const JsonConfig& c) { VaeConfig::read(c); });
    attempt([](const JsonConfig& c) { ClipConfig::read(c); });
    attempt([](const JsonConfig& c) { read_schedule(c); });
  }
  EXPECT_GE(files, 20);
  EXPECT_EQ(good, 3);
}

// ---- prompts ----

TEST_F(PipelineFolder, PromptEmbeddingsOfTheWrongKindAreRefused) {
  auto save = [&](Shape shape, float value) {
    Tensor t = Tensor::on_heap(shape, DType::f32);
    std::fill_n(t.data<float>(), t.numel(), value);
    io::write_torch_file(folder_ / "embeds.pt", io::Value(io::stored(t)));
  };
  auto read = [&] { return read_prompt_embeddings(folder_ / "embeds.pt", 6, 1024); };
  EXPECT_NE(refusal(read).find("do not exist"), std::string::npos);
  save({6, 77, 768}, 1);
  EXPECT_NE(refusal(read).find("768 wide; this network's cross-attention reads 1024"), std::string::npos);
  save({4, 77, 1024}, 1);
  EXPECT_NE(refusal(read).find("expected prompt embeddings [6, 77, 1024]"), std::string::npos);
  save({6, 77, 1024}, NAN);
  EXPECT_NE(refusal(read).find("not finite"), std::string::npos);
  io::Value dict = io::Value::dict();
  dict.set("a", 1);
  io::write_torch_file(folder_ / "embeds.pt", dict);
  EXPECT_NE(refusal(read).find("expected one tensor"), std::string::npos);
  save({6, 77, 1024}, 0.5);
  const Tensor good = read();
  EXPECT_EQ(good.data<float>()[6 * 77 * 1024 - 1], 0.5f);
}

fs::path shared_data() {
  const char* given = std::getenv("MFL_SHARED_DATA");
  return given ? fs::path(given) : fs::path(MFL_SOURCE_DIR) / ".." / "shared" / "data";
}
TEST(PromptEmbeddings, ThePublishedFileIsReadAndTheForksRefused) {
  const fs::path sample = shared_data() / "facelift_sample";
  if (!fs::exists(sample)) GTEST_SKIP() << "no folder " << sample;
  const Tensor e = read_prompt_embeddings(sample / "prompt_embeds" / "clr_embeds.pt", 6, 1024);
  const float* v = e.data<float>();
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < e.numel(); ++i) sum += v[i], squares += double(v[i]) * v[i];
  const double mean = sum / double(e.numel());
  EXPECT_NEAR(mean, -0.167755, 1e-5);
  EXPECT_NEAR(std::sqrt(squares / double(e.numel()) - mean * mean), 1.028814, 1e-5);
  EXPECT_EQ(v[0], -0.3134765625f);
  EXPECT_EQ(v[4], 0.1783447265625f);
  EXPECT_THROW(read_prompt_embeddings(sample / "mouse_prompt_embeds" / "clr_embeds.pt", 6, 1024), DataError);
}

TEST(ViewOrder, RotatesByIndexOrAlongTheRing) {
  const std::vector<int> same = {0, 1, 2, 3, 4, 5}, ring = {0, 4, 2, 1, 3, 5}, slots = {0, 3, 2, 4, 1, 5};   // slot = place on the ring
  const ViewOrder fixed = view_order(ReferenceRule::fixed, 3, same, {});
  EXPECT_EQ(fixed.reference, 3);
  EXPECT_EQ(fixed.views, same);
  EXPECT_EQ(fixed.prompts, same);
  const ViewOrder random = view_order(ReferenceRule::random, 4, same, {});
  EXPECT_EQ(random.views, (std::vector<int>{4, 5, 0, 1, 2, 3}));
  EXPECT_EQ(random.prompts, random.views);
  const ViewOrder around = view_order(ReferenceRule::ring, 2, slots, ring);
  EXPECT_EQ(around.views, (std::vector<int>{2, 1, 3, 5, 0, 4}));
  EXPECT_EQ(around.prompts, same);   // the slots keep their prompts
  EXPECT_THROW(view_order(ReferenceRule::ring, 2, same, std::vector<int>{0, 1, 2}), DataError);
  EXPECT_THROW(view_order(ReferenceRule::fixed, 0, std::vector<int>{0, 0, 1}, {}), DataError);
  EXPECT_THROW(view_order(ReferenceRule::fixed, 0, std::vector<int>{0, -1, 1}, {}), DataError);
}

}  // namespace
}  // namespace mfl::mvdiffusion
