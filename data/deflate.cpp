#include "data/deflate.h"

#include <libdeflate.h>

#include <algorithm>
#include <memory>

#include "runtime/error.h"

namespace mfl::data {

std::vector<std::uint8_t> deflate_zlib(std::span<const std::uint8_t> bytes, int level) {
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> c(libdeflate_alloc_compressor(level),
                                                                                       libdeflate_free_compressor);
  if (!c) throw_error<OutOfMemory>("no memory for a deflate compressor of level ", level);
  std::vector<std::uint8_t> out(libdeflate_zlib_compress_bound(c.get(), bytes.size()));
  out.resize(libdeflate_zlib_compress(c.get(), bytes.data(), bytes.size(), out.data(), out.size()));
  return out;
}

bool inflate_zlib(std::span<const std::uint8_t> bytes, std::span<std::uint8_t> out) {
  thread_local const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> d(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!d) throw_error<OutOfMemory>("no memory for a deflate decompressor");
  std::size_t got = 0;
  return libdeflate_zlib_decompress(d.get(), bytes.data(), bytes.size(), out.data(), out.size(), &got) == LIBDEFLATE_SUCCESS &&
         got == out.size();
}

// Sums modulo 65535 in ones' complement: a sum that is not 0 never folds to 0.
std::uint32_t fletcher32(std::span<const std::uint8_t> bytes) {
  const auto fold = [](std::uint64_t v) { return v == 0 ? v : (v - 1) % 65535 + 1; };
  std::uint64_t a = 0, b = 0;
  std::size_t i = 0;
  while (i + 1 < bytes.size()) {
    const std::size_t stop = std::min(bytes.size() - 1, i + 2 * 65536);   // keeps b below 2^50
    for (; i < stop; i += 2) a += static_cast<std::uint64_t>(bytes[i]) << 8 | bytes[i + 1], b += a;
    a = fold(a), b = fold(b);
  }
  if (bytes.size() % 2) a += static_cast<std::uint64_t>(bytes.back()) << 8, b += a;
  return static_cast<std::uint32_t>(fold(b) << 16 | fold(a));
}

}  // namespace mfl::data
