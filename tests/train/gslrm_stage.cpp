// What a configuration makes of GS-LRM's parameters: which decay, which are frozen, which depth rule holds, how they begin.
#include "train/gslrm_stage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/support/tiny_gslrm.h"
#include "train/config.h"
#include "train/idle_losses.h"

namespace mfl {
namespace {

GslrmConfig config(const std::vector<ConfigOverride>& more = {}) {
  return parse_gslrm_config(test::tiny_gslrm_yaml({.data = "none.h5"}), "tiny.yaml", more).config;
}
GslrmStage stage_of(const GslrmConfig& c) { return {c, {.device = kMeta, .precision = Precision::of(DType::f32)}}; }

std::set<std::string> frozen(const GslrmStage& stage) {
  std::set<std::string> names;
  for (const Param& p : stage.params.all())
    if (!p.trainable) names.insert(p.name);
  return names;
}

TEST(GslrmStage, MatricesAndPositionEmbeddingsDecayNormsDoNot) {
  const GslrmStage stage = stage_of(config());
  const auto groups = stage.optimizer->grouped();
  const ParamGroups& rule = stage.optimizer->config().groups;
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(rule.groups[0].weight_decay, 0.05);
  EXPECT_EQ(rule.groups[1].weight_decay, 0);
  EXPECT_EQ(groups[0].front()->name, "gaussian_position_embeddings");
  EXPECT_EQ(groups[0].size() + groups[1].size(), stage.params.all().size());
  for (const Param* p : groups[0]) EXPECT_EQ(p->shape.rank(), 2u) << p->name;
  for (const Param* p : groups[1]) EXPECT_EQ(p->shape.rank(), 1u) << p->name;
}

TEST(GslrmStage, FreezingTakesTheInputNormWithTheEmbedderAndNeverAHead) {
  const std::vector<ConfigOverride> first = {{"training.freeze_layers.enabled", "true"}, {"training.freeze_layers.freeze_transformer_until", "1"}};
  auto all = first;
  all[1].value = "99";
  all.push_back({"training.freeze_layers.freeze_positional_embeddings", "true"});
  const GslrmStage none = stage_of(config()), one = stage_of(config(first)), heads = stage_of(config(all));
  EXPECT_TRUE(frozen(none).empty());
  const std::set<std::string> names = frozen(one);
  EXPECT_TRUE(names.contains("patch_embedder.1.weight") && names.contains("input_layer_norm.weight"));
  EXPECT_TRUE(names.contains("transformer_layers.0.norm1.weight") && !names.contains("transformer_layers.1.norm1.weight"));
  EXPECT_FALSE(names.contains("gaussian_position_embeddings"));
  EXPECT_EQ(names.size(), 2u + 6u);
  for (const Param& p : heads.params.all())
    EXPECT_EQ(p.trainable, p.name.starts_with("gaussian_upsampler.") || p.name.starts_with("pixel_gaussian_decoder.")) << p.name;
}

// Published precedence: a range of depths counts only without custom or augmented rays.
TEST(GslrmStage, RaysDecideBeforeARangeOfDepths) {
  const std::vector<ConfigOverride> range = {{"model.depth_min", "1"}, {"model.depth_max", "4"}, {"model.depth_reference_origin", "true"}};
  auto with = [&](std::vector<ConfigOverride> more, bool ranged) {
    if (ranged) more.insert(more.end(), range.begin(), range.end());
    return gslrm::ModelSpec::from(config(more).model, 2).decode.depth;
  };
  EXPECT_EQ(with({}, true), DepthRule::nearest);
  EXPECT_EQ(with({{"model.use_custom_plucker", "false"}, {"model.use_aug_plucker", "true"}, {"model.image_tokenizer.in_channels", "12"}}, true), DepthRule::nearest);
  EXPECT_EQ(with({{"model.use_custom_plucker", "false"}}, true), DepthRule::range);
  EXPECT_EQ(with({{"model.use_custom_plucker", "false"}, {"model.depth_reference_origin", "true"}}, false), DepthRule::reference_origin);
  EXPECT_EQ(with({{"model.use_custom_plucker", "false"}}, false), DepthRule::fixed);
}

TEST(GslrmStage, FreshWeightsAreNormalAtTwoHundredthsWhateverTheirDepthAndNormsAreOne) {
  GslrmStage stage(config(), {.device = kCpu, .precision = Precision::of(DType::f32), .memory_bytes = std::size_t{1} << 30});
  gslrm::initialise(stage.stream, stage.params, 7);
  std::set<float> firsts;
  for (const Param& p : stage.params.all()) {
    const float* x = p.value.data<float>();
    double square = 0;
    for (std::int64_t i = 0; i < p.numel(); ++i) square += double(x[i]) * x[i];
    const double expected = p.shape.rank() < 2 ? 1 : 0.02, rms = std::sqrt(square / double(p.numel()));
    EXPECT_NEAR(rms, expected, p.shape.rank() < 2 ? 0 : 4 * expected / std::sqrt(2.0 * double(p.numel()))) << p.name;
    if (p.shape.rank() > 1) {
      EXPECT_TRUE(firsts.insert(x[0]).second) << p.name;
    }
  }
}

// "Loss enabled but identically 0": said once a loss, after kUpdates updates in a row.
TEST(IdleLosses, AreNamedOnceAfterTwentyUpdatesOfExactlyZero) {
  IdleLosses idle;
  std::array<double, gslrm::kTerms> weights{}, terms{};
  weights[gslrm::kL2] = weights[gslrm::kSsim] = 1;
  terms[gslrm::kSsim] = 1e-30;
  std::vector<std::string> said;
  for (int update = 0; update < 60; ++update) {
    terms[gslrm::kL2] = update == 10 ? 0.5 : 0;   // the count begins again
    for (const std::string& name : idle.take(weights, terms)) said.push_back(name + " at " + std::to_string(update));
  }
  EXPECT_EQ(said, std::vector<std::string>{"l2_loss at 30"});
}

}  // namespace
}  // namespace mfl
