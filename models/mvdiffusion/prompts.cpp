#include "models/mvdiffusion/prompts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/error.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"

namespace mfl::mvdiffusion {
namespace {

constexpr const char* kRemedy =
    "Take FaceLift's mvdiffusion/data/fixed_prompt_embeds_6view/clr_embeds.pt, or make embeddings with the text encoder of "
    "the pipeline (Stable Diffusion 2.1 unCLIP).";

io::StoredTensor only_tensor(const std::filesystem::path& path) {
  const io::Source file = io::open_file(path);
  if (io::is_torch_file(io::head(*file, 32))) {
    const io::Value root = io::read_torch_file(file);
    if (root.is_tensor()) return root.tensor();
    throw_error<DataError>(path.string(), " holds a ", io::name_of(root.kind()), ", expected one tensor of prompt embeddings. ",
                           kRemedy);
  }
  const io::SafetensorsFile tensors(file);
  if (tensors.tensors().size() == 1) return tensors.tensors()[0].tensor;
  throw_error<DataError>(path.string(), " holds ", tensors.tensors().size(),
                         " tensors, expected one of prompt embeddings. ", kRemedy);
}

// Indices 0 .. size - 1, each once.
bool is_permutation(std::span<const int> list, std::size_t size) {
  std::vector<bool> seen(size, false);
  for (int i : list)
    if (i < 0 || static_cast<std::size_t>(i) >= size || seen[static_cast<std::size_t>(i)]) return false;
    else seen[static_cast<std::size_t>(i)] = true;
  return list.size() == size;
}

}  // namespace

Tensor read_prompt_embeddings(const std::filesystem::path& path, std::int64_t slots, std::int64_t width) {
  std::error_code none;
  if (!std::filesystem::exists(path, none))
    throw_error<DataError>("The prompt embeddings ", path.string(), " (prompt_embed_path; of mfl_infer --prompts) do not exist. Without them every view "
                           "would look the same to the network. ", kRemedy);
  const io::StoredTensor stored = only_tensor(path);
  const Shape& shape = stored.shape;
  if (shape.rank() == 3 && shape[2] != width)
    throw_error<DataError>(path.string(), " holds prompt embeddings ", shape[2], " wide; this network's cross-attention reads ",
                           width, ". They come from another text encoder",
                           shape[2] == 768 ? " (CLIP ViT-L/14 is 768 wide)" : "", ". ", kRemedy);
  if (!(shape == Shape{slots, kPromptTokens, width}))
    throw_error<DataError>(path.string(), " holds a tensor ", shape, ", expected prompt embeddings ",
                           Shape{slots, kPromptTokens, width}, ": slots, tokens, width. ", kRemedy);
  Tensor values = io::load(stored, DType::f32, path.string());
  const float* v = values.data<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    if (!std::isfinite(v[i]))
      throw_error<DataError>(path.string(), ": the embedding of slot ", i / (kPromptTokens * width), " is not finite. ", kRemedy);
  return values;
}

ViewOrder view_order(ReferenceRule rule, int reference, std::span<const int> prompt_slot, std::span<const int> ring) {
  const auto views = static_cast<int>(prompt_slot.size());
  if (!is_permutation(prompt_slot, prompt_slot.size()))
    throw_error<DataError>("The data set's table of prompt slots does not give each of its ", views,
                           " views a prompt of its own. Pack it again with a slot for every view, or without the table.");
  MFL_CHECK(reference >= 0 && reference < views, "view_order: reference ", reference, " of ", views, " views");
  ViewOrder order{reference, {}, {}};
  if (rule == ReferenceRule::fixed || rule == ReferenceRule::random) {
    const int first = rule == ReferenceRule::fixed ? 0 : reference;
    for (int s = 0; s < views; ++s) {
      const int view = (first + s) % views;
      order.views.push_back(view);
      order.prompts.push_back(prompt_slot[static_cast<std::size_t>(view)]);
    }
    return order;
  }
  if (!is_permutation(ring, prompt_slot.size()))
    throw_error<DataError>("A ring-wise random reference needs the ring order of all ", views, " views, but the data set gives ",
                           ring.size(), ". Pack it again with the rig's ring order, or use reference_view_idx: random.");
  const auto at = static_cast<int>(std::find(ring.begin(), ring.end(), reference) - ring.begin());
  for (int s = 0; s < views; ++s) {
    order.views.push_back(ring[static_cast<std::size_t>((at + s) % views)]);
    order.prompts.push_back(prompt_slot[static_cast<std::size_t>(ring[static_cast<std::size_t>(s)])]);
  }
  return order;
}

}  // namespace mfl::mvdiffusion
