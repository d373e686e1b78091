#include "train/mvdiffusion/encoder_cache.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>

#include "data/sha256.h"
#include "kernels/elementwise/cast.h"
#include "runtime/io/byte_source.h"
#include "runtime/log.h"
#include "runtime/profile.h"

namespace mfl {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kHashBytes = 32;

// Of a file: the hash of the hashes of its pieces, which are taken in parallel.
data::Hash file_hash(const fs::path& path) {
  constexpr std::uint64_t kPiece = std::uint64_t{16} << 20;
  const io::Source file = io::open_file(path);
  const auto pieces = static_cast<std::int64_t>((file->size() + kPiece - 1) / kPiece);
  std::vector<data::Hash> hashes(static_cast<std::size_t>(pieces));
  std::string failure;
#pragma omp parallel for
  for (std::int64_t i = 0; i < pieces; ++i) try {
      const std::uint64_t first = static_cast<std::uint64_t>(i) * kPiece;
      const std::vector<std::byte> bytes = file->read(first, std::min(kPiece, file->size() - first));
      hashes[static_cast<std::size_t>(i)] = data::Sha256().add(bytes.data(), bytes.size()).finish();
    } catch (const std::exception& e) {
#pragma omp critical
      failure = e.what();
    }
  if (!failure.empty()) throw_error<DataError>(failure);
  data::Sha256 all;
  for (const data::Hash& h : hashes) all.add(h.data(), h.size());
  return all.finish();
}

std::string name_of(const data::Hash& key, EncoderCache::Part part) {
  return data::hex(key) + (part == EncoderCache::Part::moments ? ".moments" : ".embedding");
}

}  // namespace

data::Hash encoder_key(const data::Hash& pixels, int side, const std::array<float, 3>& background) {
  data::Sha256 key;
  key.add("pixels 1").add(pixels.data(), pixels.size()).add(&side, sizeof side).add(background.data(), sizeof background);
  return key.finish();
}

EncoderCache::EncoderCache(const mvdiffusion::Encoders& encoders, Options options) : options_(std::move(options)) {
  if (options_.folder.empty()) return;
  data::Sha256 identity;
  identity.add("encoders 1").add(mfl::name_of(encoders.compute()));
  for (const char* part : {"vae", "image_encoder"}) {
    const fs::path folder = encoders.files().component(part);
    for (const fs::path& file : {folder / "config.json", mvdiffusion::component_weights(folder)}) {
      const data::Hash h = file_hash(file);
      identity.add(h.data(), h.size());
    }
  }
  folder_ = options_.folder / data::hex(identity.finish()).substr(0, 16);
  std::error_code failure;
  fs::create_directories(folder_, failure);
  if (failure || ::access(folder_.c_str(), W_OK) != 0)
    throw_error<DataError>("The folder of encoded images, ", folder_.string(), ", cannot be written",
                           failure ? text(": ", failure.message()) : "", ". Name another one, or none.");
}

fs::path EncoderCache::path(const std::string& name) const { return folder_ / name.substr(0, 2) / name; }

EncoderCache::Bytes EncoderCache::held(const std::string& name) {
  const auto found = where_.find(name);
  if (found == where_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->bytes;
}

void EncoderCache::hold(const std::string& name, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (where_.count(name) || bytes->size() > options_.memory_bytes) return;
  bytes_ += bytes->size();
  order_.push_front({name, std::move(bytes)});
  where_[name] = order_.begin();
  while (bytes_ > options_.memory_bytes) {
    bytes_ -= order_.back().bytes->size();
    where_.erase(order_.back().name);
    order_.pop_back();
  }
}

EncoderCache::Bytes EncoderCache::find(const data::Hash& key, Part part) {
  const std::string name = name_of(key, part);
  {
    const std::lock_guard lock(mutex_);
    if (Bytes bytes = held(name)) {
      ++counts_.hits;
      return bytes;
    }
  }
  Bytes bytes;
  std::error_code none;
  if (!folder_.empty() && fs::exists(path(name), none)) try {
      const io::Source file = io::open_file(path(name));
      std::vector<std::byte> all = file->read(0, file->size());
      if (all.size() > kHashBytes) {
        const std::size_t size = all.size() - kHashBytes;
        const data::Hash h = data::Sha256().add(all.data(), size).finish();
        if (std::memcmp(h.data(), all.data() + size, kHashBytes) == 0) {
          all.resize(size);
          bytes = std::make_shared<const std::vector<std::byte>>(std::move(all));
        }
      }
    } catch (const DataError&) {   // as good as absent: it is made again
    }
  if (bytes) hold(name, bytes);
  const std::lock_guard lock(mutex_);
  ++(bytes ? counts_.hits : counts_.misses);
  return bytes;
}

void EncoderCache::put(const data::Hash& key, Part part, Bytes bytes) {
  const std::string name = name_of(key, part);
  hold(name, bytes);
  if (folder_.empty()) return;
  // Written beside and renamed: other ranks may read and write the same result. Not synced: a lost file is made again.
  static std::atomic<std::uint64_t> count{0};
  const fs::path target = path(name), beside = target.string() + text('.', ::getpid(), '.', count++);
  std::error_code failure;
  fs::create_directories(target.parent_path(), failure);
  const data::Hash h = data::Sha256().add(bytes->data(), bytes->size()).finish();
  std::ofstream file(beside, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes->data()), static_cast<std::streamsize>(bytes->size()));
  file.write(reinterpret_cast<const char*>(h.data()), static_cast<std::streamsize>(h.size()));
  file.close();
  if (file) fs::rename(beside, target, failure);
  if (file && !failure) return;
  fs::remove(beside, failure);
  const std::lock_guard lock(mutex_);
  if (!std::exchange(told_, true))
    log_warning(target.string(), " cannot be written; encoded images that do not fit the memory will be encoded again.");
}

EncoderCache::Counts EncoderCache::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}
std::size_t EncoderCache::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

// ---- one step ----

StepEncoder::StepEncoder(const mvdiffusion::Encoders& encoders, EncoderCache* cache, std::int64_t chunk)
    : encoders_(encoders), cache_(cache), chunk_(chunk) {
  MFL_CHECK(chunk_ >= 1, "an encoder of ", chunk_, " images at a time");
}

StepEncoder::~StepEncoder() {
  try {
    keep();
  } catch (const std::exception& e) {
    log_warning("the last encoded images are not kept: ", e.what());
  }
}

void StepEncoder::keep() {
  for (const Part part : {Part::moments, Part::embedding}) {
    Readback& r = readback_[static_cast<std::size_t>(part)];
    if (r.keys.empty()) continue;
    r.copied->synchronize();
    const auto* row = static_cast<const std::byte*>(ConstView(r.memory).data);
    for (const auto& key : r.keys) {
      if (key) cache_->put(*key, part, std::make_shared<const std::vector<std::byte>>(row, row + r.row_bytes));
      row += r.row_bytes;
    }
    r.keys.clear();
  }
}

// Rows of `out` that want the part: uploaded where they are known, encoded once per distinct image where not.
void StepEncoder::fill(Ctx& cx, std::span<const StepImage> list, Part part, ConstView images, View out) {
  const bool moments = part == Part::moments, meta = cx.device().is_meta();
  const std::int64_t M = out.shape[0];
  // Moments are kept in the compute type, embeddings in the type in which they leave the network.
  const DType stored = moments ? encoders_.compute() : out.dtype;
  Shape one = out.shape;
  one[0] = 1;
  const std::size_t row_bytes = static_cast<std::size_t>(one.numel()) * size_of(stored);
  auto wants = [&](std::int64_t i) { return moments ? list[std::size_t(i)].moments : list[std::size_t(i)].embedding; };
  auto row = [](auto v, std::int64_t i, std::int64_t count = 1) { return slice(v, 0, i, count); };

  // The first image of each content stands for the others.
  std::vector<std::int64_t> stands(std::size_t(M), -1), known, unknown;
  std::vector<Bytes> found(static_cast<std::size_t>(M));
  std::unordered_map<std::string, std::int64_t> by_key;
  for (std::int64_t i = 0; i < M; ++i) {
    if (!wants(i)) continue;
    const StepImage& image = list[std::size_t(i)];
    std::int64_t first = i;
    if (image.key) first = by_key.emplace(std::string(reinterpret_cast<const char*>(image.key->data()), image.key->size()), i).first->second;
    stands[std::size_t(i)] = first;
    const Bytes& bytes = moments ? image.known_moments : image.known_embedding;
    if (bytes && !meta) {
      MFL_CHECK(bytes->size() == row_bytes, "a cached result of ", bytes->size(), " bytes, expected ", row_bytes,
                ": was it made for images of another size?");
      found[std::size_t(first)] = bytes;
    }
  }
  for (std::int64_t i = 0; i < M; ++i)
    if (stands[std::size_t(i)] == i) (found[std::size_t(i)] ? known : unknown).push_back(i);

  if (!known.empty()) {
    const auto count = static_cast<std::int64_t>(known.size());
    const Shape rows = [&] {
      Shape s = out.shape;
      s[0] = count;
      return s;
    }();
    const std::size_t bytes = row_bytes * known.size();
    Staging& staging = staging_[static_cast<std::size_t>(part)];
    if (staging.uploaded) staging.uploaded->synchronize();
    else staging.uploaded.emplace(cx.device());
    if (!staging.memory || staging.memory.bytes() < bytes)
      staging.memory = Tensor::pinned({static_cast<std::int64_t>(row_bytes) * M}, DType::u8, {"encoded images"});
    std::uint8_t* to = staging.memory.data<std::uint8_t>();
    for (std::int64_t k = 0; k < count; ++k)
      std::memcpy(to + static_cast<std::size_t>(k) * row_bytes, found[std::size_t(known[std::size_t(k)])]->data(), row_bytes);
    const Tensor there = cx.arena.empty(rows, stored, {"encoded images"});
    copy(cx.stream, make_view(static_cast<const void*>(to), rows, stored), there);
    cx.stream.record(*staging.uploaded);
    for (std::int64_t k = 0; k < count; ++k) cast(cx.stream, {.x = row(ConstView(there), k), .y = row(out, known[std::size_t(k)])});
  }

  const bool keeping = cache_ && !meta && std::any_of(unknown.begin(), unknown.end(), [&](std::int64_t i) { return list[std::size_t(i)].key.has_value(); });
  Readback& readback = readback_[static_cast<std::size_t>(part)];
  if (keeping) {
    if (!readback.copied) readback.copied.emplace(cx.device());
    if (!readback.memory || readback.memory.bytes() < row_bytes * unknown.size())
      readback.memory = Tensor::pinned({static_cast<std::int64_t>(row_bytes) * M}, DType::u8, {"encoded images"});
    readback.row_bytes = row_bytes;
  }
  std::vector<std::optional<data::Hash>> keys;
  for (std::size_t at = 0; at < unknown.size(); at += static_cast<std::size_t>(chunk_)) {
    const std::size_t count = std::min(static_cast<std::size_t>(chunk_), unknown.size() - at);
    MFL_CHECK(images && images.shape[0] == M, "an image of the step is not encoded yet, but its pixels were not given");
    Shape shape = images.shape;
    shape[0] = static_cast<std::int64_t>(count);
    const Tensor pixels = cx.arena.empty(shape, images.dtype, {"images to encode"});
    for (std::size_t k = 0; k < count; ++k)
      copy(cx.stream, row(images, unknown[at + k]), pixels.rows(static_cast<std::int64_t>(k), 1));
    const Tensor results = moments ? encoders_.moments(cx, pixels) : encoders_.embeddings(cx, pixels);
    if (moments) encoded_ += static_cast<std::int64_t>(count);
    for (std::size_t k = 0; k < count; ++k)
      copy(cx.stream, results.rows(static_cast<std::int64_t>(k), 1), row(out, unknown[at + k]));
    if (!keeping) continue;
    Tensor small = results;
    if (results.dtype() != stored) {
      small = cx.arena.empty(results.shape(), stored, {"encoded images"});
      cast(cx.stream, {.x = results, .y = small});
    }
    copy(cx.stream, small, make_view(static_cast<void*>(readback.memory.data<std::uint8_t>() + at * row_bytes), small.shape(), stored));
    for (std::size_t k = 0; k < count; ++k) keys.push_back(list[std::size_t(unknown[at + k])].key);
  }
  if (keeping) {
    cx.stream.record(*readback.copied);
    readback.keys = std::move(keys);   // from here on keep() may read them
  }

  for (std::int64_t i = 0; i < M; ++i)
    if (const std::int64_t first = stands[std::size_t(i)]; first >= 0 && first != i) copy(cx.stream, row(ConstView(out), first), row(out, i));
}

StepEncoder::Encoded StepEncoder::run(Ctx& cx, std::span<const StepImage> list, ConstView images, std::int64_t side) {
  Range range("encode images");
  keep();
  const auto M = static_cast<std::int64_t>(list.size()), h = side / encoders_.factor();
  MFL_CHECK(M > 0, "a step without images");
  MFL_CHECK(!images || (images.shape == Shape{M, side, side, 3}), "images to encode ", images.shape, ", expected ", Shape{M, side, side, 3});
  Encoded out{cx.accum({M, h, h, 2 * encoders_.latent_channels()}, {"moments of the images"}),
              cx.accum({M, encoders_.embedding_width()}, {"image embeddings"})};
  if (!std::all_of(list.begin(), list.end(), [](const StepImage& i) { return i.moments; })) fill_zero(cx.stream, out.moments);
  if (!std::all_of(list.begin(), list.end(), [](const StepImage& i) { return i.embedding; })) fill_zero(cx.stream, out.embeddings);
  fill(cx, list, Part::moments, images, out.moments);
  fill(cx, list, Part::embedding, images, out.embeddings);
  return out;
}

}  // namespace mfl
