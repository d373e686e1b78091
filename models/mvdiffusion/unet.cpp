#include "models/mvdiffusion/unet.h"

#include "kernels/elementwise/silu.h"
#include "kernels/embed/sinusoid.h"
#include "kernels/resample/upsample.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "runtime/log.h"

namespace mfl::mvdiffusion {
namespace {

// [a, b] along the channels.
Tensor concat(Ctx& cx, const Tensor& a, const Tensor& b) {
  Shape s = a.shape();
  const std::int64_t in_a = s[-1], in_b = b.shape()[-1];
  s[-1] = in_a + in_b;
  Tensor y = cx.compute(s, {"concatenation"});
  const Shape rows_a{a.shape().rows(), in_a}, rows_b{b.shape().rows(), in_b};
  move_rows(cx.stream, {.x = reshape(ConstView(a), rows_a), .y = columns(View(y), 0, in_a)});
  move_rows(cx.stream, {.x = reshape(ConstView(b), rows_b), .y = columns(View(y), in_a, in_b)});
  return y;
}
// Channels [first, first + count) as a tensor of their own.
Tensor channels(Ctx& cx, const Tensor& x, std::int64_t first, std::int64_t count) {
  Shape s = x.shape();
  s[-1] = count;
  Tensor y = cx.compute(s, {"part of a concatenation"});
  move_rows(cx.stream, {.x = columns(ConstView(x), first, count), .y = reshape(View(y), {s.rows(), count})});
  return y;
}

Tensor as_compute(Ctx& cx, const Tensor& t, Purpose purpose) {
  if (t.dtype() == cx.precision.compute) return t;
  Tensor c = cx.compute(t.shape(), purpose);
  cast(cx.stream, {.x = t, .y = c});
  return c;
}

}  // namespace

Unet::Unet(Scope s, const UnetSpec& spec)
    : spec_((spec.check(), spec)),
      stem_params_(s),
      conv_in_(s / "conv_in", spec.in_channels, spec.widths[0]),
      time_embedding_(s / "time_embedding", spec.widths[0], spec.time_width()),
      class_embedding_(s / "class_embedding", spec.class_width, spec.time_width()) {
  stem_params_.close();
  const std::size_t levels = spec.widths.size();
  const auto& widths = spec_.widths;
  // Registration order inside a level: all transformers, all residual blocks, the sampler.
  auto level = [&](std::deque<Level>& to, const Scope& at, std::size_t width_index, const std::vector<std::int64_t>& inputs,
                   std::size_t attentions, const char* sampler, int stride) {
    Level& l = to.emplace_back();
    const std::int64_t width = widths[width_index];
    for (std::size_t j = 0; j < attentions; ++j)
      l.attentions.emplace_back(at / "attentions" / std::to_string(j), spec_, width, spec_.heads[width_index]);
    for (std::size_t j = 0; j < inputs.size(); ++j)
      l.resnets.emplace_back(at / "resnets" / std::to_string(j), spec_, inputs[j], width);
    if (!sampler) return;
    l.sampler_params.emplace(at);
    l.sampler.emplace(at / sampler / "0" / "conv", width, width, 3, stride);
    l.sampler_params->close();
  };
  const auto n = std::size_t(spec.layers);
  std::vector<std::int64_t> skips{widths[0]};   // channels of every skip, in the order of forward
  for (std::size_t i = 0; i < levels; ++i) {
    std::vector<std::int64_t> inputs(n, widths[i]);
    inputs[0] = i == 0 ? widths[0] : widths[i - 1];
    const bool last = i + 1 == levels;
    level(down_, s / "down_blocks" / std::to_string(i), i, inputs, spec.attends[i] ? n : 0, last ? nullptr : "downsamplers", 2);
    skips.insert(skips.end(), n + (last ? 0 : 1), widths[i]);
  }
  std::int64_t current = widths.back();
  for (std::size_t i = 0; i < levels; ++i) {
    const std::size_t w = levels - 1 - i;
    std::vector<std::int64_t> inputs;
    for (std::size_t j = 0; j <= n; ++j, skips.pop_back()) inputs.push_back((j == 0 ? current : widths[w]) + skips.back());
    current = widths[w];
    level(up_, s / "up_blocks" / std::to_string(i), w, inputs, spec.attends[w] ? n + 1 : 0, w == 0 ? nullptr : "upsamplers", 1);
  }
  level(middle_, s / "mid_block", levels - 1, {widths.back(), widths.back()}, 1, nullptr, 1);
  head_params_ = std::make_unique<ParamSpan>(s);
  conv_norm_out_ = std::make_unique<nn::GroupNorm>(s / "conv_norm_out", widths[0], spec.groups, float(spec.eps), true);
  conv_out_ = std::make_unique<nn::Conv2d>(s / "conv_out", widths[0], spec.out_channels);
  head_params_->close();
}

void Unet::Embedding::forward(Ctx& cx, const Tensor& x, nn::Linear::Saved& first, Tensor& hidden, nn::Linear::Saved& second,
                              View emb, bool add) const {
  Tensor h = linear_1.forward(cx, x, first, {"embedding hidden"});
  Tensor a = cx.compute(h.shape(), {"embedding hidden"});
  silu_fwd(cx.stream, {.x = h, .y = a});
  hidden = cx.keep(h);
  linear_2.forward_into(cx, a, second, emb, add);
}

void Unet::Embedding::backward(Ctx& cx, nn::Linear::Saved first, Tensor hidden, nn::Linear::Saved second,
                               const Tensor& demb) const {
  Tensor dh = linear_2.backward(cx, std::move(second), demb, {"embedding gradient"});
  silu_bwd(cx.stream, {.x = hidden, .dy = dh, .dx = dh});
  linear_1.backward_weight(cx, std::move(first), dh);
}

void Unet::embed(Ctx& cx, const Input& in, Saved& saved) const {
  const std::int64_t N = in.sample.shape()[0];
  Tensor wave = cx.compute({N, spec_.widths[0]}, {"timestep embedding"});
  sinusoid(cx.stream, {.t = in.timesteps, .y = wave});
  Tensor emb = cx.accum({N, spec_.time_width()}, {"time and class embedding"});
  time_embedding_.forward(cx, wave, saved.time_1, saved.time_hidden, saved.time_2, emb, false);
  class_embedding_.forward(cx, in.class_labels, saved.class_1, saved.class_hidden, saved.class_2, emb, true);
  Tensor active = cx.accum(emb.shape(), {"active embedding"});
  silu_fwd(cx.stream, {.x = emb, .y = active});
  saved.emb = cx.keep(emb);
  saved.active = as_compute(cx, active, {"active embedding"});
}

void Unet::embed_backward(Ctx& cx, Saved& saved, Tensor dactive) const {
  silu_bwd(cx.stream, {.x = saved.emb, .dy = dactive, .dx = dactive});
  const Tensor demb = as_compute(cx, dactive, {"embedding gradient"});
  class_embedding_.backward(cx, std::move(saved.class_1), std::move(saved.class_hidden), std::move(saved.class_2), demb);
  time_embedding_.backward(cx, std::move(saved.time_1), std::move(saved.time_hidden), std::move(saved.time_2), demb);
}

Tensor Unet::forward(Ctx& cx, const Input& in, Saved& saved) const {
  Range range("unet forward");
  MFL_CHECK(in.sample && in.sample.shape().rank() == 4 && in.sample.shape()[-1] == spec_.in_channels, "unet: sample ",
            in.sample.shape(), ", expected [N, H, W, ", spec_.in_channels, "]");
  const Shape s = in.sample.shape();
  const std::int64_t step = std::int64_t{1} << (spec_.widths.size() - 1);
  MFL_CHECK(s[0] % spec_.views == 0, "unet: ", s[0], " samples are no whole number of objects of ", spec_.views, " views");
  MFL_CHECK(s[1] % step == 0 && s[2] % step == 0, "unet: latents of ", s[1], " x ", s[2], ", expected multiples of ", step);
  MFL_CHECK(in.class_labels.shape() == (Shape{s[0], spec_.class_width}), "unet: class_labels ", in.class_labels.shape(),
            ", expected [", s[0], ", ", spec_.class_width, "]");
  MFL_CHECK(in.text && in.text.shape().rank() == 3 && in.text.shape()[0] == s[0] && in.text.shape()[2] == spec_.text_width,
            "unet: text ", in.text.shape(), ", expected [", s[0], ", L, ", spec_.text_width, "]");
  embed(cx, in, saved);
  const Tensor active = saved.active, none;
  if (!cx.saving) saved.active.reset();

  auto resnet = [&](const Resnet& block, const Tensor& x, bool recompute) {
    return mvdiffusion::forward(cx, ResnetCall{block, active, none}, recompute, x, saved.resnets.emplace_back());
  };
  auto transformer = [&](const ViewTransformer& block, const Tensor& x, bool recompute) {
    return mvdiffusion::forward(cx, TransformerCall{block, in.text}, recompute, x, saved.transformers.emplace_back());
  };
  const bool again = spec_.recompute && cx.saving;

  std::vector<Tensor> skips;
  Tensor x = conv_in_.forward(cx, in.sample, {"stem"});
  saved.sample = cx.keep(in.sample), saved.text = cx.keep(in.text);
  skips.push_back(x);
  for (const Level& level : down_) {
    for (std::size_t j = 0; j < level.resnets.size(); ++j) {
      x = resnet(level.resnets[j], x, again);
      if (!level.attentions.empty()) x = transformer(level.attentions[j], x, again);
      skips.push_back(x);
    }
    if (!level.sampler) continue;
    saved.resampled.push_back(cx.keep(x));
    x = level.sampler->forward(cx, x, {"downsampled"});
    skips.push_back(x);
  }
  const Level& middle = middle_.front();
  x = resnet(middle.resnets[0], x, false);
  x = transformer(middle.attentions[0], x, false);
  x = resnet(middle.resnets[1], x, false);
  for (const Level& level : up_) {
    for (std::size_t j = 0; j < level.resnets.size(); ++j) {
      x = concat(cx, x, skips.back());
      skips.pop_back();
      x = resnet(level.resnets[j], x, again);
      if (!level.attentions.empty()) x = transformer(level.attentions[j], x, again);
    }
    if (!level.sampler) continue;
    const Shape small = x.shape();
    Tensor large = cx.compute({small[0], 2 * small[1], 2 * small[2], small[3]}, {"enlarged"});
    upsample2x_fwd(cx.stream, {.x = x, .y = large});
    saved.resampled.push_back(cx.keep(large));
    x = level.sampler->forward(cx, large, {"upsampled"});
  }
  return conv_out_->forward(cx, conv_norm_out_->forward(cx, x, saved.norm_out), {"prediction"});
}

void Unet::backward(Ctx& cx, Saved saved, Tensor dy) const {
  Range range("unet backward");
  const Tensor active = saved.active, text = saved.text;
  Tensor dactive = cx.accum(saved.emb.shape(), {"active embedding, gradient"});
  fill_zero(cx.stream, dactive);
  auto take = [](auto& list) {
    auto last = std::move(list.back());
    list.pop_back();
    return last;
  };
  auto resnet = [&](const Resnet& block, Tensor d, bool recompute) {
    return mvdiffusion::backward(cx, ResnetCall{block, active, dactive}, recompute, take(saved.resnets), std::move(d));
  };
  auto transformer = [&](const ViewTransformer& block, Tensor d, bool recompute) {
    return mvdiffusion::backward(cx, TransformerCall{block, text}, recompute, take(saved.transformers), std::move(d));
  };
  auto sampler = [&](const Level& level, const Tensor& d) {   // to the sampler's input
    Tensor x = take(saved.resampled);
    level.sampler->backward_weight(cx, x, d);
    Tensor dx = cx.compute(x.shape(), {"resampling gradient"});
    x.reset();
    level.sampler->backward_input(cx, d, dx);
    cx.grads_ready(level.sampler_params->range());
    return dx;
  };

  Tensor d = cx.compute(saved.norm_out.x.shape(), {"feature map gradient"});
  conv_out_->backward_weight(cx, conv_norm_out_->again(cx, saved.norm_out), dy);
  conv_out_->backward_input(cx, dy, d);
  dy.reset();
  d = conv_norm_out_->backward(cx, std::move(saved.norm_out), std::move(d));
  cx.grads_ready(head_params_->range());

  std::vector<Tensor> dskips;   // in the order of the skips
  for (std::size_t i = up_.size(); i-- > 0;) {
    const Level& level = up_[i];
    if (level.sampler) {
      const Tensor large = sampler(level, d);
      const Shape s = large.shape();
      d = cx.compute({s[0], s[1] / 2, s[2] / 2, s[3]}, {"feature map gradient"});
      upsample2x_bwd(cx.stream, {.dy = large, .dx = d});
    }
    for (std::size_t j = level.resnets.size(); j-- > 0;) {
      if (!level.attentions.empty()) d = transformer(level.attentions[j], std::move(d), spec_.recompute);
      d = resnet(level.resnets[j], std::move(d), spec_.recompute);
      // Of [current, skip]: the skips come back in the order in which they were made.
      const std::int64_t current = j > 0 ? level.resnets[j - 1].conv1.weight.shape[0]
                                   : i > 0 ? up_[i - 1].resnets.back().conv1.weight.shape[0]
                                           : spec_.widths.back();
      dskips.push_back(channels(cx, d, current, d.shape()[-1] - current));
      d = channels(cx, d, 0, current);
    }
  }
  const Level& middle = middle_.front();
  d = resnet(middle.resnets[1], std::move(d), false);
  d = transformer(middle.attentions[0], std::move(d), false);
  d = resnet(middle.resnets[0], std::move(d), false);
  auto add_skip = [&] { add_(cx.stream, {.y = d, .x = take(dskips)}); };
  for (std::size_t i = down_.size(); i-- > 0;) {
    const Level& level = down_[i];
    if (level.sampler) {
      add_skip();
      d = sampler(level, d);
    }
    for (std::size_t j = level.resnets.size(); j-- > 0;) {
      add_skip();
      if (!level.attentions.empty()) d = transformer(level.attentions[j], std::move(d), spec_.recompute);
      d = resnet(level.resnets[j], std::move(d), spec_.recompute);
    }
  }
  add_skip();
  conv_in_.backward_weight(cx, saved.sample, d);
  d.reset();
  embed_backward(cx, saved, std::move(dactive));
  cx.grads_ready(stem_params_.range());
}

double Unet::forward_flops(std::int64_t size, std::int64_t text_length) const {
  double macs = 0;
  auto conv = [&](const nn::Conv2d& c, double pixels) { macs += double(c.weight.numel()) * pixels; };
  auto level = [&](const Level& l, double pixels) {
    for (const Resnet& r : l.resnets) {
      conv(r.conv1, pixels), conv(r.conv2, pixels);
      if (r.conv_shortcut) conv(*r.conv_shortcut, pixels);
      macs += double(r.time_emb_proj.weight.numel());
    }
    for (const ViewTransformer& t : l.attentions) {
      const double c = double(t.proj_in.weight.shape[0]), text = double(text_length);
      const double keys = spec_.mode == ViewMode::dense    ? double(spec_.views) * pixels
                          : spec_.mode == ViewMode::sparse ? (2 - 1 / double(spec_.views)) * pixels
                                                           : pixels;
      macs += pixels * c * c * (2 + 4 + 2 + 12) + 2 * text * c * double(spec_.text_width);
      macs += 2 * pixels * c * (keys + text);
    }
  };
  double pixels = double(size * size);
  conv(conv_in_, pixels), conv(*conv_out_, pixels);
  for (const Embedding* e : {&time_embedding_, &class_embedding_})
    macs += double(e->linear_1.weight.numel() + e->linear_2.weight.numel());
  for (const Level& l : down_) {
    level(l, pixels);
    if (l.sampler) pixels /= 4, conv(*l.sampler, pixels);
  }
  level(middle_.front(), pixels);
  for (const Level& l : up_) {
    level(l, pixels);
    if (l.sampler) pixels *= 4, conv(*l.sampler, pixels);
  }
  return 2 * macs;
}

void load_unet(const Stream& stream, ParamStore& store, const std::filesystem::path& folder) {
  const Param* conv_in = store.find("conv_in.weight");
  MFL_CHECK(conv_in, "load_unet: the store holds no UNet");
  load_component(stream, store, folder, {}, [&](std::vector<io::NamedStored>& tensors) {
    for (io::NamedStored& t : tensors) {
      if (t.name != conv_in->name || t.tensor.shape.rank() != 4) continue;
      const Shape wanted = conv_in->shape, found = t.tensor.shape;
      if (found[1] != 4 || wanted[1] != 8 || !(Shape{found[0], 8, found[2], found[3]} == wanted)) continue;
      const Tensor four = io::load(t.tensor, DType::f32, t.name);
      Tensor eight = Tensor::on_heap(wanted, DType::f32);
      const std::int64_t taps = wanted[2] * wanted[3];
      for (std::int64_t o = 0; o < wanted[0]; ++o)
        for (std::int64_t i = 0; i < 8 * taps; ++i)
          eight.data<float>()[o * 8 * taps + i] = i < 4 * taps ? four.data<float>()[o * 4 * taps + i] : 0.0f;
      t.tensor = io::stored(eight);
      log_info(folder.string(), ": conv_in has 4 input channels; 4 more are added, their weights zero");
    }
  });
}

}  // namespace mfl::mvdiffusion
