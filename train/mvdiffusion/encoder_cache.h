// What the frozen encoders say about an image, computed once: moments of the autoencoder (mean and log-variance, so that
// every step still draws its own latents) and the embedding of the image encoder.
//
//   EncoderCache  results by key, in memory and (with a folder) on disk, for this and later runs and for all ranks. The key is
//                 made of the image's content and of everything that was done to its pixels; what no key describes (drawn
//                 colours, drawn backgrounds) has none and is not kept.
//   StepEncoder   one step's images: known results are uploaded, every other distinct image is encoded once.
//
//   <folder>/<encoder>/<first two digits>/<key>.{moments,embedding}   <encoder>: hash of both networks' files and the compute type
//
// Moments are kept in the encoders' compute type, in which they were computed: a cached step has the bits of an uncached one.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/hdf5_file.h"
#include "models/mvdiffusion/pipeline.h"

namespace mfl {

// Of the pixels that the encoders see: the stored image's hash, the side it was resized to and the colour under it.
// Nothing for pixels that were changed in any other way.
data::Hash encoder_key(const data::Hash& pixels, int side, const std::array<float, 3>& background);

class EncoderCache {
 public:
  enum class Part : std::uint8_t { moments, embedding };
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  struct Options {
    std::filesystem::path folder = {};             // empty: memory only
    std::size_t memory_bytes = std::size_t{4} << 30;   // of results held; the oldest go first
  };
  // Hashes the encoders' files: seconds at full size. Throws DataError where the folder cannot be written.
  EncoderCache(const mvdiffusion::Encoders&, Options);

  // Null where it is not known. Any thread: loader workers ask before they decode. Damaged files count as unknown.
  Bytes find(const data::Hash& key, Part);
  // Any thread. A file that cannot be written is one warning.
  void put(const data::Hash& key, Part, Bytes);

  struct Counts {
    std::int64_t hits = 0, misses = 0;             // of find()
  };
  Counts counts() const;
  std::size_t held_bytes() const;

 private:
  struct Entry {
    Bytes bytes;
    std::uint64_t used = 0;
  };
  std::filesystem::path path(const data::Hash& key, Part) const;
  Options options_;
  std::filesystem::path folder_;                   // with the encoders' identity
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> held_;
  std::uint64_t clock_ = 0;
  std::size_t bytes_ = 0;
  Counts counts_;
  bool told_ = false;
};

// One distinct image of a step.
struct StepImage {
  std::optional<data::Hash> key;                   // nothing: encoded, not kept
  bool moments = true, embedding = false;          // what is wanted
  EncoderCache::Bytes known_moments = {}, known_embedding = {};   // from find(), or null
  bool needs_pixels() const { return (moments && !known_moments) || (embedding && !known_embedding); }
};

class StepEncoder {
 public:
  // Encodes at most `chunk` images at a time. `cache` may be null: nothing is kept.
  StepEncoder(const mvdiffusion::Encoders&, EncoderCache* cache, std::int64_t chunk = 8);

  struct Encoded {
    Tensor moments;        // [M, h, w, 2 C] accum type; rows of images that want none are zero
    Tensor embeddings;     // [M, E] accum type, likewise
  };
  // images [M, H, H, 3] accum type in [0, 1], on the device; rows that need no pixels are not read, and the whole may be
  // absent where no row needs any. Images with equal keys are encoded once. `side`: H, of all images.
  Encoded run(Ctx&, std::span<const StepImage>, ConstView images, std::int64_t side);

  std::int64_t encoded() const { return encoded_; }   // images that went through the autoencoder, so far

 private:
  const mvdiffusion::Encoders& encoders_;
  EncoderCache* cache_;
  std::int64_t chunk_, encoded_ = 0;
};

}  // namespace mfl
