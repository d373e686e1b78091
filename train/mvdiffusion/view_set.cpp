#include "train/mvdiffusion/view_set.h"

#include <algorithm>

#include "data/sha256.h"
#include "runtime/rng.h"
#include "train/mvdiffusion/object_views.h"

namespace mfl {
namespace {

using namespace mvdiffusion;

// RGBA of the asked size over the background; alpha stays.
data::Image view_image(const data::ViewReader& r, std::int64_t sample, int view, const ViewSetOptions& o) {
  data::Image im = r.read(sample, view);
  const int side = static_cast<int>(o.image_size);
  if (im.width != side || im.height != side) im = data::resize_lanczos(im, side, side);
  std::uint8_t colour[3];
  for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(o.background[c] * 255);   // truncated: gray pastes 127
  data::composite_over(im, colour);
  return im;
}

ViewSample read_sample(const data::ViewReader& r, std::int64_t sample, const ViewSetOptions& o) {
  const ChosenViews chosen = choose_views(r, sample, o);
  ViewSample s;
  s.name = r.sample_name(sample);
  s.prompts = chosen.prompts;
  s.background = o.background;
  const std::int64_t H = o.image_size, C = r.has_alpha(sample) ? 4 : 3;
  s.truth = Tensor::on_heap({o.views, H, H, C}, DType::f32);
  for (int k = 0; k < o.views; ++k) {
    const data::Image im = view_image(r, sample, chosen.views[static_cast<std::size_t>(k)], o);
    float* out = s.truth.data<float>() + k * H * H * C;
    for (std::int64_t p = 0; p < H * H; ++p)
      for (std::int64_t c = 0; c < C; ++c) out[p * C + c] = float(im.pixels[static_cast<std::size_t>(4 * p + c)]) / 255.0f;
  }
  const data::Image input = data::with_channels(view_image(r, sample, chosen.reference, o), 3);
  s.reference = Tensor::on_heap({H, H, 3}, DType::u8);
  std::copy(input.pixels.begin(), input.pixels.end(), s.reference.data<std::uint8_t>());
  s.noise = noise_number(s.reference);
  s.origin = text(R"({"reference": )", chosen.reference, R"(, "raw_frame": )", r.raw_frame(sample), "}");
  return s;
}

}  // namespace

ChosenViews choose_views(const data::ViewReader& r, std::int64_t sample, const ViewSetOptions& o) {
  const ObjectViews object = object_views(r, sample, o.views);
  const int reference = o.reference ? *o.reference
                                    : static_cast<int>(Rng(o.seed, Draw::views, 0, static_cast<std::uint32_t>(sample)).below(static_cast<std::uint32_t>(o.views)));
  if (reference < 0 || reference >= o.views)
    throw_error<ConfigError>("The reference view is ", reference, ", expected 0 to ", o.views - 1, ".");
  const ViewOrder order = view_order(o.rule, reference, object.prompt_slots, object.ring);
  ChosenViews c{object.views[static_cast<std::size_t>(order.reference)], {}, order.prompts};
  for (int v : order.views) c.views.push_back(object.views[static_cast<std::size_t>(v)]);
  return c;
}

std::uint32_t noise_number(const Tensor& bytes) {
  const data::Hash h = data::Sha256().add(bytes.data<std::uint8_t>(), bytes.bytes()).finish();
  return std::uint32_t{h[0]} | std::uint32_t{h[1]} << 8 | std::uint32_t{h[2]} << 16 | std::uint32_t{h[3]} << 24;
}

ViewSet packed_view_set(std::shared_ptr<const data::ViewReader> reader, const ViewSetOptions& o) {
  const std::int64_t size = o.limit > 0 ? std::min(o.limit, reader->size()) : reader->size();
  return {size, [reader, o](std::int64_t i) { return read_sample(*reader, i, o); }, [reader](std::int64_t i) { return reader->sample_name(i); }};
}

}  // namespace mfl
