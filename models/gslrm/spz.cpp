#include "models/gslrm/spz.h"

#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "models/gslrm/stored_gaussians.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/gzip.h"

namespace mfl::gslrm {
namespace {

constexpr std::uint32_t kMagic = 0x5053474e;  // "NGSP"
constexpr std::size_t kHeader = 16;
constexpr int kMostFractionalBits = 20;
constexpr float kColourScale = 0.15f;
constexpr std::int64_t kFixedEnd = std::int64_t{1} << 23;  // of the 24-bit numbers
constexpr std::uint8_t kAntialiased = 1;

// Right, down, front to right, up, back and back: signs of y and z turn. Of the quaternion x y z; of the SH coefficients above
// the constant one, whose degree in y and z together is odd:
//   y z x   xy yz zz xz xx-yy   y(3xx-yy) xyz y(5zz-1) z(5zz-3) x(5zz-1) z(xx-yy) x(xx-3yy)
constexpr float kFlip[3] = {1, -1, -1};
constexpr float kFlipSh[15] = {-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1};

int step_of(int coefficient) { return coefficient < 3 ? 8 : 16; }  // of 256; coefficient above the constant one
std::uint8_t sh_byte(float x, int step) {
  const int q = static_cast<int>(std::lround(std::clamp(x, -2.0f, 2.0f) * 128)) + 128;
  return static_cast<std::uint8_t>(std::clamp((std::max(q, 0) + step / 2) / step * step, 0, 255));
}

// q: x y z w of length 1.
void pack_first_three(std::string& out, const float* q) {
  const float sign = q[3] < 0 ? -1.0f : 1.0f;
  for (int e = 0; e < 3; ++e) out += static_cast<char>(to_byte(127.5f * sign * q[e] + 127.5f));
}
void unpack_first_three(const std::uint8_t* b, float* q) {
  float square = 0;
  for (int e = 0; e < 3; ++e) q[e] = static_cast<float>(b[e]) / 127.5f - 1, square += q[e] * q[e];
  q[3] = std::sqrt(std::max(0.0f, 1 - square));
}
constexpr std::uint32_t kMagnitudes = 511;
void pack_smallest_three(std::string& out, const float* q) {
  std::uint32_t largest = 0;
  for (std::uint32_t e = 1; e < 4; ++e)
    if (std::abs(q[e]) > std::abs(q[largest])) largest = e;
  std::uint32_t word = largest;
  for (std::uint32_t e = 0; e < 4; ++e) {
    if (e == largest) continue;
    const std::uint32_t negative = (q[e] < 0) != (q[largest] < 0);
    const auto magnitude = static_cast<std::uint32_t>(std::lround(kMagnitudes * std::min(1.0f, std::abs(q[e]) * std::numbers::sqrt2_v<float>)));
    word = word << 10 | negative << 9 | magnitude;
  }
  out.append(reinterpret_cast<const char*>(&word), sizeof word);
}
void unpack_smallest_three(const std::uint8_t* b, float* q) {
  std::uint32_t word;
  std::memcpy(&word, b, sizeof word);
  const int largest = static_cast<int>(word >> 30);
  float square = 0;
  for (int e = 3; e >= 0; --e) {
    if (e == largest) continue;
    const float magnitude = static_cast<float>(word & kMagnitudes) / (static_cast<float>(kMagnitudes) * std::numbers::sqrt2_v<float>);
    q[e] = word >> 9 & 1 ? -magnitude : magnitude;
    square += magnitude * magnitude;
    word >>= 10;
  }
  q[largest] = std::sqrt(std::max(0.0f, 1 - square));
}

template <class... P>
[[noreturn]] void broken(const io::ByteSource& file, const P&... what) {
  throw_error<DataError>(file.name(), ": ", what...);
}

}  // namespace

void write_spz(const std::filesystem::path& path, const Gaussians& g, const SpzOptions& o) {
  check_storable("write_spz", path, g);
  MFL_CHECK(o.version == 2 || o.version == 3, "write_spz: version ", o.version, "; 2 and 3 are written");
  const std::int64_t n = g.xyz.shape()[0], k = g.features.shape()[1];
  if (n > std::int64_t{0xffffffff}) throw_error<DataError>("cannot write ", path.string(), ": ", n, " Gaussians are more than the format can count.");
  const float *xyz = g.xyz.data<float>(), *features = g.features.data<float>(), *rotation = g.rotation.data<float>();
  const float log_modifier = std::log(o.scaling_modifier);

  double extent = 0;
  for (std::int64_t i = 0; i < 3 * n; ++i) extent = std::max(extent, std::abs(double(xyz[i])));
  int bits = kMostFractionalBits;
  while (bits >= 0 && std::nearbyint(std::ldexp(extent, bits)) >= double(kFixedEnd)) --bits;
  if (bits < 0) throw_error<DataError>("cannot write ", path.string(), ": a position of ", extent, " is beyond the format's 24-bit numbers. Leave such Gaussians out with a filter.");

  std::string out;
  out.reserve(kHeader + static_cast<std::size_t>(n) * static_cast<std::size_t>(20 + 3 * (k - 1)));
  const std::uint32_t numbers[3] = {kMagic, static_cast<std::uint32_t>(o.version), static_cast<std::uint32_t>(n)};
  out.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  const int degree = k == 1 ? 0 : k == 4 ? 1 : k == 9 ? 2 : 3;
  for (int b : {degree, bits, o.antialiased ? int{kAntialiased} : 0, 0}) out += static_cast<char>(b);
  for (std::int64_t i = 0; i < 3 * n; ++i) {
    const auto fixed = static_cast<std::uint32_t>(static_cast<std::int32_t>(std::lround(std::ldexp(double(kFlip[i % 3]) * double(xyz[i]), bits))));
    for (int shift : {0, 8, 16}) out += static_cast<char>(fixed >> shift & 255);
  }
  for (std::int64_t i = 0; i < n; ++i) out += static_cast<char>(to_byte(255 * sigmoid(g.opacity.data<float>()[i])));
  for (std::int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) out += static_cast<char>(to_byte(255 * (kColourScale * features[3 * k * i + c] + 0.5f)));
  for (std::int64_t i = 0; i < 3 * n; ++i) out += static_cast<char>(to_byte(16 * (g.scaling.data<float>()[i] + log_modifier + 10)));
  for (std::int64_t i = 0; i < n; ++i) {
    const float* r = rotation + 4 * i;
    const float length = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2] + r[3] * r[3]);
    const float q[4] = {kFlip[0] * r[1] / length, kFlip[1] * r[2] / length, kFlip[2] * r[3] / length, r[0] / length};
    if (o.version == 2)
      pack_first_three(out, q);
    else
      pack_smallest_three(out, q);
  }
  for (std::int64_t i = 0; i < n; ++i)
    for (int j = 0; j < int(k) - 1; ++j)
      for (int c = 0; c < 3; ++c) out += static_cast<char>(sh_byte(kFlipSh[j] * features[3 * (k * i + j + 1) + c], step_of(j)));

  io::AtomicFile file(path);
  file.write(io::gzip(std::as_bytes(std::span(out))));
  file.commit();
}

Gaussians read_spz(const io::Source& file) {
  const std::vector<std::byte> bytes = io::gunzip(*file);
  const auto* in = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::uint32_t numbers[3];
  if (bytes.size() < kHeader) broken(*file, "only ", bytes.size(), " bytes are in it: this is not an .spz file.");
  std::memcpy(numbers, in, sizeof numbers);
  const int degree = in[12], bits = in[13], flags = in[14];
  if (numbers[0] != kMagic) broken(*file, "it does not begin with \"NGSP\": this is not an .spz file.");
  const std::uint32_t version = numbers[1];
  if (version != 2 && version != 3) broken(*file, "version ", version, " is not read; 2 and 3 are. Convert the file.");
  if (degree > 3) broken(*file, "the SH degree is ", degree, "; 0 to 3 are read.");
  if (bits > 23) broken(*file, bits, " fractional bits of 24 are more than the numbers have.");
  if ((flags & ~int{kAntialiased}) != 0) broken(*file, "flags ", flags, " announce extensions, which are not read. Save the file without them.");
  const auto n = static_cast<std::int64_t>(numbers[2]);
  const int k = (degree + 1) * (degree + 1);
  const std::uint64_t each = version == 3 ? 20 : 19, wanted = static_cast<std::uint64_t>(n) * (each + 3 * static_cast<std::uint64_t>(k - 1));
  if (bytes.size() - kHeader != wanted)
    broken(*file, n, " Gaussians of degree ", degree, " are ", wanted, " bytes, but there are ", bytes.size() - kHeader, ": the file is damaged.");

  Gaussians g{Tensor::on_heap({n, 3}, DType::f32), Tensor::on_heap({n, k, 3}, DType::f32), Tensor::on_heap({n, 3}, DType::f32),
              Tensor::on_heap({n, 4}, DType::f32), Tensor::on_heap({n, 1}, DType::f32)};
  in += kHeader;
  for (std::int64_t i = 0; i < 3 * n; ++i, in += 3) {
    const auto raw = static_cast<std::int64_t>(in[0] | in[1] << 8 | in[2] << 16);
    const std::int64_t fixed = raw >= kFixedEnd ? raw - 2 * kFixedEnd : raw;
    g.xyz.data<float>()[i] = kFlip[i % 3] * static_cast<float>(std::ldexp(double(fixed), -bits));
  }
  for (std::int64_t i = 0; i < n; ++i) g.opacity.data<float>()[i] = logit_of_byte(*in++);
  float* features = g.features.data<float>();
  for (std::int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) features[3 * k * i + c] = (static_cast<float>(*in++) / 255.0f - 0.5f) / kColourScale;
  for (std::int64_t i = 0; i < 3 * n; ++i) g.scaling.data<float>()[i] = static_cast<float>(*in++) / 16.0f - 10;
  for (std::int64_t i = 0; i < n; ++i, in += version == 3 ? 4 : 3) {
    float q[4];
    if (version == 3)
      unpack_smallest_three(in, q);
    else
      unpack_first_three(in, q);
    float* r = g.rotation.data<float>() + 4 * i;
    r[0] = q[3];
    for (int e = 0; e < 3; ++e) r[1 + e] = kFlip[e] * q[e];
  }
  for (std::int64_t i = 0; i < n; ++i)
    for (int j = 0; j < k - 1; ++j)
      for (int c = 0; c < 3; ++c) features[3 * (k * i + j + 1) + c] = kFlipSh[j] * (static_cast<float>(*in++) - 128) / 128.0f;
  return g;
}

}  // namespace mfl::gslrm
