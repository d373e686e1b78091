#include "runtime/io/gzip.h"

#include <libdeflate.h>

#include <cstring>
#include <limits>

#include "runtime/error.h"

namespace mfl::io {
namespace {

constexpr int kLevel = 6;
constexpr std::uint64_t kMaxRatio = 1032;  // no deflate stream unpacks to more than so many times its size
constexpr std::size_t kFixed = 18;         // header and trailer

}  // namespace

std::vector<std::byte> gzip(std::span<const std::byte> bytes) {
  MFL_CHECK(bytes.size() <= std::numeric_limits<std::uint32_t>::max(), "gzip: ", bytes.size(), " bytes; one member holds 4 GiB");
  struct Compressor {
    libdeflate_compressor* it = libdeflate_alloc_compressor(kLevel);
    ~Compressor() { libdeflate_free_compressor(it); }
  } compressor;
  MFL_CHECK(compressor.it, "gzip: no memory for the compressor");
  std::vector<std::byte> out(libdeflate_gzip_compress_bound(compressor.it, bytes.size()));
  out.resize(libdeflate_gzip_compress(compressor.it, bytes.data(), bytes.size(), out.data(), out.size()));
  MFL_CHECK(!out.empty(), "gzip: ", bytes.size(), " bytes did not fit their bound");
  return out;
}

std::vector<std::byte> gunzip(const ByteSource& file) {
  const std::vector<std::byte> in = file.read(0, file.size());
  if (in.size() < kFixed || in[0] != std::byte{0x1f} || in[1] != std::byte{0x8b})
    throw_error<DataError>(file.name(), ": this is not a gzip file, or it is truncated.");
  std::uint32_t size;
  std::memcpy(&size, in.data() + in.size() - sizeof size, sizeof size);
  if (size > in.size() * kMaxRatio)
    throw_error<DataError>(file.name(), ": ", in.size(), " packed bytes cannot hold the ", size, " that its end promises: the file is truncated or damaged.");
  struct Decompressor {
    libdeflate_decompressor* it = libdeflate_alloc_decompressor();
    ~Decompressor() { libdeflate_free_decompressor(it); }
  } decompressor;
  MFL_CHECK(decompressor.it, "gunzip: no memory for the decompressor");
  std::vector<std::byte> out(size);
  std::byte nothing;
  std::size_t read = 0, made = 0;
  const auto result = libdeflate_gzip_decompress_ex(decompressor.it, in.data(), in.size(), size == 0 ? &nothing : out.data(), out.size(), &read, &made);
  if (result != LIBDEFLATE_SUCCESS || made != out.size() || read != in.size())
    throw_error<DataError>(file.name(), ": the gzip stream is damaged or truncated. Copy or download the file again.");
  return out;
}

}  // namespace mfl::io
