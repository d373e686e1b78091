#include "train/infer/reconstruct.h"

#include <algorithm>

#include "runtime/io/weight_file.h"
#include "runtime/profile.h"

namespace mfl::infer {
namespace {

using gslrm::Gaussians;

std::size_t bound(const ReconstructorOptions& o) {
  if (o.device.is_meta()) return std::size_t{1} << 50;   // counts only
  return o.memory_bytes ? o.memory_bytes : device_info(o.device).memory_bytes;
}

Tensor placed(const Stream& s, Arena& arena, const Tensor& host, Purpose what) {
  const Tensor t = arena.empty(host.shape(), host.dtype(), what);
  copy(s, host, t);
  return t;
}

template <class F>
Gaussians each(const Gaussians& g, F&& f) {
  return {f(g.xyz), f(g.features), f(g.scaling), f(g.rotation), f(g.opacity)};
}

}  // namespace

Reconstructor::Reconstructor(const GslrmConfig& config, const ReconstructorOptions& o)
    : stream_(Stream::create(o.device, "reconstruction")), weights_(o.device, bound(o), "weights"), step_(o.device, bound(o), "activations"),
      splats_(o.device, bound(o), "rasterizer"),
      spec_(gslrm::ModelSpec::from(config.model, o.input_views > 0 ? o.input_views : config.training.dataset.num_input_views)),
      params_(weights_, Precision::of(o.compute), false), model_(Scope{params_}, spec_) {
  params_.seal(stream_);
  renderer_.scaling_modifier = spec_.scaling_modifier;
}

weights::Coverage Reconstructor::load(const std::filesystem::path& path) {
  io::WeightFile file = io::open_model_weights(path);
  std::erase_if(file.tensors, [](const io::NamedStored& t) { return t.name.starts_with("loss_calculator."); });   // not the model's
  return weights::load_parameters(stream_, params_, file, {.log = false});
}

Gaussians Reconstructor::reconstruct(const Tensor& images, const gslrm::Cameras& cameras) {
  const Range range("reconstruct");
  const Shape s = images.shape();
  MFL_CHECK(s.rank() == 4 && cameras.c2w.shape()[0] == s[0] && s[0] >= spec_.num_input_views, "reconstruct: images ", s, " and ",
            cameras.c2w.shape()[0], " cameras, the model's input are ", spec_.num_input_views, " views");
  Ctx cx = context();
  gslrm::Views views{placed(stream_, step_, images, {"input views"}).reshape({1, s[0], s[1], s[2], s[3]}),
                     placed(stream_, step_, cameras.c2w, {"input views"}).reshape({1, s[0], 4, 4}),
                     placed(stream_, step_, cameras.fxfycxcy, {"input views"}).reshape({1, s[0], 4})};
  gslrm::Model::Saved nothing;
  const gslrm::GaussianBatch all = model_.forward(cx, views, nothing).gaussians;
  stream_.synchronize();   // the caller's host tensors may go now
  return all.sample(0);
}

Tensor Reconstructor::render(const Gaussians& g, const gslrm::Cameras& cameras) {
  const std::int64_t views = cameras.c2w.shape()[0];
  Tensor out = Tensor::on_heap({views, cameras.height, cameras.width, 3}, DType::f32);
  if (!g.xyz || g.xyz.shape()[0] == 0) {
    std::fill_n(out.data<float>(), out.numel(), 1.0f);
    return out;
  }
  Ctx cx = context();
  const Tensor c2w = placed(stream_, step_, cameras.c2w, {"cameras"}), intrinsics = placed(stream_, step_, cameras.fxfycxcy, {"cameras"});
  for (std::int64_t v = 0; v < views; ++v) {
    gslrm::Renderer::Saved none;
    const Tensor image = renderer_.forward(cx, splats_, g, {c2w.rows(v, 1), intrinsics.rows(v, 1), cameras.height, cameras.width}, none);
    if (!stream_.device().is_meta()) copy(stream_, image, out.rows(v, 1));
  }
  stream_.synchronize();
  return out;
}

gslrm::Visibility Reconstructor::visibility(const Gaussians& g, const gslrm::Cameras& cameras) {
  Ctx cx = context();
  return gslrm::visibility(cx, splats_, g, cameras, renderer_.scaling_modifier);
}

Gaussians Reconstructor::to_host(const Gaussians& g) {
  const Gaussians host = each(g, [&](const Tensor& t) {
    const Tensor h = Tensor::on_heap(t.shape(), t.dtype());
    copy(stream_, t, h);
    return h;
  });
  stream_.synchronize();
  return host;
}

Gaussians Reconstructor::to_device(const Gaussians& g) {
  if (g.xyz.shape()[0] == 0) return {};
  const Gaussians device = each(g, [&](const Tensor& t) { return placed(stream_, step_, t, {"gaussians"}); });
  stream_.synchronize();
  return device;
}

}  // namespace mfl::infer
