#include "models/gslrm/ply.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

#include "runtime/io/atomic_file.h"

static_assert(std::endian::native == std::endian::little, "PLY files are written as they lie in memory");

namespace mfl::gslrm {
namespace {

constexpr int kViewerRest = 45;  // 3 channels x 15 coefficients above the constant one
constexpr float kC0 = 0.28209479177387814f;
constexpr std::int64_t kBatch = 8192;  // vertices handled at a time

std::uint8_t colour(float dc) {
  return static_cast<std::uint8_t>(std::clamp(255.0f * (kC0 * dc + 0.5f), 0.0f, 255.0f));
}

// ---- reading
// -----------------------------------------------------------------------------------------------------------

enum class Type { i8, u8, i16, u16, i32, u32, f32, f64 };
struct Property {
  Type type;
  std::size_t offset;  // bytes within a vertex
};
struct Header {
  std::int64_t vertices = 0;
  std::size_t begin = 0, stride = 0;  // bytes
  std::map<std::string, Property> properties;
};

std::size_t size_of(Type t) {
  switch (t) {
    case Type::i8:
    case Type::u8:
      return 1;
    case Type::i16:
    case Type::u16:
      return 2;
    case Type::i32:
    case Type::u32:
    case Type::f32:
      return 4;
    case Type::f64:
      return 8;
  }
  return 0;
}

template <class T>
float load_as(const std::byte* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return static_cast<float>(x);
}
float load(const std::byte* p, Type t) {
  switch (t) {
    case Type::i8:
      return load_as<std::int8_t>(p);
    case Type::u8:
      return load_as<std::uint8_t>(p);
    case Type::i16:
      return load_as<std::int16_t>(p);
    case Type::u16:
      return load_as<std::uint16_t>(p);
    case Type::i32:
      return load_as<std::int32_t>(p);
    case Type::u32:
      return load_as<std::uint32_t>(p);
    case Type::f32:
      return load_as<float>(p);
    case Type::f64:
      return load_as<double>(p);
  }
  return 0;
}

template <class... P>
[[noreturn]] void broken(const io::ByteSource& file, const P&... what) {
  throw_error<DataError>(file.name(), ": ", what...);
}

Header parse_header(const io::ByteSource& file) {
  static const std::map<std::string, Type> kTypes = {
      {"char", Type::i8},   {"int8", Type::i8},     {"uchar", Type::u8},   {"uint8", Type::u8},
      {"short", Type::i16}, {"int16", Type::i16},   {"ushort", Type::u16}, {"uint16", Type::u16},
      {"int", Type::i32},   {"int32", Type::i32},   {"uint", Type::u32},   {"uint32", Type::u32},
      {"float", Type::f32}, {"float32", Type::f32}, {"double", Type::f64}, {"float64", Type::f64}};
  constexpr std::size_t kLongest = 64 * 1024;
  const auto bytes = io::head(file, kLongest);
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  constexpr std::string_view kEnd = "end_header\n";
  const std::size_t end = all.find(kEnd);
  if (!all.starts_with("ply\n") || end == std::string_view::npos)
    broken(file, "this is not a PLY file: expected a header from \"ply\" to \"end_header\".");

  Header h;
  h.begin = end + kEnd.size();
  std::istringstream lines{std::string(all.substr(0, end))};
  bool in_vertex = false, format = false;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word, type, name;
    words >> word;
    if (word == "format") {
      words >> type;
      if (type != "binary_little_endian") broken(file, "the format is ", type, "; only binary_little_endian is read.");
      format = true;
    } else if (word == "element") {
      words >> name;
      if (in_vertex || name != "vertex")
        broken(file, "element ", name, " is not read; a file of Gaussians has one element, vertex.");
      if (!(words >> h.vertices) || h.vertices < 0)
        broken(file, "the number of vertices cannot be read from \"", line, "\".");
      in_vertex = true;
    } else if (word == "property") {
      words >> type >> name;
      const auto it = kTypes.find(type);
      if (it == kTypes.end() || name.empty())
        broken(file, "\"", line, "\" is not read; a property is a number with a name.");
      h.properties[name] = {it->second, h.stride};
      h.stride += size_of(it->second);
    }
  }
  if (!format || !in_vertex) broken(file, "the header names no format or no vertices.");
  if (h.stride == 0 || static_cast<std::uint64_t>(h.vertices) > (file.size() - h.begin) / h.stride)
    broken(file, h.vertices, " vertices of ", h.stride, " bytes are promised, but only ", file.size() - h.begin,
           " bytes follow: the file is truncated.");
  return h;
}

std::vector<Property> properties(const io::ByteSource& file, const Header& h, const std::vector<std::string>& names) {
  std::vector<Property> found;
  for (const std::string& n : names) {
    const auto it = h.properties.find(n);
    if (it == h.properties.end())
      broken(file, "property ", n,
             " is missing; this is not a file of Gaussians (x y z f_dc_* f_rest_* opacity scale_* rot_*).");
    found.push_back(it->second);
  }
  return found;
}
std::vector<std::string> numbered(const std::string& stem, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(stem + std::to_string(i));
  return names;
}

}  // namespace

void write_ply(const std::filesystem::path& path, const Gaussians& g, const PlyOptions& options) {
  const std::int64_t n = g.xyz.shape()[0], coefficients = g.features.shape()[1];
  MFL_CHECK(g.xyz.shape() == Shape({n, 3}) && g.features.shape() == Shape({n, coefficients, 3}) &&
                g.scaling.shape() == Shape({n, 3}) && g.rotation.shape() == Shape({n, 4}) &&
                g.opacity.shape() == Shape({n, 1}),
            "write_ply: xyz ", g.xyz.shape(), ", features ", g.features.shape(), ", scaling ", g.scaling.shape(),
            ", rotation ", g.rotation.shape(), ", opacity ", g.opacity.shape());
  MFL_CHECK(coefficients == 1 || coefficients == 4 || coefficients == 9 || coefficients == 16,
            "write_ply: ", coefficients, " SH coefficients");
  const int higher = static_cast<int>(coefficients) - 1;
  const int rest = options.viewer ? kViewerRest : 3 * higher;

  std::string header = text("ply\nformat binary_little_endian 1.0\nelement vertex ", n, '\n');
  for (const char* name : {"x", "y", "z"}) header += text("property float ", name, '\n');
  const bool inria = options.layout == PlyLayout::inria;
  if (inria)
    for (const char* name : {"nx", "ny", "nz"}) header += text("property float ", name, '\n');
  else
    for (const char* name : {"red", "green", "blue"}) header += text("property uchar ", name, '\n');
  for (int i = 0; i < 3; ++i) header += text("property float f_dc_", i, '\n');
  for (int i = 0; i < rest; ++i) header += text("property float f_rest_", i, '\n');
  header += "property float opacity\n";
  for (int i = 0; i < 3; ++i) header += text("property float scale_", i, '\n');
  for (int i = 0; i < 4; ++i) header += text("property float rot_", i, '\n');
  header += "end_header\n";

  io::AtomicFile file(path);
  file.write(header);
  const float *xyz = g.xyz.data<float>(), *features = g.features.data<float>(), *scaling = g.scaling.data<float>();
  const float *rotation = g.rotation.data<float>(), *opacity = g.opacity.data<float>();
  const float log_modifier = std::log(options.scaling_modifier);
  std::string out;
  const auto put = [&](float x) { out.append(reinterpret_cast<const char*>(&x), sizeof x); };
  std::vector<float> f_rest(static_cast<std::size_t>(rest));
  for (std::int64_t i = 0; i < n; ++i) {
    const float* f = features + i * coefficients * 3;
    for (int k = 0; k < 3; ++k) put(xyz[3 * i + k]);
    if (inria)
      for (int k = 0; k < 3; ++k) put(0);
    else
      for (int c = 0; c < 3; ++c) out += static_cast<char>(colour(f[c]));
    for (int c = 0; c < 3; ++c) put(f[c]);
    for (int c = 0; c < 3; ++c)
      for (int k = 0; k < higher; ++k) f_rest[static_cast<std::size_t>(c * (rest / 3) + k)] = f[3 * (k + 1) + c];
    out.append(reinterpret_cast<const char*>(f_rest.data()), f_rest.size() * sizeof(float));
    put(opacity[i]);
    for (int k = 0; k < 3; ++k) put(scaling[3 * i + k] + log_modifier);
    for (int k = 0; k < 4; ++k) put(rotation[4 * i + k]);
    if (i % kBatch == kBatch - 1) {
      file.write(out);
      out.clear();
    }
  }
  file.write(out);
  file.commit();
}

Gaussians read_ply(const io::Source& file) {
  const Header h = parse_header(*file);
  int rest = 0;
  while (h.properties.count("f_rest_" + std::to_string(rest))) ++rest;
  if (rest != 0 && rest != 9 && rest != 24 && rest != kViewerRest)
    broken(*file, rest, " f_rest properties; degrees 0 to 3 have 0, 9, 24 or 45.");
  const int stored = rest / 3;  // coefficients above the constant one

  const std::int64_t n = h.vertices;
  const auto block = [&](const std::vector<std::string>& names, Shape shape) {
    return std::pair{properties(*file, h, names), Tensor::on_heap(shape, DType::f32)};
  };
  auto [p_xyz, xyz] = block({"x", "y", "z"}, {n, 3});
  auto [p_dc, dc] = block(numbered("f_dc_", 3), {n, 3});
  auto [p_rest, higher] = block(numbered("f_rest_", rest), {n, rest});
  auto [p_opacity, opacity] = block({"opacity"}, {n, 1});
  auto [p_scale, scaling] = block(numbered("scale_", 3), {n, 3});
  auto [p_rot, rotation] = block(numbered("rot_", 4), {n, 4});

  const std::pair<const std::vector<Property>*, const Tensor*> all[] = {{&p_xyz, &xyz},       {&p_dc, &dc},
                                                                        {&p_rest, &higher},   {&p_opacity, &opacity},
                                                                        {&p_scale, &scaling}, {&p_rot, &rotation}};
  for (std::int64_t first = 0; first < n; first += kBatch) {
    const std::int64_t count = std::min(kBatch, n - first);
    const auto bytes = file->read(h.begin + static_cast<std::uint64_t>(first) * h.stride,
                                  static_cast<std::uint64_t>(count) * h.stride);
    for (const auto& [p, t] : all) {
      float* to = t->data<float>() + first * static_cast<std::int64_t>(p->size());
      for (std::int64_t i = 0; i < count; ++i)
        for (const Property& q : *p)
          *to++ = load(bytes.data() + static_cast<std::size_t>(i) * h.stride + q.offset, q.type);
    }
  }

  // The smallest degree that holds every non-zero coefficient: 0, 3, 8 or 15 above the constant one.
  int used = 0;
  const float* r = higher.data<float>();
  for (std::int64_t i = 0; i < n; ++i)
    for (int j = 0; j < rest; ++j)
      if (r[i * rest + j] != 0) used = std::max(used, j % stored + 1);
  const int above = used == 0 ? 0 : used <= 3 ? 3 : used <= 8 ? 8 : 15;

  Tensor features = Tensor::on_heap({n, above + 1, 3}, DType::f32);
  float* f = features.data<float>();
  for (std::int64_t i = 0; i < n; ++i)
    for (int k = 0; k <= above; ++k)
      for (int c = 0; c < 3; ++c) *f++ = k == 0 ? dc.data<float>()[3 * i + c] : r[i * rest + c * stored + k - 1];
  return {xyz, features, scaling, rotation, opacity};
}

}  // namespace mfl::gslrm
