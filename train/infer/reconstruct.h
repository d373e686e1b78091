// GS-LRM ready to use: posed views in, Gaussians out, and what they look like. Its memory is known before it runs: the same
// object on the meta device counts it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/gslrm/model.h"
#include "models/gslrm/renderer.h"
#include "models/gslrm/visibility.h"
#include "models/weights/coverage.h"
#include "train/config.h"

namespace mfl::infer {

struct ReconstructorOptions {
  Device device{};
  DType compute = DType::bf16;     // bf16 or f32
  int input_views = 0;             // 0: training.dataset.num_input_views, as the model was trained
  std::size_t memory_bytes = 0;    // bounds the arenas; 0: ask the device
};

class Reconstructor {
 public:
  Reconstructor(const GslrmConfig&, const ReconstructorOptions&);

  // *Initialises* from a checkpoint or a bare state dict; nothing but weights is read. The coverage is for the caller to show.
  // Throws DataError where it does not cover the model.
  weights::Coverage load(const std::filesystem::path&);

  // Host images [V, S, S, 3 or 4] f32 in [0, 1] and their cameras; the first input_views are the model's input. The
  // Gaussians stay on the device. Waits for the copies, not for the result.
  gslrm::Gaussians reconstruct(const Tensor& images, const gslrm::Cameras&);
  // [V, H, W, 3] f32, host, not clipped, on white; one view at a time, so that memory does not grow with their number. Gaussians
  // of the device, cameras of the host. No Gaussian at all: white.
  Tensor render(const gslrm::Gaussians&, const gslrm::Cameras&);

  // What each Gaussian of the device gives to the pictures of these cameras (host).
  gslrm::Visibility visibility(const gslrm::Gaussians&, const gslrm::Cameras&);

  gslrm::Gaussians to_host(const gslrm::Gaussians&);
  gslrm::Gaussians to_device(const gslrm::Gaussians&);

  const gslrm::ModelSpec& spec() const { return spec_; }
  const Stream& stream() const { return stream_; }
  const Arena& weight_arena() const { return weights_; }
  const Arena& step_arena() const { return step_; }       // activations
  const Arena& splat_arena() const { return splats_; }    // the rasterizer's buffers, by what it meets
  Ctx context() { return {.stream = stream_, .arena = step_, .precision = params_.precision(), .saving = false}; }

 private:
  Stream stream_;
  Arena weights_, step_, splats_;
  gslrm::ModelSpec spec_;
  ParamStore params_;
  gslrm::Model model_;
  gslrm::Renderer renderer_;
};

}  // namespace mfl::infer
