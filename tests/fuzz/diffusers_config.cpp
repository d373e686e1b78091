// Any bytes are either a component's configuration or a DataError.
#include "tests/fuzz/targets.h"

#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/vae.h"

namespace mfl::fuzz {

bool diffusers_config(std::span<const std::byte> bytes) {
  using namespace mvdiffusion;
  const auto reads = [&](auto read) {
    return accepted([&] { read(JsonConfig::parse(text_of(bytes), "fuzz")); });
  };
  const bool vae = reads([](const JsonConfig& c) { VaeConfig::read(c); });
  const bool clip = reads([](const JsonConfig& c) { ClipConfig::read(c); });
  const bool schedule = reads([](const JsonConfig& c) { read_schedule(c); });
  return vae || clip || schedule;
}

}  // namespace mfl::fuzz
