// What the frozen encoders say about an image, computed once: moments of the autoencoder (mean and log-variance, so that
// every step still draws its own latents) and the embedding of the image encoder.
//
//   EncoderCache  results by key, in memory and (with a folder) on disk, for this and later runs and for all ranks. The key is
//                 made of the image's content and of everything that was done to its pixels; what no key describes (drawn
//                 colours, drawn backgrounds) has none and is not kept.
//   StepEncoder   one step's images: known results are uploaded, every other distinct image is encoded once.
//
//   <folder>/<encoders>/<first two digits>/<key>.{moments,embedding}   <encoders>: hash of both networks' files, compute type
//   Each file is the result and its SHA-256.
//
// Moments are kept in the encoders' compute type, in which they were computed: a cached step has the bits of an uncached one.
#pragma once

#include <array>
#include <filesystem>
#include <list>
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
    std::string name;
    Bytes bytes;
  };
  std::filesystem::path path(const std::string& name) const;
  Bytes held(const std::string& name);                       // null where it is not; under the lock
  void hold(const std::string& name, Bytes);
  Options options_;
  std::filesystem::path folder_;                             // of these encoders; empty: memory only
  mutable std::mutex mutex_;
  std::list<Entry> order_;                                   // used last first
  std::unordered_map<std::string, std::list<Entry>::iterator> where_;
  std::size_t bytes_ = 0;
  Counts counts_;
  bool told_ = false;
};

// One distinct image of a step.
struct StepImage {
  std::optional<data::Hash> key = {};              // nothing: encoded, not kept
  bool moments = true, embedding = false;          // what is wanted
  EncoderCache::Bytes known_moments = {}, known_embedding = {};   // from find(), or null
  bool needs_pixels() const { return (moments && !known_moments) || (embedding && !known_embedding); }
};

class StepEncoder {
 public:
  // Encodes at most `chunk` images at a time. `cache` may be null: nothing is kept. On meta every image counts as unknown.
  StepEncoder(const mvdiffusion::Encoders&, EncoderCache* cache, std::int64_t chunk = 8);
  ~StepEncoder();   // keep()
  StepEncoder(const StepEncoder&) = delete;
  StepEncoder& operator=(const StepEncoder&) = delete;

  struct Encoded {
    Tensor moments;        // [M, h, w, 2 C] accum type; rows of images that want none are zero
    Tensor embeddings;     // [M, E] accum type, likewise
  };
  // images [M, H, H, 3] accum type in [0, 1], on the device; rows that need no pixels are not read, and the whole may be
  // absent where no row needs any. Images with equal keys are encoded once. `side`: H, of all images.
  // New results are on their way to the host when it returns; the next run(), or keep(), gives them to the cache, so that no step
  // waits for its own.
  Encoded run(Ctx&, std::span<const StepImage>, ConstView images, std::int64_t side);
  // Gives the cache what the last run() has encoded. Waits for it.
  void keep();

  std::int64_t encoded() const { return encoded_; }   // images that went through the autoencoder, so far

 private:
  using Part = EncoderCache::Part;
  using Bytes = EncoderCache::Bytes;
  void fill(Ctx&, std::span<const StepImage>, Part, ConstView images, View out);

  const mvdiffusion::Encoders& encoders_;
  EncoderCache* cache_;
  std::int64_t chunk_, encoded_ = 0;
  // Pinned memory for known results on their way to the device; one a part, so that the host waits for a copy of the last
  // step only.
  struct Staging {
    Tensor memory;
    std::optional<Event> uploaded;
  };
  std::array<Staging, 2> staging_;
  // Results of the last run on their way back, one a part: row r of `memory` is the result of keys[r].
  struct Readback {
    Tensor memory;
    std::optional<Event> copied;
    std::vector<std::optional<data::Hash>> keys;
    std::size_t row_bytes = 0;
  };
  std::array<Readback, 2> readback_;
};

}  // namespace mfl
