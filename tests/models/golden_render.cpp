// The published renderer's images from its own Gaussians: every folder gslrm_* of MFL_GOLDEN.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "models/gslrm/renderer.h"
#include "runtime/io/safetensors.h"
#include "tests/support/op_case.h"

namespace mfl::gslrm {
namespace {

std::filesystem::path golden_folder() {
  const char* set = std::getenv("MFL_GOLDEN");
  return set ? std::filesystem::path(set) : std::filesystem::path(MFL_SOURCE_DIR) / ".." / "shared" / "golden";
}

std::vector<std::filesystem::path> cases() {
  std::vector<std::filesystem::path> out;
  if (std::filesystem::is_directory(golden_folder()))
    for (const auto& e : std::filesystem::directory_iterator(golden_folder()))
      if (e.path().filename().string().starts_with("gslrm_")) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

// Elements [item] of the first axis, on the device.
Tensor item(const Stream& s, const Tensor& all, std::int64_t i) {
  Tensor one = all.rows(i, 1);
  Shape shape(std::span(all.shape().begin() + 1, all.shape().end()));
  Tensor out = Tensor::on_heap(shape, all.dtype(), s.device());
  copy(s, one.reshape(shape), out);
  s.synchronize();
  return out;
}

void reproduce(Device device) {
  const auto folders = cases();
  if (folders.empty()) GTEST_SKIP() << "no folder gslrm_* in " << golden_folder();
  const Stream s = Stream::create(device, "test");
  Arena arena(device, std::size_t{4} << 30, "test"), render_arena(device, std::size_t{4} << 30, "render");
  for (const auto& folder : folders) {
    const io::SafetensorsFile file(folder / "expected.safetensors");
    const Tensor expected = file.load("render");  // [B, V, 3, H, W]
    const std::int64_t batch = expected.shape()[0], views = expected.shape()[1], height = expected.shape()[3],
                       width = expected.shape()[4];
    std::int64_t outside = 0;
    double worst = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      auto part = [&](const char* name) { return item(s, file.load(name), b); };
      const Gaussians g{part("xyz"), part("features"), part("scaling"), part("rotation"), part("opacity")};
      const Cameras cameras{part("c2w"), part("fxfycxcy"), int(height), int(width)};
      Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f32)};
      Renderer::Saved saved;
      const Tensor image = Renderer{}.forward(cx, render_arena, g, cameras, saved);
      std::vector<float> out(std::size_t(image.numel()));
      copy(s, image, make_view(out.data(), image.shape(), DType::f32));
      s.synchronize();
      const float* e = expected.data<float>();
      for (std::int64_t v = 0; v < views; ++v)
        for (std::int64_t p = 0; p < height * width; ++p) {
          double difference = 0;
          for (std::int64_t c = 0; c < 3; ++c)
            difference = std::max(difference, std::abs(double(out[std::size_t(3 * (v * height * width + p) + c)]) -
                                                       double(e[((b * views + v) * 3 + c) * height * width + p])));
          if (!(difference <= 1e-3))
            ++outside;
          else
            worst = std::max(worst, difference);
        }
    }
    EXPECT_LE(outside, batch * views * height * width / 1000) << folder;
    std::printf("%s: %lld of %lld pixels differ by more than 1e-3, the others by at most %.2g\n",
                folder.filename().c_str(), static_cast<long long>(outside),
                static_cast<long long>(batch * views * height * width), worst);
  }
}

}  // namespace

TEST(Golden, RenderOnTheCpu) { reproduce(kCpu); }
TEST(Golden, RenderOnCuda) {
  MFL_SKIP_WITHOUT_CUDA();
  reproduce(Device{DeviceKind::cuda, 0});
}

}  // namespace mfl::gslrm
