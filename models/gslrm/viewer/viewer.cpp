#include "models/gslrm/viewer/viewer.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>

#include "models/gslrm/viewer/pack.h"
#include "models/gslrm/viewer/page.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/base64.h"

static_assert(std::endian::native == std::endian::little, "the page reads words as they lie in memory");

namespace mfl::gslrm {
namespace {

// JSON that may stand inside a script element: no "<" ends it early.
std::string json_string(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || c == '"' || c == '\\' || c == '<' || u == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", u);
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}
std::string number(float x) {
  if (!std::isfinite(x)) return "null";
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, x).ptr};
}
std::string numbers(std::span<const float> x) {
  std::string out = "[";
  for (std::size_t i = 0; i < x.size(); ++i) out += (i ? "," : "") + number(x[i]);
  return out + "]";
}

std::string description(const PackedGaussians& p, const Cameras& cameras, const ViewerOptions& o) {
  const std::int64_t views = cameras.c2w ? cameras.c2w.shape()[0] : 0;
  std::string json = text("{\"title\":", json_string(o.title), ",\"count\":", p.count, ",\"degree\":", p.degree,
                          ",\"position\":{\"low\":", numbers(p.position_low), ",\"step\":", numbers(p.position_step),
                          "},\"scale\":{\"low\":", number(p.scale_low), ",\"step\":", number(p.scale_step),
                          "},\"colour\":{\"low\":", number(p.colour_low), ",\"step\":", number(p.colour_step),
                          "},\"rest_largest\":", numbers(p.rest_largest), ",\"background\":", numbers(o.background),
                          ",\"up\":", numbers(o.up), ",\"cameras\":[");
  for (std::int64_t i = 0; i < views; ++i) {
    const auto at = static_cast<std::size_t>(i);
    json += text(i ? "," : "",
                 "{\"name\":", json_string(at < o.camera_names.size() ? o.camera_names[at] : text("camera ", i + 1)),
                 ",\"width\":", cameras.width, ",\"height\":", cameras.height,
                 ",\"c2w\":", numbers({cameras.c2w.data<float>() + 16 * i, 16}),
                 ",\"k\":", numbers({cameras.fxfycxcy.data<float>() + 4 * i, 4}), "}");
  }
  return json + "]}";
}

// An element of the page that holds bytes.
template <class T>
void put(io::AtomicFile& file, std::string_view id, const std::vector<T>& values) {
  file.write(text("<script type=\"text/plain\" id=\"", id, "\">"));
  const auto bytes = std::as_bytes(std::span(values));
  constexpr std::size_t kPiece = 3 << 18;  // a multiple of 3: pieces join without padding between them
  for (std::size_t i = 0; i < bytes.size(); i += kPiece)
    file.write(io::base64(bytes.subspan(i, std::min(kPiece, bytes.size() - i))));
  file.write("</script>\n");
}

}  // namespace

void write_viewer(const std::filesystem::path& path, const Gaussians& g, const Cameras& cameras,
                  const ViewerOptions& o) {
  const PackedGaussians p = pack_gaussians(g, o.scaling_modifier);
  io::AtomicFile file(path);
  file.write(kViewerPageHead);
  file.write(text("<script type=\"application/json\" id=\"scene\">", description(p, cameras, o), "</script>\n"));
  put(file, "core", p.core);
  put(file, "colour", p.colour);
  put(file, "rest", p.rest);
  file.write(kViewerPageTail);
  file.commit();
}

}  // namespace mfl::gslrm
