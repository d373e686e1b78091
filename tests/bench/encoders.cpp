#include "tests/bench/encoders.h"

#include <functional>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/normal.h"
#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/vae.h"
#include "models/weights/coverage.h"
#include "tests/bench/device_time.h"

namespace mfl::bench {
namespace {

using namespace mvdiffusion;

// A full-size network with normal weights of deviation 0.02 (norms too: only the time is of interest).
template <class M, class Config>
struct Network {
  const Stream& s;
  Arena weights, arena;
  ParamStore store;
  M net;
  Ctx cx;
  Network(const Stream& stream, DType compute, const Config& config)
      : s(stream), weights(stream.device(), std::size_t{16} << 30, "weights"), arena(stream.device(), std::size_t{60} << 30, "activations"),
        store(weights, Precision::of(compute), false), net(Scope{store}, config),
        cx{.stream = stream, .arena = arena, .precision = Precision::of(compute), .saving = false} {
    store.seal(s);
    Tensor zero = Tensor::on_heap({1}, DType::i32, s.device());
    fill_zero(s, zero);
    std::uint64_t seed = 0;
    for (const Param& p : store.all()) {
      const Tensor wide = p.value ? p.value : Tensor::on_heap(p.memory_shape(), store.precision().accum, s.device());
      fill_normal(s, {.x = wide.reshape({1, p.numel()}), .streams = zero, .seed = seed++, .purpose = Draw::init});
      scale_(s, {.x = wide, .factor = 0.02});
      if (!p.value) cast(s, {.x = wide, .y = p.compute});
      s.synchronize();   // of `wide`
    }
    weights::refresh_compute(s, store);
  }
  EncoderTime time(std::string what, int images, int repeats, const std::function<void()>& run) {
    const DeviceTime t = device_time(s, arena, repeats, run);
    return {std::move(what), t.ms / images, t.gib};
  }
};

}  // namespace

std::vector<EncoderTime> time_encoders(Device device, DType compute, int images, int repeats) {
  const Stream s = Stream::create(device, "bench");
  const DType accum = Precision::of(compute).accum;
  Tensor picture = Tensor::on_heap({images, 512, 512, 3}, accum, device);
  fill_(s, {.x = picture, .value = 0.5});
  std::vector<EncoderTime> times;
  {
    Network<ClipVision, ClipConfig> clip(s, compute, {});
    times.push_back(clip.time("CLIP ViT-H/14, an image with its resize", images, repeats,
                              [&] { clip.net.forward(clip.cx, clip_pixels(clip.cx, picture, clip.net.config().image)); }));
  }
  Network<Vae, VaeConfig> vae(s, compute, {});
  const Tensor latents = vae.net.latents(vae.cx, vae.net.encode(vae.cx, picture));
  times.push_back(vae.time("VAE encoder, a 512x512 image", images, repeats, [&] { vae.net.encode(vae.cx, picture); }));
  times.push_back(vae.time("VAE decoder, a 512x512 image", images, repeats, [&] { vae.net.decode(vae.cx, latents); }));
  return times;
}

}  // namespace mfl::bench
