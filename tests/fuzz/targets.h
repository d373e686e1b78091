// What the fuzzers and the replay test feed with bytes: one reader of foreign bytes each. A DataError (of a configuration a
// ConfigError) is the right answer to damage; anything else that leaves a target is a bug.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "runtime/error.h"
#include "runtime/io/byte_source.h"

namespace mfl::fuzz {

// Each reads the whole of what it is given, and returns true if the bytes were accepted.
bool diffusers_config(std::span<const std::byte>);
bool event_file(std::span<const std::byte>);
bool gslrm_config(std::span<const std::byte>);
bool image_file(std::span<const std::byte>);
bool mat_file(std::span<const std::byte>);
bool new_cam(std::span<const std::byte>);
bool opencv_cameras(std::span<const std::byte>);
bool packed_file(std::span<const std::byte>);
bool pickle(std::span<const std::byte>);
bool ply(std::span<const std::byte>);
bool safetensors(std::span<const std::byte>);
bool sample_files(std::span<const std::byte>);
bool splat_file(std::span<const std::byte>);
bool spz(std::span<const std::byte>);
bool torch_file(std::span<const std::byte>);
bool vertical_lines(std::span<const std::byte>);
bool video(std::span<const std::byte>);

// ---- for the targets ----

// True unless `read` refuses with the error that it should.
template <class Refusal = DataError, class F>
bool accepted(F&& read) {
  try {
    read();
    return true;
  } catch (const Refusal&) {
    return false;
  }
}
// What every reader promises of what it accepts; aborts.
void require(bool promise);
inline std::string_view text_of(std::span<const std::byte> b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

// The bytes as a file, for readers that want one.
struct ScratchFile {
  ScratchFile(std::span<const std::byte>, const char* extension);
  ~ScratchFile();
  std::string path;
};

}  // namespace mfl::fuzz
