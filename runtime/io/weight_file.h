// Any file of weights, by its first bytes: safetensors, torch.save (.pt, .pth, .bin), MatConvNet (.mat).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/io/stored_tensor.h"

namespace mfl::io {

struct WeightFile {
  std::string path;
  std::string format;                // "safetensors", "torch", "MatConvNet"
  std::vector<NamedStored> tensors;  // in the file's order

  const StoredTensor* find(std::string_view name) const;  // null: not in the file
};
// Names are paths through the file's tree: a training checkpoint has "model.<parameter>", a plain state dict
// "<parameter>". Throws DataError for a missing file and for an unknown format.
WeightFile open_weights(const std::filesystem::path&);
// The same, of a checkpoint only what lies below "model", "state_dict" or "model_state_dict", without a "module." that
// data-parallel wrappers put in front.
WeightFile open_model_weights(const std::filesystem::path&);

}  // namespace mfl::io
