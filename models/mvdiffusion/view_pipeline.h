// A pipeline folder ready to use: images in, their views out, host to host. Its memory is known before it runs: the same
// object on the meta device counts it.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "models/mvdiffusion/pipeline.h"

namespace mfl::mvdiffusion {

struct ViewPipelineOptions {
  Device device{};
  DType compute = DType::bf16;           // of the UNet: bf16 or f32
  DType encoders = DType::bf16;          // of VAE and CLIP
  std::filesystem::path unet = {};       // another UNet in the diffusers layout (checkpoint-N/unet_ema); empty: the pipeline's
  std::filesystem::path prompts = {};    // file of prompt embeddings
  std::int64_t batch = 1;                // objects in flight
  std::size_t memory_bytes = 0;          // bounds the arenas; 0: ask the device
};

class ViewPipeline {
 public:
  // Throws DataError: a component is missing, does not fit the others, or is of another network.
  ViewPipeline(const PipelineFiles&, const ViewPipelineOptions&);

  struct Request {
    ConstView image;                     // [H, H, 3] u8, host
    std::uint32_t noise = 0;             // its number: the views are a function of image, prompts, seed and this
    std::vector<int> prompts;            // [V] rows of the prompt embeddings
  };
  // [O, V, H, H, 3] f32 in [0, 1], host. `batch` requests at a time; the result does not depend on it.
  Tensor sample(std::span<const Request>, const SamplerConfig&, std::uint64_t seed);

  std::int64_t image_size() const { return image_; }
  std::int64_t views() const { return spec_.views; }
  std::int64_t batch() const { return batch_; }
  const Encoders& encoders() const { return encoders_; }
  std::size_t weight_bytes() const { return weights_.peak_bytes(); }
  std::size_t sampling_bytes() const { return step_.peak_bytes(); }
  const Arena& weight_arena() const { return weights_; }
  const Arena& sampling_arena() const { return step_; }
  // For networks beside it, on the same device.
  const Stream& stream() const { return stream_; }
  Ctx context() { return {.stream = stream_, .arena = step_, .precision = store_.precision(), .saving = false}; }

 private:
  void sample_batch(std::span<const Request>, const SamplerTable&, std::uint64_t seed, View out);

  Stream stream_;
  Arena weights_, step_;
  UnetSpec spec_;
  Encoders encoders_;
  ParamStore store_;
  Unet unet_;
  Tensor prompts_;                       // [slots, L, E] compute type
  std::int64_t image_, batch_;
};

}  // namespace mfl::mvdiffusion
