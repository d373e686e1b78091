// A photo as the first stage is given it: the animal alone on a plain background, framed as in training, square, 8 bits.
//
//   photo -> where is the animal (alpha, a mask file, or segmentation) -> framing (data/photo/framing.h) -> background colour
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>

#include "data/photo/segment.h"
#include "runtime/tensor.h"
#include "train/infer/input_options.h"

namespace mfl::infer {

// Below kSure a warning with the reasons, below kFloor an error with the remedy, unless accept_segmentation.
inline constexpr double kSure = 0.75, kFloor = 0.4;

struct InputImage {
  Tensor pixels;                  // [S, S, 3] u8
  std::string sha256;             // of the file's bytes, hex; empty where there is no file
  bool had_alpha = false;
  double confidence = 1;          // of the outline; 1 where it was given
  std::string decisions = "{}";   // JSON object for provenance.json: source, orientation, outline, framing with its matrix
};

// An alpha that is opaque everywhere counts as none. Throws DataError: no image, damaged, an alpha or a mask of nothing, a mask of
// another size, an outline that is too unsure; ConfigError: not square and no framing.
InputImage read_input_image(const std::filesystem::path&, const InputOptions&);
// The same of a picture in memory; `where` appears in messages. `mask`: grey, instead of options.mask. `model`: of the video that the
// picture is a frame of.
InputImage prepare_input_image(data::Image, const std::string& where, const InputOptions&, const data::Image* mask = nullptr,
                               const data::photo::BackgroundModel* model = nullptr);

}  // namespace mfl::infer
