#include "data/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/log.h"
#include "runtime/rng.h"

namespace mfl::data {
namespace {

Rng rng_of(const DatasetOptions& o, Draw purpose, const Pick& p) {
  return Rng(o.seed, purpose, o.limit > 0 ? 0 : p.pass, static_cast<std::uint32_t>(p.sample));
}

// `count` different values of 0 .. n-1, in the order drawn.
std::vector<int> draw(Rng& rng, std::vector<int> from, int count) {
  for (int i = 0; i < count; ++i) std::swap(from[i], from[i + rng.below(static_cast<std::uint32_t>(from.size() - i))]);
  from.resize(count);
  return from;
}

// The views of a sample from which inputs and supervised views come: the same ones, or separate ones.
struct Candidates {
  std::vector<int> inputs, targets;
};
Candidates candidates(const ViewReader& r, std::int64_t sample) {
  Candidates c;
  for (int v = 0; v < r.views(sample); ++v) {
    const bool input = r.role(sample, v) == Role::input;
    if (input || !r.separate_inputs()) c.inputs.push_back(v);
    if (!input) c.targets.push_back(v);
  }
  return c;
}

// Of the first pixels of RGBA, composited over a colour: RGB, or RGBA with `keep_alpha`, as v / 255.
// (c (255 - a) + p a) / 255 is rounded to 8 bits first, as the published loader does.
template <int C>
void to_floats(const std::uint8_t* rgba, std::size_t pixels, const std::uint8_t colour[3], float* out) {
  const std::uint32_t r = colour[0], g = colour[1], b = colour[2];
  const auto over = [](std::uint32_t p, std::uint32_t c, std::uint32_t a) {
    const std::uint32_t v = c * (255 - a) + p * a + 128;
    return static_cast<float>(static_cast<std::int32_t>((v + (v >> 8)) >> 8)) / 255.0f;
  };
  for (std::size_t i = 0; i < pixels; ++i) {
    std::uint32_t p;
    std::memcpy(&p, rgba + 4 * i, 4);   // little-endian: red lowest
    const std::uint32_t a = p >> 24;
    out[C * i] = over(p & 255, r, a);
    out[C * i + 1] = over(p >> 8 & 255, g, a);
    out[C * i + 2] = over(p >> 16 & 255, b, a);
    if constexpr (C == 4) out[C * i + 3] = static_cast<float>(static_cast<std::int32_t>(a)) / 255.0f;
  }
}

// 1 where all three channels of an image are above the threshold.
std::vector<std::uint8_t> near_white(const Image& im, double threshold) {
  const std::size_t channels = static_cast<std::size_t>(im.channels), pixels = im.pixels.size() / channels;
  std::vector<std::uint8_t> mask(pixels);
  for (std::size_t i = 0; i < pixels; ++i) {
    const std::uint8_t* p = im.pixels.data() + channels * i;
    mask[i] = p[0] > threshold && p[1] > threshold && p[2] > threshold;
  }
  return mask;
}

}  // namespace

Background parse_background(const std::string& s) {
  if (s == "white") return {Background::Kind::constant, 1};
  if (s == "black") return {Background::Kind::constant, 0};
  if (s == "gray") return {Background::Kind::constant, 0.5};
  if (s == "random") return {Background::Kind::random, 0};
  if (s == "three_choices") return {Background::Kind::three_choices, 0};
  try {
    std::size_t used = 0;
    const double v = std::stod(s, &used);
    if (used == s.size() && v >= 0 && v <= 1) return {Background::Kind::constant, v};
  } catch (const std::exception&) {
  }
  throw_error<ConfigError>("background_color must be white, black, gray, random, three_choices or a number from 0 to 1, got \"", s, "\"");
}

Dataset::Dataset(std::shared_ptr<const ViewReader> reader, DatasetOptions options) : reader_(std::move(reader)), options_(options) {
  DatasetOptions& o = options_;
  const ViewReader& r = *reader_;
  if (o.image_size < 1) throw_error<ConfigError>("image_size must be positive, got ", o.image_size);
  if (o.num_views < 1) throw_error<ConfigError>("training.dataset.num_views must be positive, got ", o.num_views);
  if (o.rule == ViewRule::fixed && o.fewer_views) {
    const int there = std::min(o.num_views, static_cast<int>(candidates(r, 0).targets.size()));
    if (there < o.num_views) log_info(r.path(), ": samples have ", there, " views; num_views ", o.num_views, " becomes ", there);
    o.num_views = there;
  }
  if (o.num_input_views < 1 || (o.num_input_views > o.num_views && !r.separate_inputs()))
    throw_error<ConfigError>("training.dataset.num_input_views must be from 1 to num_views = ", o.num_views, ", got ", o.num_input_views);
  for (std::int64_t s = 0; s < size(); ++s) {
    const Candidates c = candidates(r, s);
    if (static_cast<int>(c.targets.size()) < o.num_views)
      throw_error<DataError>(r.path(), ": sample ", r.sample_name(s), " has ", c.targets.size(), r.separate_inputs() ? " target" : "",
                             " views; training.dataset.num_views asks for ", o.num_views, ". Lower num_views, or leave the sample out");
    if (static_cast<int>(c.inputs.size()) < o.num_input_views)
      throw_error<DataError>(r.path(), ": sample ", r.sample_name(s), " has ", c.inputs.size(), " input views; "
                             "training.dataset.num_input_views asks for ", o.num_input_views, ". Lower num_input_views, or leave the sample out");
  }
  if (r.separate_inputs())
    log_info(r.path(), ": inputs are views of their own; the ", o.num_views, " supervised views are never inputs");

  bool alpha = false, opaque = false;
  for (std::int64_t s = 0; s < size(); ++s) (r.has_alpha(s) ? alpha : opaque) = true;
  channels_ = o.auto_mask || (alpha && !o.remove_alpha) ? 4 : 3;
  if (alpha && opaque && channels_ == 4 && !o.auto_mask)
    log_warning(r.path(), ": some samples have no alpha channel; all of their pixels count as foreground");
  if (o.auto_mask && o.remove_alpha && alpha)
    log_warning("remove_alpha is true and mouse.auto_generate_mask too: alpha is made anew from near-white pixels, so that white fur "
                "counts as background. Set remove_alpha to false to use the alpha of the files");
  for (int f = 0; f < r.files(); ++f)
    if (r.file(f).width != r.file(f).height)
      log_warning(r.file(f).path, ": images of ", r.file(f).width, " x ", r.file(f).height, " are squashed to ", o.image_size, " x ", o.image_size,
                "; fx, cx and fy, cy follow exactly, each by its own ratio");
  if (o.normalise && o.normalise->target_distance > 0)
    for (std::int64_t s = 0; s < size(); ++s) {
      double least = INFINITY, most = 0;
      for (int v = 0; v < (o.rule == ViewRule::fixed ? o.num_views : r.views(s)); ++v) {
        const Vec3 p = position(r.camera(s, v));
        const double radius = std::hypot(p[0], p[1], p[2]);
        least = std::min(least, radius), most = std::max(most, radius);
      }
      if (most > 1.01 * least) {
        log_warning("mouse.target_camera_distance moves every camera by itself to distance ", o.normalise->target_distance,
                    " from the origin; in sample ", r.sample_name(s), " the distances are ", least, " to ", most,
                    ", so the rig's geometry changes. Pack the data with one similarity for all cameras and set the key to 0");
        break;
      }
    }
}

std::int64_t Dataset::size() const { return options_.limit > 0 ? std::min(options_.limit, reader_->size()) : reader_->size(); }

std::vector<int> Dataset::choose_views(const Pick& pick) const {
  const DatasetOptions& o = options_;
  const ViewReader& r = *reader_;
  const Candidates from = candidates(r, pick.sample);
  const bool separate = r.separate_inputs();
  // Drawn after the inputs: the other supervised views, or all of them where inputs are separate.
  const int inputs = o.num_input_views, others = separate ? o.num_views : o.num_views - inputs;
  const auto remaining = [&](const std::vector<int>& in) {
    std::vector<int> rest;
    for (int v : from.targets)
      if (std::find(in.begin(), in.end(), v) == in.end()) rest.push_back(v);
    return rest;
  };
  Rng rng = rng_of(o, Draw::views, pick);
  std::vector<int> chosen;
  switch (o.rule) {
    case ViewRule::fixed:
      if (separate) chosen.assign(from.inputs.begin(), from.inputs.begin() + inputs);
      chosen.insert(chosen.end(), from.targets.begin(), from.targets.begin() + o.num_views);
      return chosen;
    case ViewRule::random:
      if (separate) {
        chosen = draw(rng, from.inputs, inputs);
        for (int v : draw(rng, from.targets, others)) chosen.push_back(v);
      } else {
        chosen = draw(rng, from.targets, o.num_views);
      }
      break;
    case ViewRule::overlap: {
      constexpr int kTries = 100;
      std::vector<Vec3> p(r.views(pick.sample));
      for (int v = 0; v < r.views(pick.sample); ++v) p[v] = position(r.camera(pick.sample, v));
      for (int t = 0; t < kTries && chosen.empty(); ++t) {
        const std::vector<int> in = draw(rng, from.inputs, inputs);
        std::vector<int> near;
        for (int v : remaining(in)) {
          double best = -INFINITY;
          for (int i : in) best = std::max(best, p[v][0] * p[i][0] + p[v][1] * p[i][1] + p[v][2] * p[i][2]);
          if (best >= 0.5) near.push_back(v);
        }
        if (static_cast<int>(near.size()) < others) continue;
        chosen = in;
        for (int v : draw(rng, near, others)) chosen.push_back(v);
      }
      if (chosen.empty())
        throw_error<DataError>(r.path(), ": sample ", r.sample_name(pick.sample), ": of ", r.views(pick.sample), " views, fewer than ", others,
                               " overlap with ", inputs, " input views, in ", kTries,
                               " draws (dot product of camera positions at least 0.5). Set training.dataset.maximize_view_overlap to "
                               "false, or scale the rig to radius 2.7");
      break;
    }
  }
  std::sort(chosen.begin(), chosen.begin() + inputs);
  std::sort(chosen.begin() + inputs, chosen.end());
  return chosen;
}

SamplePlan Dataset::plan(const Pick& pick) const {
  const DatasetOptions& o = options_;
  const ViewReader& r = *reader_;
  SamplePlan plan;
  plan.pick = pick;
  plan.views = choose_views(pick);

  {
    Rng rng = rng_of(o, Draw::background, pick);
    std::array<double, 3> colour;
    colour.fill(o.background.value);
    if (o.background.kind == Background::Kind::random)
      for (double& c : colour) c = rng.uniform();
    if (o.background.kind == Background::Kind::three_choices) colour.fill(0.5 * rng.below(3));
    for (int c = 0; c < 3; ++c) {
      plan.background[c] = static_cast<float>(colour[c]);
      plan.background8[c] = static_cast<std::uint8_t>(colour[c] * 255);   // truncated: gray pastes 127
    }
  }
  if (o.augmentation) {
    const Augmentation& a = *o.augmentation;
    Rng rng = rng_of(o, Draw::augment, pick);
    plan.flip = a.horizontal_flip && rng.uniform_at(0) < 0.5f;
    plan.rotation = static_cast<float>(a.rotation_range * (2.0 * rng.uniform_at(1) - 1.0));
    plan.brightness = static_cast<float>(a.brightness[0] + (a.brightness[1] - a.brightness[0]) * rng.uniform_at(2));
    plan.contrast = static_cast<float>(a.contrast[0] + (a.contrast[1] - a.contrast[0]) * rng.uniform_at(3));
  }

  if (o.crop_size > 0) {
    Rng rng = rng_of(o, Draw::crop, pick);
    const auto room = static_cast<std::uint32_t>(o.image_size - o.crop_size);
    for (std::size_t k = 0; k < plan.views.size(); ++k) {
      const int x = static_cast<int>(rng.below(room));
      plan.corner.push_back({x, static_cast<int>(rng.below(room))});
    }
  }

  std::vector<Mat4> c2w;
  std::vector<Camera> cameras;
  for (int v : plan.views) {
    cameras.push_back(scaled(r.camera(pick.sample, v), r.width(pick.sample), r.height(pick.sample), o.image_size, o.image_size));
    c2w.push_back(inverse(cameras.back().w2c));
  }
  if (o.normalise) normalise_cameras(c2w, *o.normalise, r.up(pick.sample));
  for (std::size_t k = 0; k < cameras.size(); ++k) {
    Camera& c = cameras[k];
    if (plan.flip || plan.rotation != 0) {
      c.w2c = rigid_inverse(c2w[k]);
      if (plan.flip) c = flipped(c, o.image_size);
      if (plan.rotation != 0)
        c = rolled(c, o.image_size, o.image_size, plan.rotation,
                   text(r.path(), ": sample ", r.sample_name(pick.sample), ", view ", plan.views[k]));
      c2w[k] = rigid_inverse(c.w2c);
    }
    std::array<float, 16> m;
    std::transform(c2w[k].begin(), c2w[k].end(), m.begin(), [](double x) { return static_cast<float>(x); });
    plan.c2w.push_back(m);
    plan.fxfycxcy.push_back({static_cast<float>(c.fx), static_cast<float>(c.fy), static_cast<float>(c.cx), static_cast<float>(c.cy)});
  }
  return plan;
}

void Dataset::render(const SamplePlan& plan, int k, const RawView& raw, float* out) const {
  const DatasetOptions& o = options_;
  const ViewReader& r = *reader_;
  const std::int64_t sample = plan.pick.sample;
  const std::size_t pixels = static_cast<std::size_t>(o.image_size) * o.image_size;
  const int C = channels_;
  const bool alpha = r.has_alpha(sample);
  const bool as_stored = r.width(sample) == o.image_size && r.height(sample) == o.image_size && !plan.flip && plan.rotation == 0 &&
                         plan.brightness == 1.0f && plan.contrast == 1.0f;
  thread_local std::vector<std::uint8_t> buffer;   // fresh pages for each image would cost as much as inflating it
  const std::uint8_t* rgba = nullptr;
  Image im;
  std::vector<std::uint8_t> mask;   // of an image that changes its colours and has no alpha: 1 where it was near white
  if (as_stored) {
    buffer.resize(4 * pixels);
    r.decode(sample, plan.views[k], raw, buffer);
    rgba = buffer.data();
  } else {
    im = r.decode(sample, plan.views[k], raw);
    if (!alpha) im = with_channels(im, 3);
    im = resize_lanczos(im, o.image_size, o.image_size);
    if (plan.flip) flip_horizontal(im);
    if (plan.rotation != 0) im = rotate(im, plan.rotation);
    if (!alpha && o.auto_mask) mask = near_white(im, o.mask_threshold);
    adjust_brightness(im, plan.brightness);
    adjust_contrast(im, plan.contrast);
    if (!alpha) im = with_channels(im, 4);
    rgba = im.pixels.data();
  }
  // Without alpha it is 255 here, and compositing changes nothing.
  if (C == 3) {
    to_floats<3>(rgba, pixels, plan.background8.data(), out);
    return;
  }
  to_floats<4>(rgba, pixels, plan.background8.data(), out);
  if (alpha && !o.remove_alpha) return;
  // Alpha anew: what is near white is background, judged before brightness and contrast change it where the image had none.
  for (std::size_t i = 0; i < pixels; ++i) {   // the composited colours are multiples of 1/255
    const auto near = [&](int c) { return std::lround(out[4 * i + c] * 255.0f) > o.mask_threshold; };
    const bool ground = !mask.empty() ? mask[i] != 0 : near(0) && near(1) && near(2);
    out[4 * i + 3] = o.auto_mask && ground ? 0.0f : 1.0f;
  }
}

}  // namespace mfl::data
