#include "data/vertical_lines.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include "runtime/error.h"
#include "runtime/io/zip.h"

namespace mfl::data {

std::optional<Vec3> read_up_direction(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  const io::ZipReader zip(io::open_file(path));
  const io::ZipEntry* entry = zip.find("up_direction.npy");
  if (!entry) throw_error<DataError>(path, ": holds no array \"up_direction\". Remove the file to estimate the direction from the cameras");
  // Format of .npy: magic, version, length of the header, a Python dictionary as text, the values.
  const std::vector<std::byte> bytes = zip.read(*entry);
  const auto bad = [&](const char* why) { throw_error<DataError>(path, ": up_direction ", why, "; expected 3 values of float32 or float64"); };
  if (bytes.size() < 12 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0) bad("is no numpy array");
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
  const bool wide = byte(6) >= 2;
  const std::size_t start = wide ? 12 : 10, length = wide ? byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24 : byte(8) | byte(9) << 8;
  if (length > bytes.size() - start) bad("is cut short");
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + start, length);
  const bool f64 = header.find("'<f8'") != std::string::npos, f32 = header.find("'<f4'") != std::string::npos;
  const std::size_t values = bytes.size() - start - length;
  if (!f64 && !f32) bad("has another type");
  if (values != (f64 ? 24u : 12u)) bad("has another number of values");
  Vec3 up;
  for (int i = 0; i < 3; ++i) {
    const std::byte* at = bytes.data() + start + length + i * (f64 ? 8 : 4);
    float narrow = 0;
    if (f64)
      std::memcpy(&up[i], at, 8);
    else
      std::memcpy(&narrow, at, 4), up[i] = narrow;
    if (!std::isfinite(up[i])) bad("is not finite");
  }
  if (up == Vec3{}) bad("is zero");
  return up;
}

}  // namespace mfl::data
