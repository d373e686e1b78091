// TensorBoard event files: scalars, images and texts. `wandb sync` reads them too.
//
// A file is a sequence of records: length (u64), masked CRC-32C of it, an Event message, masked CRC-32C of that; all
// little-endian. The few protocol-buffer messages are encoded by hand.
// Source: tensorflow/core/lib/io/record_writer, tensorflow/core/util/event.proto, framework/summary.proto.
//
// Logging never stops training: a folder that cannot be written is one warning, and nothing more is written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace mfl {

class EventWriter {
 public:
  // Starts a new file events.out.tfevents.<time>.<host>.<process> in the folder, which is made if missing. A resumed
  // run adds a file of its own; readers join them.
  explicit EventWriter(const std::filesystem::path& folder);
  EventWriter() = default;  // writes nothing: every rank but the first

  void scalar(std::string_view tag, std::int64_t step, double value);
  void image(std::string_view tag, std::int64_t step, int width, int height, std::string_view png);
  void text(std::string_view tag, std::int64_t step, std::string_view markdown);
  void flush();
  const std::filesystem::path& path() const { return path_; }
  bool writing() const { return writing_; }

 private:
  void event(std::int64_t step, std::string_view field);
  void give_up();
  std::filesystem::path path_;
  std::ofstream file_;
  bool writing_ = false;
};

// CRC-32C (Castagnoli), as records store it: rotated right by 15 bits and offset. Exposed for tests.
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace mfl
