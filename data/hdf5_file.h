// The packed data set: one HDF5 file, described in data/FORMAT.md.
//
// Errors are DataError with the file, the sample, the view, the reason and the remedy.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/sample.h"

namespace mfl::data {

inline constexpr int kFormatVersion = 2;   // written; version 1 is read too
using Hash = std::array<std::uint8_t, 32>;   // SHA-256

struct PackInfo : SetInfo {
  int width = 0, height = 0;
  std::int64_t samples = 0;
  int max_views = 0;
};

class ViewWriter {
 public:
  // Writes to `path`.part; finish() renames. Throws when the file exists and `overwrite` is false.
  ViewWriter(const std::string& path, PackInfo, bool overwrite);
  ~ViewWriter();                     // without finish(): removes the partial file
  ViewWriter(const ViewWriter&) = delete;
  ViewWriter& operator=(const ViewWriter&) = delete;
  // In order. Views are compressed on all cores. A sample may have fewer views than max_views.
  void add(const Sample&);
  // Writes the tables and the content hash, flushes, re-opens to check, renames.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A chunk as it is in the file.
struct RawView {
  std::vector<std::uint8_t> bytes;
  std::uint32_t filter_mask = 0;
};

// One packed file of a set.
struct PackedFile : PackInfo {
  std::string path;                                            // without #split
  std::string content_hash;                                    // hex
  int version = 0;
};

class ViewReader {
 public:
  // A packed file; `file#train`, `#val`, `#test` for the samples of one split; or a list file (.txt) that names one of these
  // a line, relative to the list's own folder, to the working directory, or absolute. `list.txt#val` asks every file of the
  // list that names no split for this one; those without such samples are passed over. Checks versions, completeness,
  // shapes and every camera. Throws DataError.
  explicit ViewReader(const std::string& path);
  ~ViewReader();

  const std::string& path() const;                             // as given
  int files() const;
  const PackedFile& file(int index) const;
  const std::string& content_hash() const;                     // hex; of the whole file; of a list: of its files and splits
  std::string recipe() const;                                  // of the file; of a list: a JSON array of path and recipe

  std::int64_t size() const;                                   // samples (of the split)
  int max_views() const;
  // True: every sample has views that are only inputs. They are then never targets, and targets never inputs.
  bool separate_inputs() const;
  int file_of(std::int64_t sample) const;
  int width(std::int64_t sample) const;
  int height(std::int64_t sample) const;
  const std::string& sample_name(std::int64_t sample) const;   // of a list: FILE/NAME where the name alone is not unique
  const std::string& stored_name(std::int64_t sample) const;   // as it is in its file
  std::int64_t file_index(std::int64_t sample) const;          // of all samples of all files, not of the split
  std::int64_t raw_frame(std::int64_t sample) const;
  int recording(std::int64_t sample) const;                    // in file(file_of(sample)).recordings; -1: none
  Split split(std::int64_t sample) const;
  std::optional<Vec3> up(std::int64_t sample) const;
  std::optional<Mat4> raw_to_world(std::int64_t sample) const;
  bool has_alpha(std::int64_t sample) const;                   // of any view's source

  int views(std::int64_t sample) const;
  const std::string& view_name(std::int64_t sample, int view) const;
  const Camera& camera(std::int64_t sample, int view) const;
  Role role(std::int64_t sample, int view) const;
  int channels(std::int64_t sample, int view) const;           // of the source: 1, 3 or 4
  int bits(std::int64_t sample, int view) const;               // of the source: 8 or 16
  int prompt_slot(std::int64_t sample, int view) const;
  float slot_error(std::int64_t sample, int view) const;
  std::array<double, 9> warp(std::int64_t sample, int view) const;
  double zoom(std::int64_t sample, int view) const;
  std::optional<SourceCamera> raw_camera(std::int64_t sample, int view) const;
  float foreground(std::int64_t sample, int view) const;       // mean alpha
  ViewStats stats(std::int64_t sample, int view) const;
  const Hash& pixel_hash(std::int64_t sample, int view) const;
  const Hash& low_hash(std::int64_t sample, int view) const;   // of a 16-bit view

  // Takes the bytes from the file: for any thread. `raw` is reused.
  void read_raw(std::int64_t sample, int view, RawView& raw) const;
  // Checks the checksum and inflates to RGBA. Any thread.
  Image decode(std::int64_t sample, int view, const RawView& raw) const;
  void decode(std::int64_t sample, int view, const RawView& raw, std::span<std::uint8_t> rgba) const;   // 4 width height bytes
  Image read(std::int64_t sample, int view) const;
  // Low bytes of a 16-bit source, RGBA like the image; empty for 8 bit.
  std::vector<std::uint8_t> read_low(std::int64_t sample, int view) const;
  // All of a sample, with the channels and bits of its source, for unpacking.
  Sample sample(std::int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What verify_file found: `broken` has a sentence for each damaged view, naming file, sample, view and cause.
struct Verified {
  std::int64_t views = 0;
  std::vector<std::string> broken;
};
// Reads every chunk of the whole file (or of all files of a list): checksums, pixel hashes, the content hash. A file that
// cannot be opened, or whose tables are damaged, throws DataError. `progress(done, total)` may be empty.
Verified verify_file(const std::string& path, const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace mfl::data
