// The packed data set: one HDF5 file, described in data/FORMAT.md.
//
// Errors are DataError with the file, the sample, the view, the reason and the remedy.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/camera.h"
#include "data/image.h"

namespace mfl::data {

inline constexpr int kFormatVersion = 1;
using Hash = std::array<std::uint8_t, 32>;   // SHA-256

enum class Split : std::uint8_t { train = 0, val = 1, test = 2, unassigned = 255 };

struct View {
  std::string name;
  Camera camera;                                               // true for these pixels
  Image image;                                                 // any channels; stored as RGBA
  std::array<double, 9> warp{1, 0, 0, 0, 1, 0, 0, 0, 1};       // raw pixel to this pixel, homogeneous, corner convention
  int prompt_slot = -1;                                        // of the multi-view diffusion prompts; -1: not assigned
};

struct Sample {
  std::string name;
  std::vector<View> views;
  std::int64_t raw_frame = -1;                                 // in the recording; -1: not from a recording
  Split split = Split::unassigned;
  std::optional<Vec3> up;                                      // measured up direction of the rig
};

// What is the same for all samples of a file.
struct PackInfo {
  int width = 0, height = 0;
  std::int64_t samples = 0;
  int max_views = 0;
  std::vector<int> ring_order;       // view indices in azimuth order; empty: unknown
  std::string recipe = "{}";         // JSON: what made the file, from what, with which options
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

class ViewReader {
 public:
  // `path`, or `path#train`, `path#val`, `path#test` for the samples of one split. Checks version, completeness, shapes
  // and every camera. Throws DataError.
  explicit ViewReader(const std::string& path);
  ~ViewReader();

  const std::string& path() const;
  std::int64_t size() const;                                   // samples (of the split)
  int max_views() const;
  int width() const;
  int height() const;
  const std::vector<int>& ring_order() const;
  const std::string& recipe() const;
  const std::string& content_hash() const;                     // hex; of the whole file

  const std::string& sample_name(std::int64_t sample) const;
  int views(std::int64_t sample) const;
  const std::string& view_name(std::int64_t sample, int view) const;
  const Camera& camera(std::int64_t sample, int view) const;
  bool has_alpha(std::int64_t sample) const;
  std::int64_t file_index(std::int64_t sample) const;          // of the whole file, not of the split
  std::int64_t raw_frame(std::int64_t sample) const;
  Split split(std::int64_t sample) const;
  std::optional<Vec3> up(std::int64_t sample) const;
  int prompt_slot(std::int64_t sample, int view) const;
  std::array<double, 9> warp(std::int64_t sample, int view) const;
  float foreground(std::int64_t sample, int view) const;
  const Hash& pixel_hash(std::int64_t sample, int view) const;

  // Takes the bytes from the file: serialised, for one reader thread. `raw` is reused.
  void read_raw(std::int64_t sample, int view, RawView& raw) const;
  // Checks the checksum and inflates to RGBA. Any thread.
  Image decode(std::int64_t sample, int view, const RawView& raw) const;
  Image read(std::int64_t sample, int view) const;
  // All of a sample, for unpacking.
  Sample sample(std::int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Reads every view of the whole file, compares every pixel hash and the content hash. Throws DataError at the first difference; returns the
// number of views. `progress(done, total)` may be empty.
std::int64_t verify_file(const std::string& path, const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace mfl::data
