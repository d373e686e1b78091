// libFuzzer's entry; MFL_FUZZ_TARGET names the function.
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mfl::fuzz::MFL_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
  return 0;
}
