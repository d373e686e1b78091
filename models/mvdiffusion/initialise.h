// Fresh weights of the diffusion stage's networks, as the libraries that published them initialise such layers. Drawn on the
// host by published element, so they do not depend on device, type or memory layout; not at all on meta.
#pragma once

#include "models/mvdiffusion/clip_vision.h"
#include "runtime/module.h"

namespace mfl::mvdiffusion {

// Linear layers and convolutions: weight and bias uniform in +-1/sqrt(fan in); norms 1 and 0.       torch.nn.Linear, Conv2d
void initialise_unet(const Stream&, ParamStore&, std::uint64_t seed);
void initialise_vae(const Stream&, ParamStore&, std::uint64_t seed);
// Normal: class embedding C^-1/2, patches and positions 0.02, fc1 (2 C)^-1/2, attention's inputs and fc2 (2 L C)^-1/2,
// attention's output and projection C^-1/2; biases 0; norms 1 and 0.             CLIPPreTrainedModel._init_weights, factor 1
void initialise_clip(const Stream&, ParamStore&, const ClipConfig&, std::uint64_t seed);

}  // namespace mfl::mvdiffusion
