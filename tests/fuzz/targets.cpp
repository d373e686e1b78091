// The files of weights, and what all targets share.
#include "tests/fuzz/targets.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "runtime/io/pickle.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"

namespace mfl::fuzz {
namespace {

io::Source source(std::span<const std::byte> bytes) { return io::memory_source({bytes.begin(), bytes.end()}, "input"); }

// Many tensors may share one storage; a few megabytes of them are enough.
void load_all(const std::vector<io::NamedStored>& tensors) {
  std::uint64_t budget = std::uint64_t{4} << 20;
  for (const io::NamedStored& t : tensors) {
    if (t.tensor.bytes() > budget) return;
    budget -= t.tensor.bytes();
    (void)io::load(t.tensor, t.name);
  }
}
}  // namespace

void require(bool promise) {
  if (!promise) std::abort();
}

ScratchFile::ScratchFile(std::span<const std::byte> bytes, const char* extension) {
  const std::filesystem::path memory = "/dev/shm";
  std::error_code error;
  path = ((std::filesystem::exists(memory, error) ? memory : std::filesystem::temp_directory_path()) /
          ("mfl_fuzz_" + std::to_string(getpid()) + extension)).string();
  std::FILE* f = std::fopen(path.c_str(), "wb");
  require(f && std::fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size() && std::fclose(f) == 0);
}
ScratchFile::~ScratchFile() { std::remove(path.c_str()); }

bool safetensors(std::span<const std::byte> bytes) {
  return accepted([&] { load_all(io::SafetensorsFile(source(bytes)).tensors()); });
}
bool torch_file(std::span<const std::byte> bytes) {
  return accepted([&] { load_all(io::tensors_of(io::read_torch_file(source(bytes)))); });
}
bool pickle(std::span<const std::byte> bytes) {
  return accepted([&] { load_all(io::tensors_of(io::unpickle(bytes, "input").value)); });
}

}  // namespace mfl::fuzz
