// From a packed file to one training sample: which views, which cameras, which background, and their pixels.
//
// All draws come from Philox, keyed by (seed, purpose, pass, sample): they do not depend on ranks, workers or order.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "data/sampler.h"

namespace mfl::data {

// How the views of a sample are chosen: num_views that are supervised, and the first num_input_views of them are the inputs.
// Where the set has separate inputs (ViewReader::separate_inputs), num_input_views come from the input views and num_views
// from the others, by the same rule.
enum class ViewRule {
  random,    // num_views without replacement; inputs ascending, then the others ascending
  overlap,   // maximize_view_overlap: the others only from views with p_view . p_input >= 0.5 for some input
             // (positions as they are, not normalised: what the published data set does)
  fixed,     // views 0 .. num_views - 1 (mouse data set)
};

// training.dataset.background_color: "white", "black", "gray", "random", "three_choices" or a number in [0, 1].
struct Background {
  enum class Kind { constant, random, three_choices } kind = Kind::constant;
  double value = 1;
};
// Throws ConfigError.
Background parse_background(const std::string&);

struct Augmentation {
  bool horizontal_flip = false;              // p = 0.5; flips all views of the sample and mirrors the world with them
  double rotation_range = 0;                 // degrees, uniform +-; rolls the cameras with the pixels
  double brightness[2] = {1, 1};
  double contrast[2] = {1, 1};
};

struct DatasetOptions {
  int image_size = 512;
  int num_views = 8;
  int num_input_views = 4;
  int crop_size = 0;                         // side of a random square crop of every target; 0: no crops
  ViewRule rule = ViewRule::random;
  bool fewer_views = false;                  // fixed rule: a set whose samples all have fewer views uses what there is
  bool remove_alpha = false;
  Background background;
  std::optional<CameraNormalisation> normalise;
  bool auto_mask = false;                    // alpha 0 where all of RGB exceed mask_threshold, where there is no alpha
  double mask_threshold = 250;
  std::optional<Augmentation> augmentation;
  std::int64_t limit = 0;                    // > 0: the first samples only, each with the same views and background at
                                             // every use, so that a model can learn them by heart; 0: all
  std::uint64_t seed = 777;
};

// Everything about one use of a sample but its pixels.
struct SamplePlan {
  Pick pick;
  std::vector<int> views;                    // separate inputs, if any, then the supervised ones
  std::vector<std::array<float, 16>> c2w;    // f64 inverse of w2c, normalised, rounded once
  std::vector<std::array<float, 4>> fxfycxcy;
  std::array<float, 3> background{};
  std::array<std::uint8_t, 3> background8{};
  std::vector<std::array<int, 2>> corner;    // of each view's crop: x, y, uniform in [0, image_size - crop_size)
  bool flip = false;
  float rotation = 0, brightness = 1, contrast = 1;
};

class Dataset {
 public:
  // Checks that every sample has the views that the options ask for. Throws DataError, ConfigError.
  Dataset(std::shared_ptr<const ViewReader>, DatasetOptions);

  std::int64_t size() const;
  int num_views() const { return options_.num_views; }   // supervised
  // Input views that are not supervised, the first of a plan: num_input_views, or 0 where inputs are among the supervised.
  int separate_inputs() const { return reader_->separate_inputs() ? options_.num_input_views : 0; }
  int channels() const { return channels_; }   // of batches: 3, or 4 with alpha
  const DatasetOptions& options() const { return options_; }
  const ViewReader& reader() const { return *reader_; }

  SamplePlan plan(const Pick&) const;
  // Decodes view k of the plan to out [image_size, image_size, channels], f32 in [0, 1]. Any thread.
  void render(const SamplePlan&, int k, const RawView&, float* out) const;

 private:
  std::vector<int> choose_views(const Pick&) const;
  std::shared_ptr<const ViewReader> reader_;
  DatasetOptions options_;
  int channels_ = 4;
};

}  // namespace mfl::data
