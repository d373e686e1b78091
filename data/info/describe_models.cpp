#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "data/info/describe.h"
#include "data/number_text.h"
#include "models/gslrm/ply.h"
#include "runtime/error.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"

namespace mfl::data::info {
namespace {

// The part of a name before its first dot.
std::string group_of(const std::string& name) { return name.substr(0, name.find('.')); }

}  // namespace

std::string describe_weights(const std::string& path) {
  const io::WeightFile file = io::open_weights(path);
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> types;
  std::map<std::string, std::array<std::int64_t, 2>> groups;  // tensors, elements
  for (const io::NamedStored& t : file.tensors) {
    elements += t.tensor.numel(), bytes += t.tensor.bytes();
    types[io::name_of(t.tensor.type())] += t.tensor.numel();
    auto& g = groups[group_of(t.name)];
    ++g[0], g[1] += t.tensor.numel();
  }
  std::string out =
      text(path, ": ", file.format, ", ", file.tensors.size(), " tensors, ",
           format("%.2f M numbers, %.1f MB\n", static_cast<double>(elements) / 1e6, static_cast<double>(bytes) / 1e6));
  out += "  types        ";
  for (const auto& [type, count] : types) out += text(type, ' ', format("%.2f M  ", static_cast<double>(count) / 1e6));
  out += '\n';
  if (file.format == "torch") {
    const io::Value root = io::read_torch_file(path);
    if (root.is_dict())
      for (const auto& [key, value] : root.entries()) {
        if (key.kind() != io::Value::Kind::string) continue;
        if (value.kind() == io::Value::Kind::integer)
          out += format("  %-28.28s %lld\n", key.string().c_str(), static_cast<long long>(value.integer()));
        else if (value.kind() == io::Value::Kind::real)
          out += format("  %-28.28s %g\n", key.string().c_str(), value.number());
        else if (value.kind() == io::Value::Kind::string)
          out += format("  %-28.28s %.120s\n", key.string().c_str(), value.string().c_str());
        else if (value.is_dict())
          out += format("  %-28.28s a table of %zu entries\n", key.string().c_str(), value.entries().size());
      }
  } else if (file.format == "safetensors") {
    const io::SafetensorsFile stored{std::filesystem::path(path)};
    for (const auto& [key, value] : stored.metadata()) out += format("  %-28.28s %.120s\n", key.c_str(), value.c_str());
  }
  out += "  begins with               tensors   M numbers\n";
  int shown = 0;
  for (const auto& [name, g] : groups) {
    if (++shown > 16) break;
    out += format("  %-24.24s %8lld  %10.3f\n", name.c_str(), static_cast<long long>(g[0]),
                  static_cast<double>(g[1]) / 1e6);
  }
  if (groups.size() > 16)
    out += text("  and ", groups.size() - 16, " more; mfl_convert list shows all\n");
  else if (!file.tensors.empty())
    out += text("  the first: ", file.tensors[0].name, "; mfl_convert list shows all\n");
  return out;
}

std::string describe_gaussians(const std::string& path) {
  const gslrm::Gaussians g = gslrm::read_ply(std::filesystem::path(path));
  const std::int64_t n = g.xyz.shape()[0];
  const float *xyz = g.xyz.data<float>(), *opacity = g.opacity.data<float>(),
              *scaling = g.scaling.data<float>();
  std::string out =
      text(path, ": ", n, " Gaussians, spherical harmonics of degree ",
           static_cast<int>(std::lround(std::sqrt(static_cast<double>(g.features.shape()[1])))) - 1, '\n');
  if (n == 0) return out;
  std::array<double, 3> least{1e300, 1e300, 1e300}, most{-1e300, -1e300, -1e300};
  std::int64_t faint = 0, visible = 0, strong = 0;
  std::vector<double> sizes;
  for (std::int64_t i = 0; i < n; ++i) {
    const double o = 1 / (1 + std::exp(-static_cast<double>(opacity[i])));
    faint += o < 0.01, visible += o >= 0.01, strong += o >= 0.1;
    if (o < 0.01) continue;
    for (std::size_t k = 0; k < 3; ++k) {
      const double v = xyz[3 * i + static_cast<std::int64_t>(k)];
      least[k] = std::min(least[k], v), most[k] = std::max(most[k], v);
    }
    sizes.push_back(std::exp(static_cast<double>(std::max({scaling[3 * i], scaling[3 * i + 1], scaling[3 * i + 2]}))));
  }
  const auto share = [&](std::int64_t k) { return 100.0 * static_cast<double>(k) / static_cast<double>(n); };
  out += format("  opacity      below 0.01: %lld (%.1f %%), from 0.01: %lld (%.1f %%), from 0.1: %lld (%.1f %%)\n",
                static_cast<long long>(faint), share(faint), static_cast<long long>(visible), share(visible),
                static_cast<long long>(strong), share(strong));
  if (sizes.empty()) return out;
  std::sort(sizes.begin(), sizes.end());
  out += format("  visible box  x %.3f to %.3f, y %.3f to %.3f, z %.3f to %.3f\n", least[0], most[0], least[1], most[1],
                least[2], most[2]);
  out += format("  largest axis median %.4f, 90 %% below %.4f, largest %.4f\n", sizes[sizes.size() / 2],
                sizes[sizes.size() * 9 / 10], sizes.back());
  return out;
}

}  // namespace mfl::data::info
