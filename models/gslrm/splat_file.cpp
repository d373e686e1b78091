#include "models/gslrm/splat_file.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "models/gslrm/stored_gaussians.h"
#include "runtime/io/atomic_file.h"

namespace mfl::gslrm {
namespace {

constexpr std::size_t kBytes = 32;
constexpr std::int64_t kBatch = 16384;  // Gaussians handled at a time

}  // namespace

void write_splat(const std::filesystem::path& path, const Gaussians& g, float scaling_modifier) {
  check_storable("write_splat", path, g);
  const std::int64_t n = g.xyz.shape()[0], width = 3 * g.features.shape()[1];
  const float *xyz = g.xyz.data<float>(), *scaling = g.scaling.data<float>(), *rotation = g.rotation.data<float>();
  const float *opacity = g.opacity.data<float>(), *features = g.features.data<float>();

  std::vector<double> importance(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const double size = std::exp(double(scaling[3 * i]) + double(scaling[3 * i + 1]) + double(scaling[3 * i + 2]));
    importance[static_cast<std::size_t>(i)] = size / (1 + std::exp(-double(opacity[i])));
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return importance[static_cast<std::size_t>(a)] > importance[static_cast<std::size_t>(b)];
  });

  io::AtomicFile file(path);
  std::string out;
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int64_t i = order[static_cast<std::size_t>(r)];
    float numbers[6];
    std::uint8_t bytes[8];
    float length = 0;
    for (int e = 0; e < 3; ++e) {
      numbers[e] = xyz[3 * i + e];
      numbers[3 + e] = scaling_modifier * std::exp(scaling[3 * i + e]);
      if (!(numbers[3 + e] > 0 && std::isfinite(numbers[3 + e])))
        throw_error<DataError>("cannot write ", path.string(), ": Gaussian ", i, " has the log scale ", scaling[3 * i + e],
                               ", whose scale is no number of 32 bits. Leave such Gaussians out with a filter.");
      bytes[e] = to_byte(255 * (kShC0 * features[width * i + e] + 0.5f));
    }
    bytes[3] = to_byte(255 * sigmoid(opacity[i]));
    for (int e = 0; e < 4; ++e) length += rotation[4 * i + e] * rotation[4 * i + e];
    length = std::sqrt(length);
    for (int e = 0; e < 4; ++e) bytes[4 + e] = to_byte(128 * rotation[4 * i + e] / length + 128);
    out.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
    out.append(reinterpret_cast<const char*>(bytes), sizeof bytes);
    if (r % kBatch == kBatch - 1) {
      file.write(out);
      out.clear();
    }
  }
  file.write(out);
  file.commit();
}

Gaussians read_splat(const io::Source& file) {
  if (file->size() % kBytes != 0)
    throw_error<DataError>(file->name(), ": ", file->size(), " bytes are no whole number of Gaussians of 32 bytes: this is not a .splat file, or it is truncated.");
  constexpr char kPly[] = {'p', 'l', 'y', '\n'};  // as a coordinate: 1.2e-32
  if (const auto start = io::head(*file, sizeof kPly); start.size() == sizeof kPly && std::memcmp(start.data(), kPly, sizeof kPly) == 0)
    throw_error<DataError>(file->name(), ": this is a PLY file, not a .splat file.");
  const auto n = static_cast<std::int64_t>(file->size() / kBytes);
  Gaussians g{Tensor::on_heap({n, 3}, DType::f32), Tensor::on_heap({n, 1, 3}, DType::f32), Tensor::on_heap({n, 3}, DType::f32),
              Tensor::on_heap({n, 4}, DType::f32), Tensor::on_heap({n, 1}, DType::f32)};
  for (std::int64_t first = 0; first < n; first += kBatch) {
    const std::int64_t count = std::min(kBatch, n - first);
    const auto all = file->read(static_cast<std::uint64_t>(first) * kBytes, static_cast<std::uint64_t>(count) * kBytes);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t i = first + k;
      float numbers[6];
      std::uint8_t bytes[8];
      std::memcpy(numbers, all.data() + static_cast<std::size_t>(k) * kBytes, sizeof numbers);
      std::memcpy(bytes, all.data() + static_cast<std::size_t>(k) * kBytes + sizeof numbers, sizeof bytes);
      bool good = true, turned = false;
      for (int e = 0; e < 3; ++e) {
        good &= std::isfinite(numbers[e]) && numbers[3 + e] > 0 && std::isfinite(numbers[3 + e]);
        g.xyz.data<float>()[3 * i + e] = numbers[e];
        g.scaling.data<float>()[3 * i + e] = std::log(numbers[3 + e]);
        g.features.data<float>()[3 * i + e] = (static_cast<float>(bytes[e]) / 255.0f - 0.5f) / kShC0;
      }
      g.opacity.data<float>()[i] = logit_of_byte(bytes[3]);
      for (int e = 0; e < 4; ++e) {
        turned |= bytes[4 + e] != 128;
        g.rotation.data<float>()[4 * i + e] = (static_cast<float>(bytes[4 + e]) - 128.0f) / 128.0f;
      }
      if (!good || !turned)
        throw_error<DataError>(file->name(), ": Gaussian ", i, good ? " has a rotation of length 0" : " has a position that is not finite or a scale that is not positive and finite",
                               ": this is not a .splat file, or it is damaged.");
    }
  }
  return g;
}

}  // namespace mfl::gslrm
