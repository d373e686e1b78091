#include "train/event_writer.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "runtime/log.h"

namespace mfl {
namespace {

// ---- protocol-buffer wire format: a key is (field << 3 | type); types: 0 varint, 1 eight bytes, 2 length and bytes, 5
// four bytes
// -----------------------------------------------------------------------------------------------------------------

void put_varint(std::string& out, std::uint64_t x) {
  for (; x >= 0x80; x >>= 7) out += static_cast<char>(x | 0x80);
  out += static_cast<char>(x);
}
template <class UInt>
void put_little_endian(std::string& out, UInt x) {
  for (std::size_t i = 0; i < sizeof x; ++i) out += static_cast<char>(x >> (8 * i));
}
std::string varint(int field, std::uint64_t x) {
  std::string out;
  put_varint(out, static_cast<std::uint64_t>(field) << 3);
  put_varint(out, x);
  return out;
}
std::string bytes(int field, std::string_view x) {
  std::string out;
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  put_varint(out, x.size());
  return out.append(x);
}
std::string number(int field, double x) {
  std::string out;
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 1);
  put_little_endian(out, std::bit_cast<std::uint64_t>(x));
  return out;
}
std::string number(int field, float x) {
  std::string out;
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 5);
  put_little_endian(out, std::bit_cast<std::uint32_t>(x));
  return out;
}

// ---- messages
// ----------------------------------------------------------------------------------------------------------

// Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
constexpr int kFileVersion = 3, kSummary = 5;
// Summary { repeated Value value = 1 }; Value { string tag = 1; float simple_value = 2; Image image = 4;
//                                               TensorProto tensor = 8; SummaryMetadata metadata = 9 }
std::string summary(std::string_view tag, const std::string& value) {
  return bytes(kSummary, bytes(1, bytes(1, tag) + value));
}

std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t x = i;
    for (int bit = 0; bit < 8; ++bit) x = (x >> 1) ^ ((x & 1) ? 0x82F63B78u : 0u);  // Castagnoli, reflected
    table[i] = x;
  }
  return table;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}
std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "host";
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view s) {
  static const std::array<std::uint32_t, 256> table = crc_table();
  std::uint32_t x = ~0u;
  for (const char c : s) x = table[(x ^ static_cast<std::uint8_t>(c)) & 0xff] ^ (x >> 8);
  return std::rotr(~x, 15) + 0xa282ead8u;
}

EventWriter::EventWriter(const std::filesystem::path& folder)
    : path_(folder / ("events.out.tfevents." + std::to_string(static_cast<std::int64_t>(wall_time())) + "." +
                      host_name() + "." + std::to_string(::getpid()))) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  file_.open(path_, std::ios::binary | std::ios::app);
  writing_ = true;
  event(0, bytes(kFileVersion, "brain.Event:2"));
  flush();
}

void EventWriter::event(std::int64_t step, std::string_view field) {
  if (!writing_) return;
  std::string message = number(1, wall_time());
  if (step != 0) message += varint(2, static_cast<std::uint64_t>(step));
  message += field;
  std::string length, record;
  put_little_endian(length, static_cast<std::uint64_t>(message.size()));
  record = length;
  put_little_endian(record, masked_crc32c(length));
  record += message;
  put_little_endian(record, masked_crc32c(message));
  file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  if (!file_) give_up();
}

void EventWriter::scalar(std::string_view tag, std::int64_t step, double value) {
  event(step, summary(tag, number(2, static_cast<float>(value))));
}

void EventWriter::image(std::string_view tag, std::int64_t step, int width, int height, std::string_view png) {
  // Image { int32 height = 1, width = 2, colorspace = 3 (3: RGB); bytes encoded_image_string = 4 }
  const std::string image = varint(1, static_cast<std::uint64_t>(height)) +
                            varint(2, static_cast<std::uint64_t>(width)) + varint(3, 3) + bytes(4, png);
  event(step, summary(tag, bytes(4, image)));
}

void EventWriter::text(std::string_view tag, std::int64_t step, std::string_view markdown) {
  // TensorProto { dtype = 1 (7: string); TensorShapeProto { Dim { size = 1 } dim = 2 } tensor_shape = 2; string_val = 8
  // }
  const std::string tensor = varint(1, 7) + bytes(2, bytes(2, varint(1, 1))) + bytes(8, markdown);
  // SummaryMetadata { PluginData { string plugin_name = 1 } plugin_data = 1 }
  event(step, summary(tag, bytes(8, tensor) + bytes(9, bytes(1, bytes(1, "text")))));
}

void EventWriter::flush() {
  if (!writing_) return;
  file_.flush();
  if (!file_) give_up();
}

void EventWriter::give_up() {
  writing_ = false;
  log_warning("cannot write the event file ", path_.string(), " (", std::strerror(errno),
              "); training goes on without TensorBoard events.");
}

}  // namespace mfl
