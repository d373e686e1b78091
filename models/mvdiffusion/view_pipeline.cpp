#include "models/mvdiffusion/view_pipeline.h"

#include <algorithm>

#include "kernels/elementwise/cast.h"
#include "models/mvdiffusion/prompts.h"

namespace mfl::mvdiffusion {
namespace {

std::size_t arena_bound(const ViewPipelineOptions& o) {
  if (o.device.is_meta()) return std::size_t{1} << 50;   // counts only
  return o.memory_bytes ? o.memory_bytes : device_info(o.device).memory_bytes;
}

std::filesystem::path unet_folder(const PipelineFiles& files, const ViewPipelineOptions& o) {
  return o.unet.empty() ? files.component("unet") : component_folder(o.unet, "unet");
}

}  // namespace

ViewPipeline::ViewPipeline(const PipelineFiles& files, const ViewPipelineOptions& o)
    : stream_(Stream::create(o.device, "sampling")), weights_(o.device, arena_bound(o), "weights"),
      step_(o.device, arena_bound(o), "sampling"), spec_(UnetSpec::read(unet_folder(files, o) / "config.json")),
      encoders_(files, stream_, weights_, o.encoders), store_(weights_, Precision::of(o.compute), false), unet_(Scope{store_}, spec_),
      image_(JsonConfig::read(unet_folder(files, o) / "config.json").integer_in("sample_size", 1, 4096) * encoders_.factor()),
      batch_(o.batch) {
  MFL_CHECK(batch_ >= 1, "a pipeline that samples ", batch_, " objects at a time");
  encoders_.require_fit(spec_);
  store_.seal(stream_);
  const Tensor prompts = read_prompt_embeddings(o.prompts, static_cast<std::int64_t>(kPromptSlots.size()), spec_.text_width);
  prompts_ = weights_.empty(prompts.shape(), o.compute, {"prompt embeddings"});
  if (o.device.is_meta()) return;
  encoders_.load(stream_);
  load_unet(stream_, store_, unet_folder(files, o));
  Tensor rounded = Tensor::on_heap(prompts.shape(), o.compute);
  cpu::cast({.x = prompts, .y = rounded});
  copy(stream_, rounded, prompts_);
  stream_.synchronize();
}

Tensor ViewPipeline::sample(std::span<const Request> requests, const SamplerConfig& config, std::uint64_t seed) {
  const auto n = static_cast<std::int64_t>(requests.size());
  Tensor out = Tensor::on_heap({n, spec_.views, image_, image_, 3}, DType::f32);
  SamplerConfig with_offset = config;
  with_offset.steps_offset = encoders_.steps_offset();
  const SamplerTable table(stream_, step_, store_.precision().accum, sampler_steps(encoders_.schedule(), with_offset));
  for (std::int64_t first = 0; first < n; first += batch_) {
    const std::int64_t count = std::min(batch_, n - first);
    sample_batch(requests.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), table, seed, out.rows(first, count));
  }
  return out;
}

void ViewPipeline::sample_batch(std::span<const Request> requests, const SamplerTable& table, std::uint64_t seed, View out) {
  const auto O = static_cast<std::int64_t>(requests.size()), V = spec_.views, H = image_;
  const Shape one{H, H, 3}, all{O, H, H, 3};
  Ctx cx = context();
  // Host copies live until the batch is done.
  Tensor bytes_host = Tensor::on_heap(all, DType::u8), floats_host = Tensor::on_heap(all, cx.precision.accum);
  std::vector<std::uint32_t> noise;
  for (std::int64_t o = 0; o < O; ++o) {
    const Request& r = requests[static_cast<std::size_t>(o)];
    MFL_CHECK(r.image.shape == one && r.image.contiguous() && static_cast<std::int64_t>(r.prompts.size()) == V, "sample: image ",
              r.image.shape, " and ", r.prompts.size(), " prompts, expected ", one, " and ", V);
    std::copy_n(r.image.as<std::uint8_t>(), one.numel(), bytes_host.data<std::uint8_t>() + o * one.numel());
    noise.push_back(r.noise);
  }
  for (std::int64_t i = 0; i < all.numel(); ++i) floats_host.data<float>()[i] = float(bytes_host.data<std::uint8_t>()[i]) / 255.0f;
  const Tensor streams_host = view_streams(noise, V);

  ViewsInput in;
  in.seed = seed;
  in.streams = cx.arena.empty(streams_host.shape(), DType::i32, {"noise streams"});
  copy(stream_, streams_host, in.streams);
  in.text = cx.compute({O * V, prompts_.shape()[1], prompts_.shape()[2]}, {"prompt embeddings"});
  for (std::int64_t o = 0; o < O; ++o)
    for (std::int64_t v = 0; v < V; ++v) {
      const int prompt = requests[static_cast<std::size_t>(o)].prompts[static_cast<std::size_t>(v)];
      MFL_CHECK(prompt >= 0 && prompt < prompts_.shape()[0], "sample: prompt ", prompt, " of ", prompts_.shape()[0]);
      copy(stream_, prompts_.rows(prompt, 1), in.text.rows(o * V + v, 1));
    }
  {
    const Tensor bytes = cx.arena.empty(all, DType::u8, {"input images"}), floats = cx.accum(all, {"input images"});
    copy(stream_, bytes_host, bytes);
    copy(stream_, floats_host, floats);
    in.condition = encode_condition(cx, encoders_, floats, bytes);
  }
  const Tensor latents = sample_views(cx, encoders_, unet_, table, in);
  in = {};
  const Tensor images = encoders_.decode(cx, latents);
  MFL_CHECK(images.dtype() == DType::f32, "sample: images of ", images.dtype());
  View flat = out;
  flat = reshape(flat, images.shape());
  if (!stream_.device().is_meta()) {
    copy(stream_, images, flat);
    stream_.synchronize();
  }
}

}  // namespace mfl::mvdiffusion
