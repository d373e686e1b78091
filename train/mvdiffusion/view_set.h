// Objects of a packed file as the diffusion stage reads them when nothing is drawn at random: for validation, and for sampling a
// whole set.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/hdf5_file.h"
#include "models/mvdiffusion/prompts.h"
#include "train/mvdiffusion/validation.h"

namespace mfl {

struct ViewSetOptions {
  std::int64_t image_size = 512;
  int views = 6;                                 // of an object: the first so many that may be targets
  mvdiffusion::ReferenceRule rule = mvdiffusion::ReferenceRule::fixed;
  std::optional<int> reference = 0;              // the view of every object; nothing: drawn once for each (seed, object)
  std::array<double, 3> background{1, 1, 1};
  std::uint64_t seed = 0;
  std::int64_t limit = 0;                        // > 0: the first objects only
};

// Throws DataError: a sample has fewer views, or a table of prompt slots that does not fit. Pixels are 8 bits: resized as
// data/image.h does, pasted on the background, so that metrics compare what the network is given.
ViewSet packed_view_set(std::shared_ptr<const data::ViewReader>, const ViewSetOptions&);

// Which of a sample's views an object shows: the reference, and for every slot its view and prompt.
struct ChosenViews {
  int reference = 0;
  std::vector<int> views, prompts;               // [slots]
};
ChosenViews choose_views(const data::ViewReader&, std::int64_t sample, const ViewSetOptions&);

// The number of an image's noise: from its pixels, so that an image gets the same views in any set, batch or order.
std::uint32_t noise_number(const Tensor& bytes);

}  // namespace mfl
