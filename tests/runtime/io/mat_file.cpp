#include "runtime/io/mat_file.h"

#include <gtest/gtest.h>

#include "runtime/io/weight_file.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::io {
namespace {

const std::filesystem::path kFiles = std::filesystem::path(MFL_SOURCE_DIR) / "tests/golden/mat";

TEST(MatFile, KernelsComeAsOutInHeightWidth) {
  for (const char* name : {"network.mat", "network_plain.mat", "network_old.mat"}) {
    SCOPED_TRACE(name);
    const WeightFile file = open_weights(kFiles / name);
    EXPECT_EQ(file.format, "MatConvNet");
    ASSERT_EQ(file.tensors.size(), 4u);
    const Tensor w = load(file.tensors[0].tensor, DType::f32, "w");
    ASSERT_EQ(w.shape(), Shape({4, 3, 3, 3}));
    const float* v = w.data<float>();
    for (int o = 0; o < 4; ++o)
      for (int i = 0; i < 3; ++i)
        for (int y = 0; y < 3; ++y)
          for (int x = 0; x < 3; ++x) EXPECT_FLOAT_EQ(*v++, 100.f * y + 10.f * x + i + o / 10.f);
    EXPECT_EQ(file.tensors[2].name, "layers.2.weight");
    EXPECT_EQ(file.tensors[2].tensor.shape, Shape({1, 4, 3, 3}));  // MATLAB dropped the last axis
    EXPECT_FLOAT_EQ(load(file.tensors[2].tensor, DType::f32, "w").data<float>()[9], 2001);
    EXPECT_EQ(file.tensors[1].tensor.shape, Shape({4}));
    EXPECT_FLOAT_EQ(load(file.tensors[1].tensor, DType::f32, "b").data<float>()[3], 0.3f);
  }
}
TEST(MatFile, WholeNumbersInTheSmallestTypeAreTheNumbersTheyStandFor) {
  const std::filesystem::path corpus = std::filesystem::path(MFL_SOURCE_DIR) / "tests/fuzz/corpus/mat_file";
  for (const char* name : {"good_small_integers", "good_packed"}) {
    SCOPED_TRACE(name);
    const WeightFile file = open_weights(corpus / name);
    ASSERT_EQ(file.tensors.size(), 2u);
    EXPECT_EQ(file.tensors[0].tensor.type(), StoredType::f64);
    const Tensor w = load(file.tensors[0].tensor, "w"), b = load(file.tensors[1].tensor, "b");
    ASSERT_EQ(w.shape(), Shape({2, 1, 1, 1}));
    EXPECT_EQ(w.data<double>()[0], 3);
    EXPECT_EQ(w.data<double>()[1], 7);
    EXPECT_EQ(b.data<float>()[1], 1.5f);
  }
}
TEST(MatFile, SaysWhatIsWrong) {
  MFL_EXPECT_THROW_WITH(open_weights(kFiles / "other.mat"), DataError, "no cell array `layers`");
  MFL_EXPECT_THROW_WITH(open_weights(kFiles / "none.mat"), DataError, "No such file");
  MFL_EXPECT_THROW_WITH(open_weights(std::filesystem::path(MFL_SOURCE_DIR) / "CMakeLists.txt"), DataError,
                        "no file of weights");
}

}  // namespace
}  // namespace mfl::io
