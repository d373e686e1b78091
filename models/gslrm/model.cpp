#include "models/gslrm/model.h"

#include "kernels/elementwise/rows.h"
#include "models/weights/coverage.h"
#include "runtime/rng.h"

namespace mfl::gslrm {
namespace {

// A [B, T, d] tensor's rows of one sample: [count, d] from token `first`.
Tensor tokens_of(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t count) {
  const Shape s = x.shape();
  return x.reshape({s[0] * s[1], s[2]}).rows(b * s[1] + first, count);
}

// The first V views.
ConstView first(const Tensor& t, std::int64_t V) { return slice(ConstView(t), 1, 0, V); }

// After the first sample, a parameter's gradient adds.
class Accumulating {
 public:
  explicit Accumulating(Ctx& cx) : cx_(cx), before_(cx.accumulate_grads) {}
  ~Accumulating() { cx_.accumulate_grads = before_; }
  void from_now_on() { cx_.accumulate_grads = true; }

 private:
  Ctx& cx_;
  bool before_;
};

// A head's norm runs sample by sample over a part of the tokens and writes one contiguous tensor for the head's product.
Tensor norm_forward(Ctx& cx, const nn::LayerNorm& norm, const Tensor& x, std::int64_t first, std::int64_t count,
                    std::vector<nn::LayerNorm::Saved>& saved) {
  const std::int64_t B = x.shape()[0], d = x.shape()[2];
  Tensor n = cx.compute({B, count, d}, {"head norm"});
  saved.resize(static_cast<std::size_t>(B));
  for (std::int64_t b = 0; b < B; ++b)
    norm.forward_into(cx, tokens_of(x, b, first, count), saved[static_cast<std::size_t>(b)], tokens_of(n, b, 0, count));
  return n;
}
void norm_backward(Ctx& cx, const nn::LayerNorm& norm, std::vector<nn::LayerNorm::Saved> saved, const Tensor& dn,
                   const Tensor& dx, std::int64_t first) {
  Accumulating accumulating(cx);
  const std::int64_t count = dn.shape()[1];
  for (std::size_t b = 0; b < saved.size(); ++b) {
    const auto i = static_cast<std::int64_t>(b);
    norm.backward_into(cx, std::move(saved[b]), tokens_of(dn, i, 0, count), tokens_of(dx, i, first, count),
                       GradMode::overwrite);
    accumulating.from_now_on();
  }
}

}  // namespace

Gaussians GaussianBatch::sample(std::int64_t b) const {
  auto one = [b](const Tensor& t) {
    const Shape s = t.shape();
    Shape rest = s.rank() == 4 ? Shape{s[1], s[2], s[3]} : Shape{s[1], s[2]};
    return t.rows(b, 1).reshape(rest);
  };
  return {one(xyz), one(features), one(scaling), one(rotation), one(opacity)};
}

Tensor BlockSegment::forward(Ctx& cx, const Tensor& x, Saved& saved) const {
  saved.blocks.resize(count);
  Tensor y = x;
  for (std::size_t i = 0; i < count; ++i) y = first[i].forward(cx, y, saved.blocks[i]);
  return y;
}
void BlockSegment::refill(Ctx& cx, const Tensor& x, Saved& saved) const {
  saved.blocks.resize(count);
  Tensor y = x;
  for (std::size_t i = 0; i + 1 < count; ++i) y = first[i].forward(cx, y, saved.blocks[i]);
  first[count - 1].refill(cx, y, saved.blocks[count - 1]);
}
Tensor BlockSegment::backward(Ctx& cx, Saved saved, Tensor dy) const {
  for (std::size_t i = count; i-- > 0;) dy = first[i].backward(cx, std::move(saved.blocks[i]), std::move(dy));
  return dy;
}

Model::Model(Scope s, const ModelSpec& spec)
    : spec_(spec),
      view_type_(spec.add_refsrc_marker ? &s.param("view_type_embeddings", {2, spec.d}) : nullptr),
      position_(s.param("gaussian_position_embeddings", {spec.n_gaussians, spec.d})),
      patch_embedder_(s / "patch_embedder" / "1",
                      std::int64_t{spec.patch_size} * spec.patch_size * channels_of(spec.posed), spec.d),
      input_norm_(s / "input_layer_norm", spec.d),
      blocks_([&] {
        std::vector<nn::TransformerBlock> blocks;
        blocks.reserve(static_cast<std::size_t>(spec.n_layer));
        for (int i = 0; i < spec.n_layer; ++i)
          blocks.emplace_back(s / "transformer_layers" / std::to_string(i), spec.d, spec.d_head);
        return blocks;
      }()),
      free_norm_(s / "gaussian_upsampler" / "layernorm", spec.d),
      free_linear_(s / "gaussian_upsampler" / "linear", spec.d, spec.gaussian_channels()),
      pixel_norm_(s / "pixel_gaussian_decoder" / "0", spec.d),
      pixel_linear_(s / "pixel_gaussian_decoder" / "1", spec.d,
                    std::int64_t{spec.patch_size} * spec.patch_size * spec.gaussian_channels()) {
  MFL_CHECK(spec.d % spec.d_head == 0, "transformer.d ", spec.d, " is not a multiple of d_head ", spec.d_head);
  MFL_CHECK(spec.image_size % spec.patch_size == 0, "image_size ", spec.image_size,
            " is not a multiple of patch_size ", spec.patch_size);
  spec_.decode.sh_degree = spec.sh_degree;
  spec_.decode.patch = spec.patch_size;
  const std::size_t total = s.store.all().size(), heads = 4, stem = spec.add_refsrc_marker ? 4 : 3;
  stem_ = s.store.range(0, stem);
  head_ = s.store.range(total - heads, total);
}

std::size_t Model::segments() const {
  const auto k = static_cast<std::size_t>(spec_.recompute_segment);
  return k == 0 ? 0 : (blocks_.size() + k - 1) / k;
}
BlockSegment Model::segment(std::size_t i) const {
  const auto k = static_cast<std::size_t>(spec_.recompute_segment);
  return {blocks_.data() + i * k, std::min(k, blocks_.size() - i * k)};
}

Tensor Model::embed(Ctx& cx, const Views& in, Saved& saved) const {
  Range range("embed");
  const std::int64_t B = in.image.shape()[0], V = spec_.num_input_views, P = spec_.patches(), d = spec_.d;
  const std::int64_t n_g = spec_.n_gaussians, T = spec_.tokens();
  Tensor patches = cx.compute({B, V * P, patch_embedder_.weight.shape[1]}, {"patches"});
  tokenize(cx.stream, {.image = first(in.image, V), .c2w = first(in.c2w, V), .fxfycxcy = first(in.fxfycxcy, V),
                       .kind = spec_.posed, .patch = spec_.patch_size, .tokens = patches});
  saved.patches = cx.keep(patches);
  Tensor x = cx.accum({B, T, d}, {"tokens"});
  for (std::int64_t b = 0; b < B; ++b) {
    if (n_g > 0) copy(cx.stream, position_.value, tokens_of(x, b, 0, n_g));
    nn::Linear::Saved nothing;                         // `patches` is kept once, for all samples
    Saving off(cx, false);
    Tensor image_tokens = tokens_of(x, b, n_g, V * P);
    patch_embedder_.forward_into(cx, tokens_of(patches, b, 0, V * P), nothing, image_tokens);
    if (view_type_) {
      add_row_vector(cx.stream, {.x = image_tokens.rows(0, P), .v = view_type_->value.rows(0, 1).reshape({d})});
      if (V > 1)
        add_row_vector(cx.stream, {.x = image_tokens.rows(P, (V - 1) * P), .v = view_type_->value.rows(1, 1).reshape({d})});
    }
  }
  return x;
}

void Model::embed_backward(Ctx& cx, const Tensor& patches, const Tensor& dtokens) const {
  Range range("embed backward");
  const std::int64_t B = dtokens.shape()[0], V = spec_.num_input_views, P = spec_.patches(), d = spec_.d;
  const std::int64_t n_g = spec_.n_gaussians;
  Tensor dimage = cx.compute({B, V * P, d}, {"image token gradient"});
  const GradMode embedder_mode = patch_embedder_.weight.grad_mode(cx);
  Accumulating accumulating(cx);
  for (std::int64_t b = 0; b < B; ++b) {
    const Tensor part = tokens_of(dtokens, b, n_g, V * P);
    cast(cx.stream, {.x = part, .y = tokens_of(dimage, b, 0, V * P)});
    if (n_g > 0 && position_.trainable)
      accumulate(cx.stream, {.x = tokens_of(dtokens, b, 0, n_g), .y = position_.grad, .mode = position_.grad_mode(cx)});
    if (view_type_ && view_type_->trainable) {
      sum_rows(cx.stream, {.x = part.rows(0, P), .sum = view_type_->grad.rows(0, 1).reshape({d}),
                           .mode = view_type_->grad_mode(cx)});
      // With one view the second row has no tokens: its gradient is the empty sum.
      sum_rows(cx.stream, {.x = part.rows(P, (V - 1) * P), .sum = view_type_->grad.rows(1, 1).reshape({d}),
                           .mode = view_type_->grad_mode(cx)});
    }
    accumulating.from_now_on();
  }
  if (embedder_mode != GradMode::ignore)
    linear_bwd_weight(cx.stream, {.x = patches, .dy = dimage, .dweight = patch_embedder_.weight.grad, .dw_mode = embedder_mode});
}

Model::Output Model::forward(Ctx& cx, const Views& in, Saved& saved) const {
  Range range("gslrm forward");
  MFL_CHECK(in.image && in.image.shape().rank() == 5, "gslrm: views are missing");
  const Shape s = in.image.shape();
  const std::int64_t B = s[0], V = spec_.num_input_views, P = spec_.patches(), n_g = spec_.n_gaussians;
  MFL_CHECK(s[1] >= V, "gslrm: ", s[1], " views were given, num_input_views is ", V);
  MFL_CHECK(s[2] == spec_.image_size && s[3] == spec_.image_size, "gslrm: views of ", s[2], " x ", s[3],
            ", image_size is ", spec_.image_size);
  const DType accum = cx.precision.accum;

  Tensor x = embed(cx, in, saved);                                                   // [B, T, d]
  {
    Tensor n = cx.accum(x.shape(), {"residual stream"});
    input_norm_.forward_into(cx, x, saved.input_norm, n);
    x = n;
  }
  if (spec_.recompute_segment == 0) {
    saved.blocks.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i].forward(cx, x, saved.blocks[i]);
  } else {
    saved.segments.resize(segments());
    for (std::size_t i = 0; i < segments(); ++i) {
      const BlockSegment one = segment(i);
      x = Recompute<BlockSegment>{one}.forward(cx, x, saved.segments[i]);
    }
  }

  Range head("heads");
  const std::int64_t C = spec_.gaussian_channels();
  Tensor free_raw = cx.accum({B, n_g, C}, {"free gaussians, raw"});
  if (n_g > 0)
    free_linear_.forward_into(cx, norm_forward(cx, free_norm_, x, 0, n_g, saved.free_norm), saved.free_linear, free_raw);
  Tensor pixel_raw = cx.accum({B, V * P, pixel_linear_.weight.shape[0]}, {"pixel gaussians, raw"});
  pixel_linear_.forward_into(cx, norm_forward(cx, pixel_norm_, x, n_g, V * P, saved.pixel_norm), saved.pixel_linear,
                             pixel_raw);

  const std::int64_t N = spec_.gaussians(), K = spec_.harmonics();
  Output out;
  out.tokens = x;
  out.gaussians = {cx.arena.empty({B, N, 3}, accum, {"gaussian xyz"}), cx.arena.empty({B, N, K, 3}, accum, {"gaussian features"}),
                   cx.arena.empty({B, N, 3}, accum, {"gaussian scaling"}), cx.arena.empty({B, N, 4}, accum, {"gaussian rotation"}),
                   cx.arena.empty({B, N, 1}, accum, {"gaussian opacity"})};
  const GaussianBatch& g = out.gaussians;
  decode_fwd(cx.stream, {.free = free_raw, .pixel = pixel_raw, .c2w = first(in.c2w, V), .fxfycxcy = first(in.fxfycxcy, V),
                         .height = spec_.image_size, .width = spec_.image_size, .config = spec_.decode, .xyz = g.xyz,
                         .features = g.features, .scaling = g.scaling, .rotation = g.rotation, .opacity = g.opacity});
  saved.free_raw = cx.keep(free_raw), saved.pixel_raw = cx.keep(pixel_raw);
  saved.input = {{}, cx.keep(in.c2w), cx.keep(in.fxfycxcy)};
  return out;
}

void Model::backward(Ctx& cx, Saved saved, const GaussianBatch& g) const {
  Range range("gslrm backward");
  const std::int64_t B = g.batch(), V = spec_.num_input_views, n_g = spec_.n_gaussians;
  const DType accum = cx.precision.accum;
  auto as_compute = [&](const Tensor& t) {
    if (cx.precision.compute == accum) return t;
    Tensor c = cx.compute(t.shape(), {"head gradient"});
    cast(cx.stream, {.x = t, .y = c});
    return c;
  };

  Tensor dx = cx.accum({B, spec_.tokens(), spec_.d}, {"residual stream gradient"});
  {
    Tensor dfree = cx.accum(saved.free_raw.shape(), {"free gaussians, gradient"});
    Tensor dpixel = cx.accum(saved.pixel_raw.shape(), {"pixel gaussians, gradient"});
    decode_bwd(cx.stream, {.free = saved.free_raw, .pixel = saved.pixel_raw, .c2w = first(saved.input.c2w, V),
                           .fxfycxcy = first(saved.input.fxfycxcy, V), .height = spec_.image_size,
                           .width = spec_.image_size, .config = spec_.decode, .dxyz = g.xyz, .dfeatures = g.features,
                           .dscaling = g.scaling, .drotation = g.rotation, .dopacity = g.opacity, .dfree = dfree,
                           .dpixel = dpixel});
    saved.free_raw.reset(), saved.pixel_raw.reset();
    Tensor dn = pixel_linear_.backward(cx, std::move(saved.pixel_linear), as_compute(dpixel), {"head norm gradient"});
    norm_backward(cx, pixel_norm_, std::move(saved.pixel_norm), dn, dx, n_g);
    if (n_g > 0) {
      dn = free_linear_.backward(cx, std::move(saved.free_linear), as_compute(dfree), {"head norm gradient"});
      norm_backward(cx, free_norm_, std::move(saved.free_norm), dn, dx, 0);
    }
    cx.grads_ready(head_);
  }

  if (spec_.recompute_segment == 0) {
    for (std::size_t i = blocks_.size(); i-- > 0;)
      dx = blocks_[i].backward(cx, std::move(saved.blocks[i]), std::move(dx));
  } else {
    for (std::size_t i = segments(); i-- > 0;) {
      const BlockSegment one = segment(i);
      dx = Recompute<BlockSegment>{one}.backward(cx, std::move(saved.segments[i]), std::move(dx));
    }
  }

  Tensor dtokens = cx.accum(dx.shape(), {"token gradient"});
  input_norm_.backward_into(cx, std::move(saved.input_norm), dx, dtokens, GradMode::overwrite);
  dx.reset();
  embed_backward(cx, saved.patches, dtokens);
  cx.grads_ready(stem_);
}

double Model::forward_flops() const {
  const double T = double(spec_.tokens()), d = double(spec_.d), image = double(spec_.num_input_views * spec_.patches());
  const double linears = 2 * 12 * d * d * T, attention = 4 * T * T * d;
  return spec_.n_layer * (linears + attention) +
         2 * image * d * double(patch_embedder_.weight.shape[1] + pixel_linear_.weight.shape[0]);
}

void initialise(const Stream& stream, ParamStore& store, std::uint64_t seed) {
  if (stream.device().is_meta()) return;
  std::uint32_t index = 0;
  for (Param& p : store.all()) {
    const Rng rng(seed, Draw::init, 0, index++);
    const bool norm = p.shape.rank() < 2;
    const std::int64_t n = p.numel();
    Tensor host = Tensor::on_heap(p.shape, p.value.dtype());
    auto fill = [&](auto* out) {
      using T = std::remove_pointer_t<decltype(out)>;
#pragma omp parallel for
      for (std::int64_t i = 0; i < n; ++i) out[i] = norm ? T(1) : T(0.02 * rng.normal_at(static_cast<std::uint64_t>(i)));
    };
    if (host.dtype() == DType::f64) fill(host.data<double>());
    else fill(host.data<float>());
    copy(stream, host, p.value);
    stream.synchronize();
  }
  weights::refresh_compute(stream, store);
}

}  // namespace mfl::gslrm
