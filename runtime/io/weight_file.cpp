#include "runtime/io/weight_file.h"

#include <algorithm>

#include "runtime/io/byte_source.h"
#include "runtime/io/mat_file.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"

namespace mfl::io {

const StoredTensor* WeightFile::find(std::string_view name) const {
  for (const NamedStored& t : tensors)
    if (t.name == name) return &t.tensor;
  return nullptr;
}

WeightFile open_weights(const std::filesystem::path& path) {
  const Source source = open_file(path);
  const std::vector<std::byte> first = head(*source, 32);
  if (is_torch_file(first)) return {path.string(), "torch", tensors_of(read_torch_file(source))};
  if (is_mat_file(first)) return {path.string(), "MatConvNet", read_matconvnet(source)};
  if (first.size() > 8 && first[8] == std::byte{'{'})
    return {path.string(), "safetensors", SafetensorsFile(source).tensors()};
  throw_error<DataError>(path.string(),
                         " is no file of weights that is read here: neither safetensors, nor torch.save (.pt, .pth, "
                         ".bin), nor MATLAB 5 (.mat). It has ",
                         source->size(), " bytes.");
}

WeightFile open_model_weights(const std::filesystem::path& path) {
  WeightFile file = open_weights(path);
  auto strip = [&](std::string_view prefix, bool keep_others) {
    auto has = [&](const NamedStored& t) { return std::string_view(t.name).starts_with(prefix); };
    if (keep_others ? !std::all_of(file.tensors.begin(), file.tensors.end(), has)
                    : std::none_of(file.tensors.begin(), file.tensors.end(), has))
      return false;
    std::erase_if(file.tensors, [&](const NamedStored& t) { return !has(t); });
    for (NamedStored& t : file.tensors) t.name.erase(0, prefix.size());
    return true;
  };
  for (const char* wrapper : {"model.", "state_dict.", "model_state_dict."})
    if (file.format == "torch" && strip(wrapper, false)) break;
  strip("module.", true);
  return file;
}

}  // namespace mfl::io
