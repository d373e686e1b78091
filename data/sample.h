// One training sample in memory: views with pixels and cameras, and everything that is known about where they come from.
// The packed file (data/hdf5_file.h) and the sample folder (data/sample_folder.h) both hold all of it.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "data/camera.h"
#include "data/image.h"

namespace mfl::data {

inline constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();   // of a figure that nobody measured

enum class Split : std::uint8_t { train = 0, val = 1, test = 2, unassigned = 255 };
const char* name_of(Split);

// What a view may be used for. `input`: never a target, such as a view that stage 1 generated. `target`: never an input.
enum class Role : std::uint8_t { both = 0, input = 1, target = 2 };
const char* name_of(Role);

// The calibration before any warp: x_raw = k [R | t] x_raw_world, in pixels of the raw frame (corner convention) and in the
// recording's unit of length. k may have a skew.
struct SourceCamera {
  std::array<double, 9> k{1, 0, 0, 0, 1, 0, 0, 0, 1};
  Mat4 w2c{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  bool operator==(const SourceCamera&) const = default;
};

// Figures about a view; pixels of its image, corner convention. kUnknown where not measured.
struct ViewStats {
  float centroid[2] = {kUnknown, kUnknown};                     // of alpha: x, y
  float box[4] = {kUnknown, kUnknown, kUnknown, kUnknown};      // of alpha >= 128: left, top, right, bottom
  float clipped = kUnknown;         // share of the mask's outline that lies on the image's edge, 0 to 1
  float hull_iou = kUnknown;        // of the visual hull of all views, drawn into this one, with the mask
  float centroid_error = kUnknown;  // pixels from the triangulated mask centroid's projection to the mask's centroid
};

struct View {
  std::string name;                                            // unique among the views of the same role in a sample
  Camera camera;                                               // true for these pixels
  Image image;                                                 // any channels; of 16-bit sources the high bytes
  std::vector<std::uint8_t> low;                               // of 16-bit sources the low bytes, laid out as image.pixels
  Role role = Role::both;
  std::array<double, 9> warp{1, 0, 0, 0, 1, 0, 0, 0, 1};       // raw pixel to this pixel, homogeneous, corner convention
  double zoom = 1;                                             // asked for on top of the canonical focal length; `camera` has it already
  int prompt_slot = -1;                                        // of the multi-view diffusion prompts; -1: not assigned
  float slot_error = kUnknown;                                 // degrees between the camera and the slot's own direction
  std::optional<SourceCamera> raw;
  ViewStats stats;
};

struct Sample {
  std::string name;
  std::vector<View> views;
  std::int64_t raw_frame = -1;                                 // in the recording; -1: not from a recording
  int recording = -1;                                          // in SetInfo::recordings; -1: none
  Split split = Split::unassigned;
  std::optional<Vec3> up;                                      // measured up direction of the rig
  std::optional<Mat4> raw_to_world;                            // similarity from the recording's world to the cameras'
};

// A recording that samples come from. Frames on both sides of a jump are not neighbours in time.
struct RecordingInfo {
  std::string name;
  std::int64_t frames = 0;                                     // 0: unknown
  double rate = 0;                                             // frames a second; 0: unknown
  std::vector<std::int64_t> jumps;                             // ascending: first frame after each jump
  bool operator==(const RecordingInfo&) const = default;
  // Frames of the same piece are continuous in time.
  int piece(std::int64_t raw_frame) const;
};

// What is the same for all samples of a set.
struct SetInfo {
  std::vector<int> ring_order;          // view indices in azimuth order; empty: unknown
  std::vector<std::string> slot_names;  // of the prompt slots: "front", ...; empty: none assigned
  std::vector<RecordingInfo> recordings;
  std::string recipe = "{}";            // JSON: what made the set, from what, with which options
};

}  // namespace mfl::data
