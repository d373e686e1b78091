// Any bytes are either a component's configuration or a DataError. Nothing else may happen.
#include <cstdint>

#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/vae.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mfl::mvdiffusion;
  auto attempt = [&](auto read) {
    try {
      read(JsonConfig::parse({reinterpret_cast<const char*>(data), size}, "fuzz"));
    } catch (const mfl::DataError&) {
    }
  };
  attempt([](const JsonConfig& c) { VaeConfig::read(c); });
  attempt([](const JsonConfig& c) { ClipConfig::read(c); });
  attempt([](const JsonConfig& c) { read_schedule(c); });
  return 0;
}
