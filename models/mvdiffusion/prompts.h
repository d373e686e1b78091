// Prompt embeddings and which view takes which: the network knows a view only by its prompt.
#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <vector>

#include "runtime/tensor.h"

namespace mfl::mvdiffusion {

inline constexpr int kPromptTokens = 77;
// The slots of the published embeddings, with their azimuth from the front in degrees.
struct PromptSlot {
  const char* name;
  int azimuth;
};
inline constexpr std::array<PromptSlot, 6> kPromptSlots = {{{"front", 0}, {"front_right", 45}, {"right", 90},
                                                            {"back", 180}, {"left", 270}, {"front_left", 315}}};

// [slots, 77, width] f32 in host memory, from a torch.save file of one tensor (clr_embeds.pt) or a safetensors file of one.
// Throws DataError: a missing file (the published loader goes on with zeros, and all views look alike), another width (the
// mouse fork's file is 768 wide), another number of slots, values that are not finite.
Tensor read_prompt_embeddings(const std::filesystem::path&, std::int64_t slots, std::int64_t width);

// What a training sample shows: the reference view, and for every slot of the network a view and a prompt.
enum class ReferenceRule : std::uint8_t {
  fixed,   // views in their order; the reference is any of them and need not be in slot 0
  random,  // views rotated by index so that the reference is in slot 0; every view keeps its prompt  (published)
  ring,    // views rotated along the ring so that the reference is in slot 0; every slot keeps its prompt: the view
           // opposite to the reference is always "back"
};
struct ViewOrder {
  int reference = 0;
  std::vector<int> views, prompts;   // [slots]
};
// `prompt_slot`: the prompt of each view, [V], all different (the data set's /rig/prompt_slot; 0, 1, 2 .. where it has none).
// `ring`: view indices in azimuth order (/rig/ring_order), read by ReferenceRule::ring only. Throws DataError where the
// table or the ring does not fit.
ViewOrder view_order(ReferenceRule, int reference, std::span<const int> prompt_slot, std::span<const int> ring);

}  // namespace mfl::mvdiffusion
