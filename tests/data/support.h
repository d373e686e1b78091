// Shared by the tests of data/: temporary folders, golden values, small samples.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "data/scenes.h"
#include "data/sha256.h"

namespace mfl::data::test {

namespace fs = std::filesystem;

class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "mfl_data_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

inline nlohmann::json golden() {
  std::ifstream in(std::string(MFL_SOURCE_DIR) + "/tests/golden/data/data.json");
  return nlohmann::json::parse(in);
}

inline std::string sha(const Image& im) { return hex(Sha256().add(im.pixels.data(), im.pixels.size()).finish()); }

// The image that tests/golden/data/make_data.py describes.
inline Image formula_image(int width, int height, int channels) {
  Image im(width, height, channels);
  for (std::size_t i = 0; i < im.pixels.size(); ++i) {
    std::uint32_t x = static_cast<std::uint32_t>(i) * 2654435761u + 12345u;
    x ^= x >> 15;
    x *= 2246822519u;
    std::uint8_t v = static_cast<std::uint8_t>(x >> 24);
    if (channels == 4 && i % 4 == 3) v = v < 64 ? 0 : v > 192 ? 255 : v;
    im.pixels[i] = v;
  }
  return im;
}

// A packed file of `samples` procedural scenes.
inline std::string make_file(const TempFolder& folder, int samples, int views = 4, int size = 16, const std::string& name = "scenes.h5") {
  SceneOptions o;
  o.views = views, o.image_size = size;
  PackInfo info;
  info.width = info.height = size, info.samples = samples, info.max_views = views;
  const std::string path = folder / name;
  ViewWriter writer(path, info, false);
  for (int i = 0; i < samples; ++i) writer.add(make_scene(o, i));
  writer.finish();
  return path;
}

// The text of the DataError that `f` throws.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const DataError& e) {
    return e.what();
  } catch (const std::exception& e) {
    return std::string("another exception: ") + e.what();
  }
  return "no exception";
}

inline ::testing::AssertionResult mentions(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) return ::testing::AssertionFailure() << "\"" << text << "\" does not mention \"" << part << '"';
  return ::testing::AssertionSuccess();
}

}  // namespace mfl::data::test
