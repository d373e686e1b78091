// Weights by name into a parameter store, and the loss networks from every published form.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "models/weights/coverage.h"
#include "models/weights/loss_networks.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::weights {
namespace {

using io::NamedStored;
using test::TempFolder;

struct Store {
  Stream stream = Stream::create(kCpu, "test");
  Arena arena{kCpu, std::size_t{1} << 30, "weights"};
  ParamStore store;
  explicit Store(std::vector<std::pair<std::string, Shape>> params, DType compute = DType::f32)
      : store(arena, Precision::of(compute), false) {
    for (auto& [name, shape] : params) store.add(name, shape);
    if (!store.all().empty()) store.seal(stream);
  }
};
Tensor ramp(Shape shape) {
  Tensor t = Tensor::on_heap(shape, DType::f32);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(i);
  return t;
}
io::WeightFile file(std::vector<std::pair<std::string, Shape>> tensors) {
  io::WeightFile f{"test.pt", "torch", {}};
  for (auto& [name, shape] : tensors) f.tensors.push_back({name, io::stored(ramp(shape))});
  return f;
}

TEST(Coverage, LoadsMastersAndComputeCopies) {
  Store s({{"a.weight", {2, 3}}, {"b", {4}}}, DType::bf16);
  const Coverage c =
      load_parameters(s.stream, s.store, file({{"b", {4}}, {"extra.0", {1}}, {"extra.1", {1}}, {"a.weight", {2, 3}}}));
  EXPECT_TRUE(c.complete());
  EXPECT_EQ(c.unexpected.size(), 2u);
  EXPECT_NE(c.table().find("extra.*  (2)"), std::string::npos) << c.table();
  EXPECT_EQ(s.store.find("a.weight")->value.data<float>()[5], 5.0f);
  EXPECT_EQ(static_cast<float>(s.store.find("a.weight")->compute.data<bf16>()[5]), 5.0f);
}
TEST(Coverage, StopsBelowFullCoverageUnlessTheNamesAreAllowed) {
  Store s({{"a.weight", {2, 3}}, {"b.0.bias", {4}}, {"b.1.bias", {4}}});
  const io::WeightFile part = file({{"a.weight", {2, 3}}});
  MFL_EXPECT_THROW_WITH(load_parameters(s.stream, s.store, part), DataError, "b.*.bias  (2)");
  EXPECT_EQ(s.store.find("a.weight")->value.data<float>()[5], 0.0f);  // nothing was loaded
  EXPECT_EQ(load_parameters(s.stream, s.store, part, {.allow_missing = {"b."}}).missing.size(), 2u);
  const io::WeightFile wrong = file({{"a.weight", {3, 2}}});
  MFL_EXPECT_THROW_WITH(load_parameters(s.stream, s.store, wrong, {.allow_missing = {"b."}}), DataError,
                        "the file has [3, 2], the model needs [2, 3]");
}
TEST(Coverage, HintsAtThePrefix) {
  Store s({{"a.weight", {2}}, {"b.weight", {2}}});
  EXPECT_NE(compare(s.store, file({{"module.a.weight", {2}}, {"module.b.weight", {2}}}))
                .table()
                .find("have \"module.\" in front"),
            std::string::npos);
  EXPECT_NE(compare(s.store, file({{"weight", {2}}})).table().find("0 of 2 tensors match"), std::string::npos);
  Store long_names({{"net.a.weight", {2}}, {"net.b.weight", {2}}});
  EXPECT_NE(compare(long_names.store, file({{"a.weight", {2}}, {"b.weight", {2}}})).hint.find("lack \"net.\""),
            std::string::npos);
}
TEST(Coverage, ReadsTheModelOfACheckpoint) {
  const TempFolder folder;
  io::Value model = io::Value::ordered_dict(), root = io::Value::dict();
  model.set("module.a", io::stored(ramp({2})));
  root.set("model", model);
  root.set("optimizer", io::Value::dict());
  root.at("optimizer").set("state", io::stored(ramp({3})));
  io::write_torch_file(folder / "c.pt", root);
  const io::WeightFile f = io::open_model_weights(folder / "c.pt");
  ASSERT_EQ(f.tensors.size(), 1u);
  EXPECT_EQ(f.tensors[0].name, "a");
  EXPECT_EQ(io::open_weights(folder / "c.pt").tensors.size(), 2u);
}

// Both networks, in f32 on the CPU.
struct Networks : Store {
  perceptual::PerceptualLoss perceptual;
  perceptual::LpipsLoss lpips;
  Networks()
      : Store({}),
        perceptual(Scope{store, std::string(perceptual::PerceptualLoss::kScope)}),
        lpips(Scope{store, std::string(perceptual::LpipsLoss::kScope)}) {
    store.seal(stream);
  }
};
bool same_values(const Networks& a, const Networks& b) {
  for (std::size_t i = 0; i < a.store.all().size(); ++i) {
    const Param &p = a.store.all()[i], &q = b.store.all()[i];
    if (p.name.find(".lins.") != std::string::npos || p.name.find("scaling_layer") != std::string::npos) continue;
    if (std::memcmp(p.value.data<float>(), q.value.data<float>(), p.value.bytes()) != 0) return false;
  }
  return true;
}

TEST(LossNetworks, EveryPublishedFormGivesTheSameValues) {
  ::unsetenv("VGG19_WEIGHTS_PATH");
  const TempFolder folder;
  Networks made;
  load_loss_networks(made.stream, made.store, {.vgg19 = "formula", .vgg16 = "formula:16", .lpips = "formula"});
  EXPECT_FALSE(same_values(made, Networks{}));

  // torchvision state dicts and lpips' heads.
  io::Value vgg19 = io::Value::ordered_dict(), vgg16 = io::Value::ordered_dict(), heads = io::Value::ordered_dict();
  std::vector<NamedStored> all;
  for (const Param& p : made.store.all()) {
    all.push_back({p.name, io::stored(p.value)});
    const auto names = published_names(p.name);
    if (p.name.find("perceptual") != std::string::npos)
      vgg19.set(names.at(2), io::stored(p.value));
    else if (p.name.find(".net.") != std::string::npos)
      vgg16.set(names.at(1), io::stored(p.value));
    else if (p.name.find(".lin") != std::string::npos && p.name.find(".lins") == std::string::npos)
      heads.set(names.at(1), io::stored(p.value));
  }
  io::write_torch_file(folder / "vgg19.pth", vgg19);
  io::write_torch_file(folder / "vgg16.pth", vgg16);
  io::write_torch_file(folder / "lpips.pth", heads);
  {
    Networks n;
    load_loss_networks(n.stream, n.store,
                       {.vgg19 = folder / "vgg19.pth", .vgg16 = folder / "vgg16.pth", .lpips = folder / "lpips.pth"});
    EXPECT_TRUE(same_values(made, n));
  }
  // A checkpoint that holds them, as safetensors.
  io::write_safetensors(folder / "all.safetensors", all);
  {
    Networks n;
    load_loss_networks(n.stream, n.store, {.checkpoints = {folder / "all.safetensors"}});
    EXPECT_TRUE(same_values(made, n));
  }
  // A checkpoint that is damaged, and the one before it.
  {
    io::Value whole = io::Value::dict();
    for (const NamedStored& t : all) whole.set(t.name, t.tensor);
    io::write_torch_file(folder / "damaged.pt", whole);
    std::fstream file(folder / "damaged.pt", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(std::streamoff(std::filesystem::file_size(folder / "damaged.pt") / 2)).write("damaged!", 8);
    file.close();
    MFL_EXPECT_THROW_WITH(Networks n; load_loss_networks(n.stream, n.store, {.checkpoints = {folder / "damaged.pt"}}), DataError, "needs");
    Networks n;
    load_loss_networks(n.stream, n.store, {.checkpoints = {folder / "damaged.pt", folder / "all.safetensors"}});
    EXPECT_TRUE(same_values(made, n));
  }
  // A mixture: the checkpoint lacks the heads.
  std::erase_if(all, [](const NamedStored& t) { return t.name.find(".lin") != std::string::npos; });
  io::write_safetensors(folder / "some.safetensors", all);
  {
    Networks n;
    MFL_EXPECT_THROW_WITH(load_loss_networks(n.stream, n.store, {.checkpoints = {folder / "some.safetensors"}}), DataError,
                          "mfl.weights.lpips");
    load_loss_networks(n.stream, n.store, {.lpips = folder / "lpips.pth", .checkpoints = {folder / "some.safetensors"}});
    EXPECT_TRUE(same_values(made, n));
  }
}
TEST(LossNetworks, SaysWhichFileFromWhereUnderWhichKey) {
  ::unsetenv("VGG19_WEIGHTS_PATH");
  ::setenv("HOME", "/nowhere", 1);
  Store s({{"loss_calculator.perceptual_loss_module.net.conv1.weight", {64, 3, 3, 3}}});
  MFL_EXPECT_THROW_WITH(load_loss_networks(s.stream, s.store, {}), DataError, "imagenet-vgg-verydeep-19.mat");
  MFL_EXPECT_THROW_WITH(load_loss_networks(s.stream, s.store, {}), DataError, "VGG19_WEIGHTS_PATH");
  MFL_EXPECT_THROW_WITH(load_loss_networks(s.stream, s.store, {.vgg19 = "/no/such.mat"}), DataError,
                        "/no/such.mat (mfl.weights.vgg19) does not exist");
  MFL_EXPECT_THROW_WITH(load_loss_networks(s.stream, s.store, {.vgg19 = "formula:x"}), ConfigError, "whole number");
  const auto mat = std::filesystem::path(MFL_SOURCE_DIR) / "tests/golden/mat/network.mat";
  MFL_EXPECT_THROW_WITH(load_loss_networks(s.stream, s.store, {.vgg19 = mat}), DataError, "[4, 3, 3, 3]");
}
TEST(LossNetworks, NamesOfTheirTensorsInEachForm) {
  using V = std::vector<std::string>;
  EXPECT_EQ(published_names("loss_calculator.perceptual_loss_module.net.conv16.bias"),
            (V{"loss_calculator.perceptual_loss_module.net.conv16.bias", "layers.34.bias", "features.34.bias",
               "conv16.bias"}));
  EXPECT_EQ(published_names("loss_calculator.lpips_loss_module.net.slice5.28.weight").at(1), "features.28.weight");
  EXPECT_EQ(published_names("loss_calculator.lpips_loss_module.lin4.model.1.weight").at(1), "lin4.model.1.weight");
  EXPECT_EQ(published_names("transformer.weight"), V{"transformer.weight"});
}

}  // namespace
}  // namespace mfl::weights
