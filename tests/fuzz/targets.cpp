#include "tests/fuzz/targets.h"

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
template <class F>
bool accepted(F&& read) {
  try {
    read();
    return true;
  } catch (const DataError&) {
    return false;
  }
}

}  // namespace

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
